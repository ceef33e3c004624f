import json
import time

import pytest

from tljh import breakglass, guard, limiter, passwords

PAGE = "break-glass"


def write(here, **fields):
    glass = {"user": "alice", "hash": passwords.digest("quiet-please").decode(), "until": time.time() + 60} | fields
    here.break_glass.write_text(json.dumps(glass))


def options():
    return {"admin_users": {"alice"}, "app": {"extra_handlers": [(r"/break-glass", breakglass.BreakGlassHandler)]}}


def test_without_a_valid_file_there_is_no_page(here, hub):
    async def test(visitor):
        for text in (None, "", "{}", "[]", '{"user": 1, "hash": null, "until": "x"}'):
            if text is not None:
                here.break_glass.write_text(text)
            async with visitor.session.get(visitor.url + PAGE) as reply:
                assert reply.status == 404
        write(here, until=time.time() - 1)
        async with visitor.session.get(visitor.url + PAGE) as reply:
            assert reply.status == 404

    hub(test, **options())


def test_root_lets_an_admin_in(here, hub):
    async def test(visitor):
        write(here)
        status, _ = await visitor.post(PAGE, {"username": "alice", "password": "quiet-please"})
        assert status == 302
        async with visitor.session.get(visitor.url + "admin") as reply:
            assert reply.status == 200

    hub(test, **options())


@pytest.mark.parametrize(
    ("name", "password", "user"),
    [("alice", "wrong", "alice"), ("bob", "quiet-please", "alice"), ("bob", "quiet-please", "bob"), ("", "", "alice")],
)
def test_nobody_else_gets_in(here, hub, name, password, user):
    async def test(visitor):
        write(here, user=user)
        status, _ = await visitor.post(PAGE, {"username": name, "password": password})
        assert status in (400, 403)
        async with visitor.session.get(visitor.url + "home", allow_redirects=False) as reply:
            assert reply.status == 302

    hub(test, **options())


def test_a_form_of_another_site_is_refused(here, hub):
    async def test(visitor):
        write(here)
        async with visitor.session.post(visitor.url + PAGE, data={"username": "alice", "password": "quiet-please"}, allow_redirects=False) as reply:
            assert reply.status == 403

    hub(test, **options())


def test_guessing_is_limited_here_too(here, hub, monkeypatch):
    monkeypatch.setattr(limiter, "PAIR_FREE", 1)
    monkeypatch.setattr(guard, "FAILURE_TAKES", 0)

    async def test(visitor):
        write(here)
        assert (await visitor.post(PAGE, {"username": "alice", "password": "wrong"}))[0] == 403
        settings = visitor.app.tornado_application.settings
        settings[guard.LIMITER].pairs.entries["alice", "127.0.0.1"].until += 60  # the page itself takes longer than the first wait
        status, words = await visitor.post(PAGE, {"username": "alice", "password": "quiet-please"})
        assert (status, "Too many attempts" in words) == (429, True)

    hub(test, **options())

"""The password that is asked for again, and what a login form and its pages give away."""

import asyncio
import logging
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyterhub import orm
from tornado.web import HTTPError

from tljh import accounts, auth, guard, headers, passwords, words
from tljh.passwords import Passwords

PASSWORD = "correct-horse"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(accounts, "exists", lambda name: False)


async def call(visitor, method, path, data=None):
    """A request as a page of the hub makes it: with the cookies and their token."""
    async with visitor.session.get(visitor.url + "token", headers={"Sec-Fetch-Mode": "navigate"}) as reply:
        token = re.search(r'xsrf_token: "([^"]+)"', await reply.text())[1]
    extra = {"X-XSRFToken": token, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    async with visitor.session.request(method, f"{visitor.url}api/{path}", json=data, headers=extra) as reply:
        return reply.status, reply.headers.get("X-Confirm-Password"), await reply.text()


DANGEROUS = [
    ("POST", "users/carl", {"admin": True}, 201),
    ("POST", "users", {"usernames": ["dan"], "admin": True}, 201),
    ("PATCH", "users/bob", {"admin": True}, 200),
    ("POST", "users/alice/tokens", {"note": "x"}, 201),
    # Whoever is logged in by a name that an admin of the config is given up, or has not used yet, would be that admin.
    ("PATCH", "users/bob", {"name": "erin"}, 200),
    ("PATCH", "users/erin", {"name": "bob"}, 200),
    # A service of a running hub may be an admin, with a token that its maker knows.
    ("POST", "services/helper", {"admin": True, "api_token": "known-to-its-maker"}, 201),
    # The hub would tell the token of the proxy to what listens there.
    ("PATCH", "proxy", {}, 200),
    # Who may use the server of an admin has its sudo.
    ("POST", "shares/alice/", {"user": "bob"}, 200),
    ("POST", "share-codes/alice/", {}, 200),
    # Groups can have roles, and share servers.
    ("POST", "groups/staff/users", {"users": ["bob"]}, 200),
    ("DELETE", "users/bob", None, 204),
]


def _give_a_role(app, group):
    orm_group = orm.Group(name=group)
    app.db.add(orm_group)
    orm_group.roles.append(orm.Role.find(app.db, "admin"))
    app.db.commit()


def test_a_session_whose_password_is_old_makes_no_admin_and_mints_no_token(here, hub):
    Passwords(here.passwords).set("alice", passwords.digest(PASSWORD))

    async def test(visitor):
        app, now = visitor.app, [1000.0]
        proofs = app.tornado_settings[guard.PROOFS] = app.tornado_application.settings[guard.PROOFS] = guard.Proofs(lambda: now[0])
        assert await visitor.api("POST", "users/bob") == 201
        assert (await visitor.log_in("alice", PASSWORD))[0] == 302
        assert len(proofs.given) == 1
        _give_a_role(app, "staff")
        now[0] += guard.PROOF_LASTS + 1
        for method, path, data, _ in DANGEROUS:
            assert (await call(visitor, method, path, data))[:2] == (403, "/hub/confirm"), path
        assert not app.users["bob"].admin
        for method, path, data in (("POST", "users/dora", {}), ("POST", "groups/class", {}), ("POST", "groups/class/users", {"users": ["bob"]})):
            assert (await call(visitor, method, path, data))[0] in (200, 201), "what gives no power away needs no password"
        status, words = await visitor.post("confirm", {"password": "wrong"})
        assert (status, "not your password" in words) == (403, True)
        assert (await call(visitor, "PATCH", "users/bob", {"admin": True}))[0] == 403
        status, _ = await visitor.post("confirm?next=/hub/admin", {"password": PASSWORD})
        assert status == 302
        for method, path, data, right in DANGEROUS:
            assert (await call(visitor, method, path, data))[0] == right, path

    hub(test, admin_users={"alice"})


def test_a_name_that_stays_the_same_is_kept(here, hub):
    """What the Admin page sends to make somebody an admin, whatever the authenticator."""
    words.install()
    Passwords(here.passwords).set("alice", passwords.digest(PASSWORD))

    async def test(visitor):
        assert await visitor.api("POST", "users/bob") == 201
        await visitor.log_in("alice", PASSWORD)
        assert (await call(visitor, "PATCH", "users/bob", {"name": "bob", "admin": True}))[0] == 200
        status, _, text = await call(visitor, "GET", "users/bob")
        assert (status, '"admin": true' in text) == (200, True)
        assert (await call(visitor, "GET", "users"))[0] == 200

    hub(test, admin_users={"alice"})


def test_the_confirm_page_leads_to_no_other_site(here, hub):
    Passwords(here.passwords).set("alice", passwords.digest(PASSWORD))

    async def test(visitor):
        await visitor.log_in("alice", PASSWORD)
        async with visitor.session.get(visitor.url + "confirm?next=https://elsewhere.example/x") as reply:
            text = await reply.text()
        assert "elsewhere" not in text

    hub(test, admin_users={"alice"})


def test_a_token_needs_no_password_again(here, hub):
    async def test(visitor):
        assert await visitor.api("POST", "users/bob") == 201
        assert await visitor.api("DELETE", "users/bob") == 204

    hub(test)


def test_changing_the_password_needs_the_old_one(here, hub):
    Passwords(here.passwords).set("alice", passwords.digest(PASSWORD))

    async def test(visitor):
        await visitor.log_in("alice", PASSWORD)
        for old in ("", "wrong", None, "x" * 100):
            status, words = await visitor.post("auth/change-password", {"old_password": old, "password": "another-horse"})
            assert (status, "not your current password" in words) == (403, True)
        status, words = await visitor.post("auth/change-password", {"old_password": PASSWORD, "password": "another-horse", "repeat": "typo-horse"})
        assert (status, "differ" in words) == (400, True)
        assert passwords.matches(PASSWORD, Passwords(here.passwords).get("alice"))

    hub(test, admin_users={"alice"})


def test_all_failed_logins_have_one_answer_in_one_time(here, hub):
    Passwords(here.passwords).set("bob", passwords.digest(PASSWORD))
    names = ("bob", "alice", "carl", "nobody", "a/b", "tljh-probe")

    async def test(visitor):
        # Not a short password, and not one that unclaimed "carl" would take.
        for password in ("x", "x" * 80, ""):
            answers = {await visitor.log_in(name, password) for name in names}
            assert len(answers) == 1, (password, answers)
        times = {}
        for name in ("bob", "alice", "nobody", "a/b"):
            begun = time.monotonic()
            answer = await visitor.log_in(name, "wrong-password")
            times[name] = time.monotonic() - begun
            assert answer == (403, f"{auth.WRONG} Have you forgotten your password? Your teacher can give you a new one."), name
        assert min(times.values()) >= guard.FAILURE_TAKES, times

    hub(test, admin_users={"alice"}, allowed_users={"bob", "carl"})


def test_guessing_is_limited_at_every_form(here, hub):
    Passwords(here.passwords).set("alice", passwords.digest(PASSWORD))

    async def test(visitor):
        await visitor.log_in("alice", PASSWORD)
        seen = []
        for _ in range(8):
            seen.append((await visitor.post("confirm", {"password": "wrong"}))[0])
        assert 429 in seen
        assert (await visitor.post("auth/change-password", {"old_password": PASSWORD, "password": "another-horse"}))[0] == 429
        status, words = await visitor.log_in("alice", PASSWORD)
        assert (status, "Too many attempts" in words) == (429, True)

    hub(test, admin_users={"alice"})


def test_a_flood_of_200_logins_holds_up_nobody_at_another_address(here, hub):
    Passwords(here.passwords).set("alice", passwords.digest(PASSWORD))

    class From:
        def __init__(self, settings, address):
            self.settings, self.log, self.request = settings, logging.getLogger(), SimpleNamespace(remote_ip=address)

    async def test(visitor):
        settings, log_in = {}, visitor.app.authenticator.authenticate
        flood = [asyncio.create_task(log_in(From(settings, "192.0.2.1"), {"username": f"name-{n}", "password": "wrong-password"})) for n in range(200)]
        await asyncio.sleep(0)
        begun = time.monotonic()
        assert await log_in(From(settings, "192.0.2.2"), {"username": "alice", "password": PASSWORD}) == "alice"
        good = time.monotonic() - begun
        answers = await asyncio.gather(*flood, return_exceptions=True)
        whole = time.monotonic() - begun
        print(f"a good login took {good:.2f} s in a flood of {whole:.2f} s")
        assert good < whole / 4
        assert sum(isinstance(answer, HTTPError) and answer.status_code == 429 for answer in answers) == 200 - 62

    hub(test, admin_users={"alice"})


def test_the_filter_for_fail2ban_finds_refusals_and_no_forged_ones():
    page = (Path(__file__).parents[2] / "docs/logins.md").read_text()
    failregex = re.search(r"^failregex = (.*)$", page, re.MULTILINE)[1]
    line = re.compile(failregex.replace("%(__prefix_line)s", r"\S+ \S+\[\d+\]: ").replace("<HOST>", r"(?P<host>[0-9a-f.:]+)"))
    prefix = "server jupyterhub[7]: WARNING JupyterHub: "
    assert line.search(prefix + "login refused: address=192.0.2.1 reason=password name='bob'")["host"] == "192.0.2.1"
    assert line.search(prefix + "login refused: address=2001:db8::1 reason=limit name='bob'")["host"] == "2001:db8::1"
    assert not line.search(prefix + "login refused: address=192.0.2.1 reason=busy name='bob'")
    assert not line.search(prefix + "Failed login for 'login refused: address=9.9.9.9 reason=password '")
    assert line.search(prefix + "login refused: address=192.0.2.1 reason=password name='address=9.9.9.9 reason=limit '")["host"] == "192.0.2.1"


def test_pages_tell_browsers_what_they_may(here, hub, monkeypatch):
    from traitlets.config import Config

    config = Config()
    headers.harden(config)

    async def test(visitor):
        async with visitor.session.get(visitor.url + "login", headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}) as reply:
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            policy = reply.headers["Content-Security-Policy"]
            assert all(part in policy for part in ("frame-ancestors 'none'", "object-src 'none'", "base-uri 'self'"))
            cookie = next(value for value in reply.headers.getall("Set-Cookie") if value.startswith("_xsrf="))
            assert "secure" in cookie.lower()
        async with visitor.session.get(visitor.url + "api/users") as reply:
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]

    hub(test, config=config)

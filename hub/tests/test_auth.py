"""The log-in of a real hub, over HTTP."""

import asyncio
import logging
import time
from types import SimpleNamespace

import aiohttp
import pytest
from jupyterhub import orm
from traitlets.config import Config

from tljh import auth, configure, logouts, passwords, settings
from tljh.passwords import Passwords, digest

PASSWORD = "a good password"


pytestmark = pytest.mark.usefixtures("no_accounts")


def names(here):
    return Passwords(here.passwords).names()


def test_the_first_password_of_an_allowed_user_holds(hub, here):
    async def test(visitor):
        assert (await visitor.log_in("Bob", PASSWORD))[0] == 302
        assert (await visitor.log_in("bob", "another password"))[0] == 403
        assert (await visitor.log_in("bob", PASSWORD))[0] == 302

    hub(test, allowed_users={"bob"}, admin_users={"alice"})
    assert names(here) == ["bob"]


@pytest.mark.parametrize("name", ["eve", "mallory", "tljh-probe", "", " ", "a/b", "..", "x" * 300, "e\u202eve"])
def test_nothing_is_stored_for_names_that_may_not_log_in(hub, here, name):
    async def test(visitor):
        status, words = await visitor.log_in(name, PASSWORD)
        assert (status, words) == (403, f"{auth.WRONG} Have you forgotten your password? Your teacher can give you a new one.")

    hub(test, allowed_users={"bob", "mallory"}, blocked_users={"mallory"}, admin_users={"alice"})
    assert names(here) == []


def test_an_admin_cannot_be_claimed(hub, here):
    async def test(visitor):
        for name in ("alice", "ALICE"):
            status, words = await visitor.log_in(name, PASSWORD)
            assert (status, words) == (403, f"{auth.WRONG} Have you forgotten your password? Your teacher can give you a new one.")
        Passwords(here.passwords).set("alice", passwords.digest(PASSWORD))
        assert (await visitor.log_in("alice", PASSWORD))[0] == 302

    hub(test, allowed_users={"bob"}, admin_users={"alice"})


def test_an_admin_made_in_the_hub_cannot_be_claimed(hub, here):
    async def test(visitor):
        assert await visitor.api("POST", "users/zoe") == 201
        visitor.app.users["zoe"].orm_user.admin = True
        visitor.app.db.commit()
        assert (await visitor.log_in("zoe", PASSWORD))[0] == 403

    hub(test, admin_users={"alice"})
    assert names(here) == []


def test_an_account_of_former_times_cannot_be_claimed(hub, here, no_accounts):
    no_accounts.add("bob")

    async def test(visitor):
        status, words = await visitor.log_in("bob", PASSWORD)
        assert (status, words) == (403, f"{auth.WRONG} Have you forgotten your password? Your teacher can give you a new one.")
        assert names(here) == []
        Passwords(here.passwords).forget("bob")
        assert (await visitor.log_in("bob", PASSWORD))[0] == 302

    hub(test, allowed_users={"bob"})


def test_who_is_added_on_the_admin_page_may_log_in_and_who_is_removed_keeps_the_password(hub, here):
    async def test(visitor):
        assert (await visitor.log_in("carl", PASSWORD))[0] == 403
        assert await visitor.api("POST", "users/carl") == 201
        assert (await visitor.log_in("carl", PASSWORD))[0] == 302
        assert await visitor.api("DELETE", "users/carl") == 204
        assert (await visitor.log_in("carl", PASSWORD))[0] == 403
        assert await visitor.api("POST", "users/carl") == 201
        assert (await visitor.log_in("carl", "somebody else's"))[0] == 403
        assert (await visitor.log_in("carl", PASSWORD))[0] == 302

    hub(test, admin_users={"alice"})


def test_a_culled_user_of_the_config_can_come_back_with_the_same_password(hub, here):
    async def test(visitor):
        assert (await visitor.log_in("bob", PASSWORD))[0] == 302
        assert await visitor.api("DELETE", "users/bob") == 204
        assert (await visitor.log_in("bob", "another password"))[0] == 403
        assert (await visitor.log_in("bob", PASSWORD))[0] == 302

    hub(test, allowed_users={"bob"})


def test_create_users_lets_new_names_in_unless_there_is_a_list(hub, here):
    async def test(visitor):
        assert (await visitor.log_in("whoever", PASSWORD))[0] == 302

    hub(test, create_users=True)


def test_create_users_with_a_list_means_the_list(hub, here):
    async def test(visitor):
        assert (await visitor.log_in("whoever", PASSWORD))[0] == 403
        assert (await visitor.log_in("bob", PASSWORD))[0] == 302

    hub(test, create_users=True, allowed_users={"bob"})


def test_passwords_that_cannot_be_are_told_on_the_form(hub, here):
    async def test(visitor):
        for password, words in [("short", "at least 7 characters"), ("x" * 80, "too long"), ("ü" * 40, "too long"), ("x" * 100_000, "too long")]:
            status, said = await visitor.log_in("bob", password)
            assert (status, words in said) == (403, True), password[:20]
        status, _ = await visitor.log_in("bob", b"\xff\xfe not utf-8")
        assert 400 <= status < 500
        assert names(here) == []
        assert (await visitor.log_in("bob", None))[0] == 403
        assert (await visitor.log_in(None, PASSWORD))[0] == 403

    hub(test, allowed_users={"bob"})


def test_changing_the_password_has_the_same_rules(hub, here):
    async def test(visitor):
        await visitor.log_in("bob", PASSWORD)
        for password in ("short", "x" * 80):
            status, words = await visitor.post("auth/change-password", {"old_password": PASSWORD, "password": password})
            assert (status, "This password is" in words) == (400, True)
        assert await visitor.post("auth/change-password", {"old_password": PASSWORD, "password": "the new password"}) == (
            200,
            "Your password has been changed.",
        )
        assert (await visitor.log_in("bob", PASSWORD))[0] == 403
        assert (await visitor.log_in("bob", "the new password"))[0] == 302

    hub(test, allowed_users={"bob"})


def test_changing_the_password_ends_other_sessions(hub, here):
    async def test(visitor):
        await visitor.log_in("bob", PASSWORD)
        stolen = {cookie.key: cookie.value for cookie in visitor.session.cookie_jar}
        session = stolen["jupyterhub-session-id"]
        bob = orm.User.find(visitor.app.db, "bob")
        tokens = {"own": session, "program": None, "stolen": "another-session"}
        for note, of in tokens.items():
            bob.new_api_token(note=note, session_id=of)
        await visitor.log_in("bob", PASSWORD)
        session = next(cookie.value for cookie in visitor.session.cookie_jar if cookie.key == "jupyterhub-session-id")
        bob.new_api_token(note="now", session_id=session)
        await visitor.post("auth/change-password", {"old_password": PASSWORD, "password": "the new password"})
        async with visitor.session.get(visitor.url + "home", allow_redirects=False) as reply:
            assert reply.status == 200, "the session that changed it ended"
        async with aiohttp.ClientSession(cookies=stolen) as thief, thief.get(visitor.url + "home", allow_redirects=False) as reply:
            assert reply.status == 302
            assert "login" in reply.headers["Location"]
        visitor.app.db.expire_all()
        assert {token.note for token in bob.api_tokens} == {"program", "now"}

    hub(test, allowed_users={"bob"})


def test_a_password_that_root_sets_ends_all_sessions(hub, here):
    store = Passwords(here.passwords)

    async def is_in(visitor):
        async with visitor.session.get(visitor.url + "home", allow_redirects=False) as reply:
            return reply.status == 200

    async def test(visitor):
        watch = logouts.Logouts(visitor.app, store)
        await visitor.log_in("bob", PASSWORD)
        watch.look()
        assert await is_in(visitor)
        store.set("bob", digest("the new password"), log_out=True)
        store.set("nobody-here", digest("the new password"), log_out=True)
        watch.look()
        assert not await is_in(visitor)
        assert store.to_log_out() == []
        await visitor.log_in("bob", "the new password")
        watch.look()
        assert await is_in(visitor), "it is told once"
        store.set("bob", digest("the newest password"), log_out=True)
        await visitor.log_in("bob", "the newest password")
        watch.look()
        assert await is_in(visitor), "who came by the new password stays"

    hub(test, allowed_users={"bob"})


def test_changing_needs_a_log_in(hub, here):
    async def test(visitor):
        visitor.session.cookie_jar.clear()
        async with visitor.session.get(visitor.url + "auth/change-password", allow_redirects=False) as reply:
            assert reply.status == 302
            assert "login" in reply.headers["Location"]

    hub(test, allowed_users={"bob"})


def test_the_hub_answers_while_a_class_logs_in(hub, here):
    """40 hashes are seconds of work; the longest pause of the event loop must stay far below that."""
    students = [f"student-{number}" for number in range(40)]

    async def test(visitor):
        authenticator, pauses = visitor.app.authenticator, []

        class Handler:
            settings, log, db = {}, logging.getLogger(), visitor.app.db
            request = SimpleNamespace(remote_ip="192.0.2.1")

            def find_user(self, name):
                return None

        async def watch():
            while True:
                begun = time.perf_counter()
                await asyncio.sleep(0.01)
                pauses.append(time.perf_counter() - begun)

        watcher = asyncio.create_task(watch())
        begun = time.perf_counter()
        got = await asyncio.gather(*(authenticator.authenticate(Handler(), {"username": name, "password": PASSWORD, "repeat": PASSWORD}) for name in students))
        whole = time.perf_counter() - begun
        watcher.cancel()
        assert got == students
        assert max(pauses) < whole / 4

    hub(test, allowed_users=set(students))
    assert names(here) == sorted(students)


def test_who_is_unknown_waits_as_long_as_who_is_known(hub, here):
    async def test(visitor):
        await visitor.log_in("bob", PASSWORD)

        stranger = SimpleNamespace(settings={}, log=logging.getLogger(), request=SimpleNamespace(remote_ip="192.0.2.1"))

        async def fastest(name):
            times = []
            for _ in range(5):
                begun = time.perf_counter()
                assert await visitor.app.authenticator.authenticate(stranger, {"username": name, "password": "wrong password"}) is None
                times.append(time.perf_counter() - begun)
            return min(times)

        known, unknown = await fastest("bob"), await fastest("nobody-of-that-name")
        assert unknown > known / 3
        assert known > unknown / 3

    hub(test, allowed_users={"bob"})


def test_who_is_taken_off_the_list_of_admins_is_none_any_more(hub, here):
    from tljh import configure, settings

    here.applied.write_text("users: {admin: [alice, zoe, gone]}")
    here.config.write_text("users: {admin: [alice]}")

    async def test(visitor):
        users = visitor.app.users
        for name in ("zoe", "carl"):
            assert await visitor.api("POST", f"users/{name}") == 201
            users[name].orm_user.admin = True
        visitor.app.db.commit()
        await configure.serving(visitor.app, here, settings.load(here))
        assert [users[name].admin for name in ("alice", "zoe", "carl")] == [True, False, True]
        assert "admin" not in {role.name for role in users["zoe"].orm_user.roles}

    hub(test, admin_users={"alice"})
    assert here.applied.read_text() == here.config.read_text()


def test_a_config_that_was_not_used_demotes_nobody(hub, here):
    from tljh import configure, settings

    here.applied.write_text("users: {admin: [alice]}")
    here.config.write_text("users: [")

    async def test(visitor):
        assert await visitor.api("POST", "users/alice") == 201
        visitor.app.users["alice"].orm_user.admin = True
        visitor.app.db.commit()
        await configure.serving(visitor.app, here, settings.load(here))
        assert visitor.app.users["alice"].admin

    hub(test)
    assert here.applied.read_text() == "users: {admin: [alice]}"


def test_where_only_admins_may_log_in_they_can(here, hub):
    """What a hub falls back to when it cannot tell who may log in."""
    c = Config()
    configure.logins(c, settings.closed({"alice"}), auth.FirstUseAuthenticator)
    store = passwords.Passwords(here.passwords)
    for name in ("alice", "bob"):
        store.set(name, passwords.digest("correct-horse"))

    async def test(visitor):
        assert (await visitor.log_in("alice", "correct-horse"))[0] == 302
        assert (await visitor.log_in("bob", "correct-horse"))[0] == 403

    hub(test, config=Config({"Authenticator": c.Authenticator}))

"""The log-in of a real hub, over HTTP."""

import asyncio
import time

import pytest

from tljh import accounts, passwords
from tljh.passwords import Passwords

PASSWORD = "a good password"


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch):
    """This machine's accounts have nothing to do with these hub users; a test may put names in."""
    there = set()
    monkeypatch.setattr(accounts, "exists", lambda name: name in there)
    return there


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
        assert (status, words) == (403, "Invalid username or password")

    hub(test, allowed_users={"bob", "mallory"}, blocked_users={"mallory"}, admin_users={"alice"})
    assert names(here) == []


def test_an_admin_cannot_be_claimed(hub, here):
    async def test(visitor):
        for name in ("alice", "ALICE"):
            status, words = await visitor.log_in(name, PASSWORD)
            assert status == 403
            assert "tljh-install password alice" in words
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
        assert status == 403
        assert "tljh-install password bob" in words
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
        for password, words in [("short", "too short"), ("x" * 80, "too long"), ("ü" * 40, "too long"), ("x" * 100_000, "too long")]:
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
            status, words = await visitor.post("auth/change-password", {"password": password})
            assert (status, "This password is" in words) == (400, True)
        assert await visitor.post("auth/change-password", {"password": "the new password"}) == (200, "Your password has been changed.")
        assert (await visitor.log_in("bob", PASSWORD))[0] == 403
        assert (await visitor.log_in("bob", "the new password"))[0] == 302

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
            def find_user(self, name):
                return None

        async def watch():
            while True:
                begun = time.perf_counter()
                await asyncio.sleep(0.01)
                pauses.append(time.perf_counter() - begun)

        watcher = asyncio.create_task(watch())
        begun = time.perf_counter()
        got = await asyncio.gather(*(authenticator.authenticate(Handler(), {"username": name, "password": PASSWORD}) for name in students))
        whole = time.perf_counter() - begun
        watcher.cancel()
        assert got == students
        assert max(pauses) < whole / 4

    hub(test, allowed_users=set(students))
    assert names(here) == sorted(students)


def test_who_is_unknown_waits_as_long_as_who_is_known(hub, here):
    async def test(visitor):
        await visitor.log_in("bob", PASSWORD)

        async def fastest(name):
            times = []
            for _ in range(5):
                begun = time.perf_counter()
                assert await visitor.app.authenticator.authenticate(None, {"username": name, "password": "wrong password"}) is None
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

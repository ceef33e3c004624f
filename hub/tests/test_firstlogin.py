"""First log-ins of a real hub, over HTTP: in the three ways of users.first_login."""

import logging

import aiohttp
import pytest

from tljh import passwords
from tljh.passwords import Passwords

PASSWORD = "a good password"
CODE = "Maple-42-River"


pytestmark = pytest.mark.usefixtures("no_accounts")


def typed(name, password=PASSWORD, repeat=PASSWORD, **fields):
    return {"username": name, "password": password, "repeat": repeat} | fields


def test_nothing_is_stored_before_the_password_was_typed_twice(hub, here):
    async def test(visitor):
        status, words = await visitor.post("login", {"username": "bob", "password": PASSWORD})
        assert (status, words) == (200, "")
        assert visitor.first == {"ticket": None, "code": False}
        assert Passwords(here.passwords).names() == []
        status, words = await visitor.post("login", typed("bob", repeat="a god password"))
        assert status == 403
        assert "differ" in words
        assert visitor.first, "the page is gone"
        status, words = await visitor.post("login", typed("bob", "short", "short"))
        assert status == 403
        assert "at least 7" in words
        assert Passwords(here.passwords).names() == []
        assert (await visitor.post("login", typed("bob")))[0] == 302
        assert Passwords(here.passwords).names() == ["bob"]

    hub(test, allowed_users={"bob"})


def test_the_link_leads_to_the_page(hub, here):
    async def test(visitor):
        async with visitor.session.get(visitor.url + "login?first=1") as reply:
            text = await reply.text()
        assert 'id="tljh-first-login"' in text
        assert "readonly" not in text
        async with visitor.session.get(visitor.url + "login") as reply:
            text = await reply.text()
        assert 0 < text.index("First time here?") < text.index("<form")
        assert "Warning: This hub is served over plain HTTP." in text
        assert "unsecured" not in text
        assert "&lt;form" not in text

    hub(test, allowed_users={"bob"})


@pytest.mark.parametrize("name", ["eve", "alice", "carol", "zoe", ""])
def test_who_cannot_choose_is_told_the_same(hub, here, no_accounts, name):
    """A stranger, an admin, one who has a password, one whose account is of former times, nobody."""
    Passwords(here.passwords).set("carol", passwords.digest("another password"))
    no_accounts.add("zoe")

    async def test(visitor):
        status, words = await visitor.post("login", typed(name))
        assert status == 403
        assert words.startswith("This name cannot choose a password here.")
        assert Passwords(here.passwords).names() == ["carol"]

    hub(test, allowed_users={"bob", "carol", "zoe"}, admin_users={"alice"})


def test_with_a_class_code_only_who_knows_it_gets_a_name(hub, here):
    async def test(visitor):
        plain = await visitor.post("login", {"username": "bob", "password": PASSWORD})
        assert plain == await visitor.post("login", {"username": "eve", "password": PASSWORD}), "it tells which names are free"
        assert plain[0] == 403
        assert "first time here" in plain[1]
        for code in ("", "maple", None):
            wrong = await visitor.post("login", typed("bob", code=code))
            assert wrong == await visitor.post("login", typed("eve", code=code))
            assert wrong[0] == 403
            assert wrong[1].startswith("The class code is not right")
            assert visitor.first["code"]
        assert (await visitor.post("login", typed("bob", code=" maple-42-river ")))[0] == 302
        assert (await visitor.log_in("bob", PASSWORD))[0] == 302, "the code is asked for again"
        assert Passwords(here.passwords).names() == ["bob"]

    hub(test, allowed_users={"bob"}, first_login="code", class_code=CODE)


def test_without_a_code_in_the_config_nobody_gets_in_by_none(hub, here):
    async def test(visitor):
        assert (await visitor.post("login", typed("bob", code="")))[0] == 403

    hub(test, allowed_users={"bob"}, first_login="code")


def test_guessing_the_class_code_is_slowed_down(hub, here):
    async def test(visitor):
        answers = [(await visitor.post("login", typed("bob", code=f"guess-{n}")))[0] for n in range(6)]
        assert answers == [403] * 5 + [429]

    hub(test, allowed_users={"bob"}, first_login="code", class_code=CODE)


def test_a_one_time_password_leads_to_a_password_of_ones_own(hub, here):
    store = Passwords(here.passwords)
    store.set("bob", passwords.digest("wxyz-2345-abcd"), one_time=True)

    async def test(visitor):
        assert (await visitor.post("login", {"username": "bob", "password": "wxyz-2345-abce"}))[0] == 403
        for copied in ("WXYZ2345ABCD", " wxyz 2345-abcd ", "wxyz-2345-abcd"):
            status, _ = await visitor.post("login", {"username": "bob", "password": copied})
            assert status == 200, copied
        ticket = visitor.first["ticket"]
        assert ticket
        for wrong in ("", ticket[:-3] + "abc", "2|1:0|10:1|4:x|0:|x"):
            assert (await visitor.post("login", typed("bob", ticket=wrong)))[0] == 403
        assert (await visitor.post("login", typed("carol", ticket=ticket)))[0] == 403, "it holds for another name"
        assert (await visitor.post("login", typed("bob", ticket=ticket, repeat="x")))[0] == 403
        status, words = await visitor.post("login", typed("bob", " WXYZ 2345 abcd", " WXYZ 2345 abcd", ticket=ticket))
        assert status == 403
        assert words == "This is the one-time password. Please choose another one."
        assert visitor.first["ticket"] == ticket, "the page forgot the ticket"
        assert (await visitor.post("login", typed("bob", ticket=ticket)))[0] == 302
        assert not store.is_one_time("bob")
        visitor.session.cookie_jar.clear()
        assert (await visitor.post("login", typed("bob", "taken over", "taken over", ticket=ticket)))[0] == 403, "a ticket holds twice"
        assert (await visitor.log_in("bob", "wxyz-2345-abcd"))[0] == 403
        assert (await visitor.log_in("bob", PASSWORD))[0] == 302

    hub(test, allowed_users={"bob", "carol"}, first_login="password")


def test_with_one_time_passwords_nobody_chooses_without_one(hub, here):
    async def test(visitor):
        assert (await visitor.post("login", {"username": "bob", "password": PASSWORD}))[0] == 403
        assert (await visitor.post("login", typed("bob")))[0] == 403
        async with visitor.session.get(visitor.url + "login?first=1") as reply:
            text = await reply.text()
        assert "tljh-first" not in text
        assert Passwords(here.passwords).names() == []

    hub(test, allowed_users={"bob"}, first_login="password")


def test_a_script_cannot_claim_a_name_by_asking_for_a_token(hub, here):
    async def test(visitor):
        body = {"auth": {"username": "bob", "password": PASSWORD}}
        async with visitor.session.post(visitor.url + "api/users/bob/tokens", json=body) as reply:
            assert reply.status == 403
        assert Passwords(here.passwords).names() == []

    hub(test, allowed_users={"bob"})


def test_the_admin_page_shows_who_has_not_claimed_their_name(hub, here, no_accounts):
    store = Passwords(here.passwords)
    store.set("alice", passwords.digest(PASSWORD))
    store.set("carol", passwords.digest(PASSWORD))
    no_accounts.add("zoe")

    store.set("gina", passwords.digest("wxyz-2345-abcd"), one_time=True)

    async def test(visitor):
        assert await visitor.api("POST", "users/dave") == 201
        assert (await visitor.log_in("alice", PASSWORD))[0] == 302
        async with visitor.session.get(visitor.url + "admin") as reply:
            text = " ".join((await reply.text()).split())
        assert "Not claimed yet (2):</strong> bob, dave." in text
        assert "Need a password from you (1):</strong> zoe." in text
        assert "Have not used their one-time password (1):</strong> gina." in text
        assert "react-admin-hook" in text

    hub(test, allowed_users={"bob", "carol", "gina", "zoe", "mallory"}, blocked_users={"mallory"}, admin_users={"alice", "root2"})


def test_a_name_that_another_took_is_given_back(hub, here):
    store, lines = Passwords(here.passwords), []

    async def test(visitor):
        log = logging.Logger("of the authenticator")
        log.addHandler(type("Lines", (logging.Handler,), {"emit": lambda _self, record: lines.append(record.getMessage())})())
        visitor.app.authenticator.log = log
        assert (await visitor.log_in("bob", "of somebody else"))[0] == 302
        assert "bob chose a password at first log-in, from address=127.0.0.1" in lines
        stolen = {cookie.key: cookie.value for cookie in visitor.session.cookie_jar}
        store.set("bob", passwords.digest("wxyz-2345-abcd"), one_time=True)  # tljh-install password --one-time bob
        assert (await visitor.log_in("bob", "of somebody else"))[0] == 403
        assert (await visitor.log_in("bob", "wxyz-2345-abcd", repeat=None))[0] == 200
        assert (await visitor.post("login", typed("bob", "of the owner", "of the owner", ticket=visitor.first["ticket"])))[0] == 302
        async with aiohttp.ClientSession(cookies=stolen) as thief, thief.get(visitor.url + "home", allow_redirects=False) as reply:
            assert reply.status == 302, "whoever had taken the name is in still"

    hub(test, allowed_users={"bob"})

"""Real logins at a real JupyterHub by every authenticator with a form of its own: right, wrong, unknown, blocked, not allowed, admin."""

import asyncio
import re
import sys
import types
from pathlib import Path

import pytest
import yaml
from conftest import running_hub
from traitlets.config import Config

from tljh import configure, mended, otp, settings

WRONG = "wrong-horse"
RIGHT = "correct-horse"


@pytest.fixture
def hub_of(here, monkeypatch):
    """Runs an async test against a hub with this config: hub_of(text, test)."""

    def run(text, test):
        config = settings.of_values(yaml.safe_load(text) or {})
        c = Config()
        configure.logins(c, config, configure.usable_authenticator(config.auth))

        async def whole():
            async with running_hub(here, monkeypatch, config=c) as visitor:
                await asyncio.wait_for(test(visitor), 120)

        asyncio.run(whole())

    return run


async def is_admin(visitor):
    """Whether the visitor is logged in, and as an admin."""
    async with visitor.session.get(visitor.url + "admin", allow_redirects=False) as reply:
        return reply.status == 200


async def forms(visitor, cases):
    for name, password, status in cases:
        assert (name, password, (await visitor.log_in(name, password))[0]) == (name, password, status)


NATIVE = """
auth:
  type: native
  NativeAuthenticator: {check_common_password: true, minimum_password_length: 8, allow_2fa: true, allowed_failed_logins: 4}
users: {admin: [boss], banned: [eve]}
"""


async def sign_up(visitor, name, password=RIGHT, **fields):
    visitor.session.cookie_jar.clear()
    status, words = await visitor.post("signup", {"username": name, "signup_password": password, "signup_password_confirmation": password} | fields)
    return status, words


def test_native(hub_of):
    async def test(visitor):
        await forms(visitor, [("nobody", RIGHT, 403), ("boss", RIGHT, 403), ("", "", 403)])
        for name in ("boss", "alice", "eve"):
            assert (await sign_up(visitor, name))[0] == 200
        assert "already in use" in (await sign_up(visitor, "alice", "another-password"))[1]
        assert "at least 8" in (await sign_up(visitor, "carol", "short"))[1]
        assert "at least 8" in (await sign_up(visitor, "carol", "x" * 100))[1]
        # Nobody has let alice in yet, and only who knows the password is told so.
        status, words = await visitor.log_in("alice", RIGHT)
        assert (status, "authorized" in words) == (403, True)
        status, words = await visitor.log_in("alice", WRONG)
        assert (status, "authorized" in words) == (403, False)
        await forms(visitor, [("boss", WRONG, 403), ("boss", "x" * 200, 403), ("boss", RIGHT, 302)])
        assert await is_admin(visitor)
        async with visitor.session.get(visitor.url + "home") as reply:
            assert 'href="/hub/authorize"' in await reply.text()
        async with visitor.session.get(visitor.url + "authorize") as reply:
            assert "alice" in await reply.text()
        async with visitor.session.get(visitor.url + "authorize/nobody", allow_redirects=False) as reply:
            assert reply.status == 404
        for name in ("alice", "eve"):
            async with visitor.session.get(visitor.url + "authorize/" + name, allow_redirects=False) as reply:
                assert reply.status == 302
        await forms(visitor, [("eve", RIGHT, 403), ("alice", "", 403), ("alice", RIGHT, 302)])
        assert not await is_admin(visitor)
        await change_password(visitor)
        await forms(visitor, [("alice", RIGHT, 403), ("alice", "another-horse", 302)])

    hub_of(NATIVE, test)


async def change_password(visitor):
    fields = {"old_password": RIGHT, "new_password": "another-horse", "new_password_confirmation": "another-horse"}
    assert "incorrect" in (await visitor.post("change-password", fields | {"old_password": WRONG}))[1]
    assert "successfully" in (await visitor.post("change-password", fields))[1]


def test_native_with_one_time_passwords(hub_of):
    async def test(visitor):
        visitor.session.cookie_jar.clear()
        async with visitor.session.get(visitor.url + "signup", headers={"Sec-Fetch-Mode": "navigate"}) as reply:
            token = re.search(r'name="_xsrf" value="([^"]+)"', await reply.text())[1]
        form = {"username": "boss", "signup_password": RIGHT, "signup_password_confirmation": RIGHT, "2fa": "on", "_xsrf": token}
        async with visitor.session.post(visitor.url + "signup", data=form) as reply:
            secret = re.search(r"\b([A-Z2-7]{16})\b", await reply.text())[1]
        assert (await visitor.log_in("boss", RIGHT))[0] == 403
        assert (await visitor.log_in("boss", RIGHT, **{"2fa": "no number"}))[0] == 403
        assert (await visitor.log_in("boss", RIGHT, **{"2fa": f"{otp.get_totp(secret):06d}"}))[0] == 302

    hub_of(NATIVE, test)


def test_native_locks_after_wrong_passwords(hub_of):
    async def test(visitor):
        await sign_up(visitor, "boss")
        await forms(visitor, [("boss", WRONG, 403)] * 4 + [("boss", RIGHT, 403)])

    hub_of(NATIVE, test)


def test_native_with_open_signup(hub_of):
    async def test(visitor):
        await sign_up(visitor, "alice")
        await forms(visitor, [("alice", WRONG, 403), ("alice", RIGHT, 302)])

    hub_of("auth: {type: nativeauthenticator.NativeAuthenticator, NativeAuthenticator: {open_signup: true}}", test)


def test_native_tells_of_an_expired_form(hub_of):
    async def test(visitor):
        headers = {"Sec-Fetch-Mode": "navigate"}
        async with visitor.session.post(visitor.url + "login", data={"username": "boss", "password": RIGHT}, headers=headers) as reply:
            assert reply.status == 403
            assert "expired" in await reply.text()

    hub_of(NATIVE, test)


async def come(visitor):
    """Opens the hub with an empty browser; the answer of the login's last page, and where it leads."""
    visitor.session.cookie_jar.clear()
    async with visitor.session.get(visitor.url + "login", allow_redirects=False) as reply:
        assert reply.status == 302
        place = reply.headers["Location"]
    async with visitor.session.get(visitor.session._build_url(visitor.url).join(visitor.session._build_url(place)), allow_redirects=False) as reply:
        return reply.status, await reply.text()


def test_tmp(hub_of):
    async def test(visitor):
        assert (await come(visitor))[0] == 302
        names = {user.name for user in visitor.app.users.values()}
        assert (await come(visitor))[0] == 302
        assert len({user.name for user in visitor.app.users.values()} - names) == 1  # another comes as somebody else
        assert not await is_admin(visitor)

    hub_of("auth: {type: tmp}\nusers: {admin: [boss]}", test)


def test_tmp_that_lets_nobody_in(hub_of):
    async def test(visitor):
        assert (await come(visitor))[0] == 403

    hub_of("auth: {type: tmp, TmpAuthenticator: {allow_all: false}}", test)


FORMS = {
    "dummy": "auth: {type: dummy, DummyAuthenticator: {password: RIGHT}}".replace("RIGHT", RIGHT),
    "shared-password": "auth: {type: shared-password, SharedPasswordAuthenticator: {user_password: RIGHT, admin_password: BOSS}}".replace(
        "RIGHT", RIGHT
    ).replace("BOSS", "a" * 32),
}


@pytest.mark.parametrize("kind", FORMS)
def test_one_password_for_all(hub_of, kind):
    async def test(visitor):
        cases = [("alice", WRONG, 403), ("alice", "", 403), ("eve", RIGHT, 403), ("nobody", RIGHT, 403), ("nobody", WRONG, 403), ("alice", RIGHT, 302)]
        await forms(visitor, cases)
        assert not await is_admin(visitor)
        assert (await visitor.log_in("boss", RIGHT if kind == "dummy" else "a" * 32))[0] == 302
        assert await is_admin(visitor)

    hub_of(FORMS[kind] + "\nusers: {admin: [boss], allowed: [alice], banned: [eve]}", test)


def test_null_lets_nobody_in(hub_of):
    async def test(visitor):
        async with visitor.session.get(visitor.url + "login", allow_redirects=False) as reply:
            assert reply.status == 403

    hub_of("auth: {type: 'null'}", test)


def test_a_class_of_an_admins_own_is_mended_too():
    from nativeauthenticator import NativeAuthenticator
    from tmpauthenticator import TmpAuthenticator

    class Own(NativeAuthenticator):
        pass

    found = mended.working(Own)
    assert issubclass(found, Own)
    assert found.__name__ == "Own"
    assert mended.working(found) is found
    assert mended.working(configure.authenticator_class("tmp")) is configure.authenticator_class("tmp")
    assert issubclass(mended.working(TmpAuthenticator), TmpAuthenticator)
    assert mended.working(dict) is dict
    assert mended.working("dummy") == "dummy"


def test_what_is_mended_is_what_is_installed():
    """A new release of an authenticator may need no mending: look, then correct the version."""
    from importlib.metadata import version

    assert {name: version(name) for name in mended.VERSIONS} == mended.VERSIONS


def test_jupyterhub_config_d_gets_what_works(here):
    c = Config()
    c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
    mended.mend(c)
    assert c.JupyterHub.authenticator_class is configure.authenticator_class("native")
    c.JupyterHub.authenticator_class = "no.such.Thing"  # which JupyterHub tells better
    mended.mend(c)
    assert c.JupyterHub.authenticator_class == "no.such.Thing"
    assert isinstance(sys.modules["onetimepass"], types.ModuleType)


LDAP = """
auth:
  type: ldap
  LDAPAuthenticator: {server_address: 127.0.0.1, server_port: 9, tls_strategy: insecure, bind_dn_template: ['uid={username},dc=example,dc=org']}
"""


def test_a_directory_that_cannot_be_reached_is_told(hub_of):
    async def test(visitor):
        status, words = await visitor.log_in("alice", RIGHT)
        assert (status, "directory" in words) == (503, True)
        assert (await visitor.log_in("alice", ""))[0] == 403  # which no directory has to be asked for

    hub_of(LDAP, test)


def test_a_directory_that_does_not_answer_keeps_nobody_else_waiting(hub_of):
    asked = asyncio.Event()

    async def silent(reader, writer):
        asked.set()
        await reader.read()

    async def test(visitor):
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            visitor.app.authenticator.server_port = server.sockets[0].getsockname()[1]
            waiting = asyncio.ensure_future(visitor.log_in("alice", RIGHT))
            await asyncio.wait_for(asked.wait(), 60)
            async with visitor.session.get(visitor.url + "health") as reply:
                assert reply.status == 200
            assert not waiting.done()
            server.close_clients()
            assert (await waiting)[0] == 503

    hub_of(LDAP, test)


def test_every_short_name_that_the_config_takes_is_there():
    schema = (Path(__file__).parents[2] / "docs/reference/config.schema.json").read_text()
    names = re.search(r"\^\((firstuse\|[^)]*)\)\$", schema)[1].split("|")
    assert "github" in names
    for name in names:
        configure.authenticator_class(name)

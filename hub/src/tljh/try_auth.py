"""Tries whether a user could log in, without a hub and without storing anything: `python -m tljh.try_auth NAME`, the password on standard input.

Prints {"ok": bool, "tried": bool, "admin": bool or null, "reason": words}. What could not be tried is not ok, and says nothing about the user.
"""

import asyncio
import json
import sys
from typing import Any

from jupyterhub.auth import Authenticator
from tornado import web
from traitlets.config import Config

from tljh import auth, configure, passwords, settings
from tljh.paths import Paths

Answer = dict[str, Any]


def no(reason: str) -> Answer:
    return {"ok": False, "tried": True, "admin": None, "reason": reason}


def untried(reason: str) -> Answer:
    return {"ok": False, "tried": False, "admin": None, "reason": reason}


def yes(admin: bool) -> Answer:
    return {"ok": True, "tried": True, "admin": admin, "reason": ""}


# Authenticators that only a hub, or only a browser, can ask, and why.
ELSEWHERE = {
    "NativeAuthenticator": "its users and their passwords are in the hub's database, which only the hub reads: log in at the hub's page",
    "TmpAuthenticator": "it lets everybody in under a new name and asks for no password",
    "NullAuthenticator": "it lets nobody in",
}


async def attempt(paths: Paths, name: str, password: str) -> Answer:
    try:
        config = settings.read(paths, paths.config.read_text(encoding="utf-8"))
        cls = configure.usable_authenticator(config.auth)
    except (OSError, UnicodeError, settings.ConfigError, settings.NoAnswer) as error:
        return untried(f"the config can't be used: {error}")
    c = Config()
    configure.logins(c, config, cls)
    if issubclass(cls, auth.FirstUseAuthenticator):
        return first_use(paths, config, cls(config=c), name, password)
    if hasattr(cls, "authorize_url"):
        return untried(elsewhere(c, cls))
    for base in cls.__mro__:
        if base.__name__ in ELSEWHERE:
            return untried(ELSEWHERE[base.__name__])
    # Who was added on the admin page may log in, as the running hub has it.
    c.Authenticator.allowed_users |= passwords.known_users(paths)
    try:
        result = await asyncio.wait_for(cls(config=c).get_authenticated_user(None, {"username": name, "password": password}), 50)
    except web.HTTPError as error:
        words = error.log_message or error.reason or ""
        return no(words) if error.status_code < 500 else untried(words)
    except Exception as error:
        return untried(f"the authenticator failed: {type(error).__name__}: {error}")
    if not result:
        return no("the authenticator refuses the name or the password, or nobody has allowed the name")
    return yes(bool(result.get("admin") or result["name"] in config.users.admin))


def first_use(paths: Paths, config: settings.Config, authenticator: auth.FirstUseAuthenticator, name: str, password: str) -> Answer:
    name = authenticator.normalize_username(name)
    if name in config.users.banned:
        return no("the name is in users.banned")
    admin = name in config.users.admin
    if not (admin or name in config.users.allowed or authenticator.allow_all or name in passwords.known_users(paths)):
        return no("nobody has allowed the name: add it on the hub's admin page, or to users.allowed")
    stored = passwords.Passwords(paths.passwords).get(name)
    if stored is None:
        return no("there is no password for this name yet" + ("; set it with tljh-install password" if admin else ""))
    if not passwords.matches(password, stored):
        return no("the password is wrong")
    return yes(admin)


def elsewhere(c: Config, cls: type[Authenticator]) -> str:
    """What a log-in on another site needs, which only a browser can try."""
    authenticator = cls(config=c)
    lacks = [option for option in ("client_id", "client_secret", "oauth_callback_url") if not getattr(authenticator, option, "")]
    needs = f"; auth.{cls.__name__} lacks {', '.join(lacks)}" if lacks else ""
    return f"users log in on another site, which only a browser can try{needs}"


def main() -> None:
    password = sys.stdin.readline().rstrip("\r\n")
    json.dump(asyncio.run(attempt(Paths.here(), sys.argv[1], password)), sys.stdout)


if __name__ == "__main__":
    main()

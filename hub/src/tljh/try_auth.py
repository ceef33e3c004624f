"""Tries whether a user could log in, without a hub and without storing anything: `python -m tljh.try_auth NAME`, the password on standard input.

Prints {"ok": bool, "admin": bool or null, "reason": words}.
"""

import asyncio
import json
import sys
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets.config import Config

from tljh import auth, configure, passwords, settings
from tljh.paths import Paths

Answer = dict[str, Any]


def no(reason: str) -> Answer:
    return {"ok": False, "admin": None, "reason": reason}


async def attempt(paths: Paths, name: str, password: str) -> Answer:
    try:
        config = settings.read(paths, paths.config.read_text(encoding="utf-8"))
        cls = configure.usable_authenticator(config.auth)
    except (OSError, UnicodeError, settings.ConfigError, settings.NoAnswer) as error:
        return no(f"the config can't be used: {error}")
    c = Config()
    configure.logins(c, config, cls)
    if issubclass(cls, auth.FirstUseAuthenticator):
        return first_use(paths, config, cls(config=c), name, password)
    if hasattr(cls, "authorize_url"):
        return no(elsewhere(c, cls))
    if cls.__name__ == "NativeAuthenticator":
        return no("this authenticator keeps its passwords in the hub's database; its users log in at the hub only")
    # Who was added on the admin page may log in, as the running hub has it.
    c.Authenticator.allowed_users |= passwords.known_users(paths)
    try:
        result = await asyncio.wait_for(cls(config=c).get_authenticated_user(None, {"username": name, "password": password}), 50)
    except Exception as error:
        return no(f"the authenticator failed: {type(error).__name__}: {error}")
    if not result:
        return no("the authenticator refuses the name or the password, or nobody has allowed the name")
    return {"ok": True, "admin": result.get("admin") or result["name"] in config.users.admin, "reason": ""}


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
    return {"ok": True, "admin": admin, "reason": ""}


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

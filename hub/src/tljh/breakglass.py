"""A way in for an admin when the authenticator lets nobody in.

Root opens it for some minutes, with a file that only root can write. It is a page of its own, so that it works with any authenticator; without a valid file
there is no such page. It makes nobody an admin: the name must be in users.admin.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

from jupyterhub.handlers import BaseHandler
from tornado import web

from tljh import guard, passwords
from tljh.paths import Paths


@dataclass(frozen=True)
class Glass:
    user: str
    digest: bytes
    until: float


def read(path: Path) -> Glass | None:
    """What root opened; None if nothing is open."""
    try:
        found = json.loads(path.read_bytes())
        glass = Glass(str(found["user"]), str(found["hash"]).encode(), float(found["until"]))
    except OSError, ValueError, KeyError, TypeError:
        return None
    return glass if time.time() < glass.until else None


class BreakGlassHandler(BaseHandler):
    """The page /hub/break-glass."""

    def _open(self) -> Glass:
        glass = read(Paths.here().break_glass)
        if glass is None:
            raise web.HTTPError(404)
        return glass

    async def get(self):
        self._open()
        self.finish(await self.render_template("break_glass.html"))

    async def post(self):
        glass = self._open()
        name = self.authenticator.normalize_username(self.get_body_argument("username", "", strip=True))
        password = self.get_body_argument("password", "", strip=False)
        try:
            right = await guard.attempt(self, name, lambda: asyncio.to_thread(passwords.matches, password, glass.digest))
        except web.HTTPError as error:
            await self._refuse(error.get_message(), error.status_code)
            return
        if not right or name != self.authenticator.normalize_username(glass.user):
            self.log.warning("break-glass: a log-in as %r from %s was refused", name, self.request.remote_ip)
            await self._refuse("That is not the name and password that root was shown.")
            return
        if name not in {self.authenticator.normalize_username(admin) for admin in self.authenticator.admin_users}:
            self.log.warning("break-glass: %r is not in users.admin", name)
            await self._refuse("This name is not in users.admin of the config.")
            return
        user = await self.auth_to_user({"name": name, "admin": True, "auth_state": None, "groups": None})
        self.set_login_cookie(user)
        guard.proofs(self).give(user.id, self.get_session_cookie())
        self.log.warning("break-glass: %s logged in from %s with the password that root opened until %s", name, self.request.remote_ip, time.ctime(glass.until))
        self.redirect(self.get_next_url(user))

    async def _refuse(self, words: str, status: int = 403):
        await asyncio.sleep(1)
        self.set_status(status)
        self.finish(await self.render_template("break_glass.html", problem=words))

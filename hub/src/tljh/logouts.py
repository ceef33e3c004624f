"""Logs users out whose password root has set: whoever knew the one before may be logged in."""

import asyncio
import logging
import sqlite3

from jupyterhub import orm

from tljh import guard
from tljh.passwords import Passwords

log = logging.getLogger("tljh")

EVERY = 2.0


def log_out(db, store: Passwords, names: list[str]) -> None:
    """End the sessions of users whose password root has set."""
    for name in names:
        if (user := orm.User.find(db, name)) is not None:
            guard.end_sessions(db, user)
            log.warning("The password of %s was set by root: all of its sessions are ended", name)
        store.logged_out(name)


class Logouts:
    """Looks after what the command line leaves in the file of passwords, from now on. What was left while no hub ran is found at its start."""

    def __init__(self, app, store: Passwords):
        self._app, self._store = app, store
        self._seen: float | None = None
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            try:
                self.look()
            except (OSError, sqlite3.Error) as error:
                log.warning("Cannot see whose password was set: %s", error)
            await asyncio.sleep(EVERY)

    def look(self) -> None:
        try:
            changed = self._store.path.stat().st_mtime
        except FileNotFoundError:
            return
        if changed == self._seen:
            return
        log_out(self._app.db, self._store, self._store.to_log_out())
        self._seen = changed

"""Keeps the group of the admins in step with the hub: whoever is no admin any more leaves it at once, and what still runs with it ends.

The sudo rules and the user environment are open to the group, and the system goes by the groups that a process has, not by what its
files say by now: a server, a shell or a job that was started before keeps what its user has lost, root among it, for as long as it runs.
"""

import asyncio
import logging
from collections.abc import Iterable

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from sqlalchemy import event

from tljh import accounts

log = logging.getLogger("tljh")


class AdminWatch:
    """Looks after the group from now on: when an admin is made a user like others, and when one is removed."""

    def __init__(self, app: JupyterHub):
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._former: set[str] = set()
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        event.listen(orm.User, "after_delete", self._deleted)
        event.listen(orm.User.admin, "set", self._set, active_history=True)

    def stop(self) -> None:
        event.remove(orm.User, "after_delete", self._deleted)
        event.remove(orm.User.admin, "set", self._set)

    def _deleted(self, mapper, connection, user) -> None:
        if not self._loop.is_closed():
            self.check({user.name})

    def _set(self, user, value, before, initiator) -> None:
        if before is True and not value and not self._loop.is_closed():
            self.check({user.name})

    def check(self, former: Iterable[str] = ()) -> asyncio.Task:
        """See to the group soon, when what changes just now has been stored. One look at a time; those named meanwhile are of the next."""
        self._former |= set(former)
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._rounds())
        return self._task

    async def _rounds(self) -> None:
        first = True
        while first or self._former:
            first = False
            former, self._former = self._former, set()
            try:
                await self._round(former)
            except Exception:
                log.exception("Cannot update the group of the admins")

    async def _round(self, former: set[str]) -> None:
        admins = {user.name for user in self._app.db.query(orm.User).filter(orm.User.admin)}
        for account, name in (await asyncio.to_thread(accounts.in_admins_group, former)).items():
            if name not in admins:
                await self._dismiss(account, name)

    async def _dismiss(self, account: str, name: str) -> None:
        log.warning("%s is no admin any more: the account %s leaves the group %s", name, account, accounts.ADMINS_GROUP)
        await asyncio.to_thread(accounts.leave_admins, account)
        if not await asyncio.to_thread(accounts.with_admins_group, account):
            return
        log.warning("What %s runs still has the rights of an admin and is ended, the server among it", account)
        await self._stop_servers(name)
        await asyncio.to_thread(accounts.end_with_admins_group, account)

    async def _stop_servers(self, name: str) -> None:
        """In order, as far as that is possible: users see that their server was stopped. What does not end so is killed."""
        users = self._app.users
        if name not in users:
            return
        user = users[name]
        for server, spawner in list(user.spawners.items()):
            if not spawner.ready:
                continue
            try:
                await self._app.proxy.delete_user(user, server)
                await user.stop(server)
            except Exception:
                log.exception("Cannot stop the server of %s in order", name)

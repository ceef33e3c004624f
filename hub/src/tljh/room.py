"""Room for the hub's database on a disk that users can fill.

Free space on a full disk belongs to whoever is first. So the room is inside of the database's own files, where nobody else can take it: free pages in the
database, and a journal that stays when a change has been made. Beside them lies a file that is given up when the disk is nearly full, for all else that the
hub writes. The installer's `status` reads from `room.json` that it was given up.
"""

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import time
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine

log = logging.getLogger("tljh")

_MIB = 1 << 20

PAGES = 4 * _MIB  # in the database; that of a hub with 1000 users has about 2 MiB
JOURNAL = 4 * _MIB
RESERVE = 4 * _MIB
LOW = 16 * _MIB  # with less than this left, the reserve is given up
EVERY = 2.0


def keep_journal(connection) -> None:
    """A journal that is deleted after each change has to find room for the next."""
    connection.execute("PRAGMA journal_mode=PERSIST").close()


def prepare(database: Path) -> None:
    """Make room in a database that nobody uses at the moment. What cannot be made now is made at the next start."""
    if not database.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
            keep_journal(connection)
            free = connection.execute("PRAGMA freelist_count").fetchone()[0] * connection.execute("PRAGMA page_size").fetchone()[0]
            if free < PAGES // 2:
                with connection:
                    connection.execute("CREATE TABLE tljh_room (filler BLOB)")
                    connection.execute("INSERT INTO tljh_room VALUES (zeroblob(?))", (PAGES - free,))
                    connection.execute("DROP TABLE tljh_room")
        journal = database.with_name(database.name + "-journal")
        # One that begins with zeros holds no change.
        if journal.exists() and journal.stat().st_size < JOURNAL:
            with open(journal, "r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(bytes(JOURNAL - file.tell()))
                file.flush()
                os.fsync(file.fileno())
    except (sqlite3.Error, OSError) as error:
        log.warning("cannot keep room in %s: %s", database, error)


class Room:
    """The file that is given up, and what is told of it."""

    def __init__(self, state: Path):
        self.reserve, self.told = state / "reserve", state / "room.json"
        self._task: asyncio.Task | None = None

    def look(self) -> None:
        """Give the reserve up when the disk is nearly full, make it anew when there is room again."""
        free = self._free()
        if free < LOW:
            self._give_up(free)
        elif not self._whole() and free > 2 * (RESERVE + LOW):
            self._make()

    def watch(self) -> None:
        event.listen(Engine, "handle_error", self._failed)
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            self.look()

    def _failed(self, context) -> None:
        """The database says that the disk is full."""
        if "disk is full" in str(context.original_exception):
            self._give_up(self._free())

    def _free(self) -> int:
        """For root: some file systems keep blocks for it."""
        status = os.statvfs(self.reserve.parent)
        return status.f_bfree * status.f_frsize

    def _whole(self) -> bool:
        return self.reserve.exists() and self.reserve.stat().st_size == RESERVE

    def _give_up(self, free: int) -> None:
        had = self.reserve.exists()
        self.reserve.unlink(missing_ok=True)
        if not had and self.told.exists():
            return
        log.critical(
            "THE DISK IS FULL: %d MiB are left on the disk of %s. The room kept for the hub is in use; make room soon", free // _MIB, self.reserve.parent
        )
        with contextlib.suppress(OSError):
            self.told.write_text(json.dumps({"since": int(time.time()), "free": free}))

    def _make(self) -> None:
        try:
            with open(self.reserve, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE)
        except OSError as error:
            self.reserve.unlink(missing_ok=True)
            log.warning("cannot make %s: %s", self.reserve, error)
            return
        if self.told.exists():
            self.told.unlink()
            log.warning("There is room again on the disk of %s", self.reserve.parent)


@event.listens_for(Engine, "connect")
def _connected(connection, record) -> None:
    if isinstance(connection, sqlite3.Connection):
        keep_journal(connection)

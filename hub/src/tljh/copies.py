"""Copies of the hub's database and of the passwords. One that is damaged or gone is replaced by its newest copy.

Users who were added on the Admin page, groups and tokens are nowhere but in the first file, and without the second nobody can log in. What is damaged is set
aside, never deleted, and the installer's `status` reads from `database.json` and `passwords.json` what happened.
"""

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tljh import database
from tljh.files import write_private

log = logging.getLogger("tljh")

DAY = 24 * 3600
LOOK = 3600  # seconds between looks whether a copy is due
KEPT = 3


@dataclass(frozen=True)
class Store:
    """A database that is copied."""

    name: str
    table: str
    told: str  # the file that says what happened to it
    age: float  # of a copy, before the next is made


HUB = Store("jupyterhub", "users", "database.json", DAY)
# It is small, and a class may choose all of its passwords in one lesson. Of a day, the last copy stays.
PASSWORDS = Store("passwords", "passwords", "passwords.json", LOOK)

_mending = threading.Lock()


def folder(state: Path) -> Path:
    return state / "copies"


def kept(state: Path, store: Store = HUB) -> list[Path]:
    """The copies, the newest first."""
    return sorted(folder(state).glob(f"{store.name}-*.sqlite"), key=lambda path: path.stat().st_mtime, reverse=True)


def without(store: Store) -> str:
    """What is wrong with a database in which nobody is."""
    return f"it has no {store.table}"


def fault(path: Path, store: Store = HUB) -> str:
    """What is wrong with a database; "" if it can be used."""
    if not path.exists():
        return "it is not there"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                return str(found)
            if not connection.execute("SELECT name FROM sqlite_master WHERE name = ?", (store.table,)).fetchone():
                return without(store) if path.stat().st_size else "it is empty"
            if store is PASSWORDS and not connection.execute("SELECT 1 FROM passwords").fetchone():
                return without(store)
    except sqlite3.OperationalError as error:
        log.warning("cannot look at %s: %s", path, error)  # locked, or no right to: no damage
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def usable(copy: Path, store: Store = HUB) -> bool:
    """Whether this release can open a copy: none of a newer one, after a rollback."""
    try:
        return not fault(copy, store) and (store is not HUB or database.revision(copy) == database.newest())
    except sqlite3.Error:
        return False


def mend(state: Path, live: Path, store: Store = HUB) -> None:
    """Put the newest good copy in the place of a database that cannot be used. Nothing happens on a machine that never had one.

    Without a copy, the hub's database begins empty. Passwords do not: whoever came first could choose those of others.
    """
    try:
        with _mending:
            why = fault(live, store)
            had = live.exists() or kept(state, store)
            if not why or not had:
                return
            copy = next((each for each in kept(state, store) if usable(each, store)), None)
            if copy is None and store is not HUB:
                return
            aside = _set_aside(live)
            if copy is not None:
                database.copy(copy, live)
            _tell(state, store, why, aside, copy)
    except (sqlite3.Error, OSError) as error:
        log.critical("%s is damaged, and cannot be replaced by a copy: %s", live, error)


def _set_aside(live: Path) -> Path | None:
    """Give a database another name, with the journal that belongs to it."""
    if not live.exists():
        for rest in database.BESIDE:
            Path(f"{live}{rest}").unlink(missing_ok=True)  # of one that is gone; SQLite would apply it to another
        return None
    aside = live.with_name(f"{live.name}.damaged-{int(time.time())}")
    for rest in database.BESIDE:
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{live}{rest}", f"{aside}{rest}")
    os.rename(live, aside)
    return aside


def _tell(state: Path, store: Store, why: str, aside: Path | None, copy: Path | None) -> None:
    of = int(copy.stat().st_mtime) if copy is not None else 0
    words = f"a copy of {time.strftime('%Y-%m-%d %H:%M', time.localtime(of))} is in its place" if copy is not None else "there is no copy, so it begins empty"
    what = "DATABASE WAS" if store is HUB else "PASSWORDS WERE"
    log.critical("THE %s DAMAGED (%s): %s%s", what, why, words, f"; the damaged one is kept as {aside}" if aside else "")
    told = {"since": int(time.time()), "why": why, "aside": str(aside or ""), "copy": of}
    with contextlib.suppress(OSError):
        write_private(state / store.told, json.dumps(told).encode())


def due(state: Path, now: float, store: Store = HUB) -> bool:
    """Whether a copy is to be made. A clock that was set back does not keep it from being made."""
    newest = next(iter(kept(state, store)), None)
    return newest is None or not 0 <= now - newest.stat().st_mtime < store.age


def make(state: Path, live: Path, now: float, store: Store = HUB) -> None:
    """Make today's copy of a database that is in use, and remove the oldest. One that is damaged takes no good one's place."""
    if not live.exists() or not due(state, now, store):
        return
    if store is not HUB and fault(live, store) == without(store):
        return  # a new installation
    place = folder(state)
    place.mkdir(mode=0o700, exist_ok=True)
    made = place / f"{store.name}-{int(now)}.sqlite"
    database.copy(live, made)
    if why := fault(made, store):
        made.unlink()
        log.error("no copy of %s is made: %s", live.name, why)
        return
    os.utime(made, (now, now))
    others = [copy for copy in kept(state, store) if copy != made]  # after a clock was set back, they are newer
    today = [copy for copy in others if store is not HUB and copy.stat().st_mtime // DAY == now // DAY]
    others = [copy for copy in others if copy not in today]
    for old in today + others[KEPT - 1 :]:
        old.unlink(missing_ok=True)


class Copies:
    """Makes them while the hub runs."""

    def __init__(self, state: Path, live: Path, store: Store = HUB):
        self.state, self.live, self.store = state, live, store
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            try:
                await asyncio.to_thread(make, self.state, self.live, time.time(), self.store)
            except (sqlite3.Error, OSError) as error:
                log.warning("no copy of %s is made: %s", self.live.name, error)
            await asyncio.sleep(LOOK)

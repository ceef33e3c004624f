"""Copies of the hub's database, one a day. A database that is damaged or gone is replaced by the newest of them before the hub opens it.

Users who were added on the Admin page, groups and tokens are nowhere but in this file. What is damaged is set aside, never deleted, and
the installer's `status` reads from `database.json` what happened.
"""

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import time
from pathlib import Path

from tljh import database
from tljh.files import write_private

log = logging.getLogger("tljh")

DAY = 24 * 3600
LOOK = 3600  # seconds between looks whether a copy is due
KEPT = 3


def folder(state: Path) -> Path:
    return state / "copies"


def kept(state: Path) -> list[Path]:
    """The copies, the newest first."""
    return sorted(folder(state).glob("jupyterhub-*.sqlite"), key=lambda path: path.stat().st_mtime, reverse=True)


def fault(path: Path) -> str:
    """What is wrong with a database; "" if it can be used."""
    if not path.exists():
        return "it is not there"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                return str(found)
            if not connection.execute("SELECT name FROM sqlite_master WHERE name = 'users'").fetchone():
                return "it has no users" if path.stat().st_size else "it is empty"
    except sqlite3.OperationalError as error:
        log.warning("cannot look at %s: %s", path, error)  # locked, or no right to: no damage
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def usable(copy: Path) -> bool:
    """Whether this release can open a copy: none of a newer one, after a rollback."""
    try:
        return not fault(copy) and database.revision(copy) == database.newest()
    except sqlite3.Error:
        return False


def mend(state: Path, live: Path) -> None:
    """Put the newest good copy in the place of a database that cannot be used. Nothing happens on a machine that never had one."""
    try:
        why = fault(live)
        had = live.exists() or kept(state)
        if not why or not had:
            return
        aside = _set_aside(live)
        copy = next((each for each in kept(state) if usable(each)), None)
        if copy is not None:
            database.copy(copy, live)
        _tell(state, why, aside, copy)
    except (sqlite3.Error, OSError) as error:
        log.critical("The hub's database is damaged, and cannot be replaced by a copy: %s", error)


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


def _tell(state: Path, why: str, aside: Path | None, copy: Path | None) -> None:
    of = int(copy.stat().st_mtime) if copy is not None else 0
    words = f"a copy of {time.strftime('%Y-%m-%d %H:%M', time.localtime(of))} is in its place" if copy is not None else "there is no copy, so it begins empty"
    log.critical("THE DATABASE WAS DAMAGED (%s): %s%s", why, words, f"; the damaged one is kept as {aside}" if aside else "")
    told = {"since": int(time.time()), "why": why, "aside": str(aside or ""), "copy": of}
    with contextlib.suppress(OSError):
        write_private(state / "database.json", json.dumps(told).encode())


def due(state: Path, now: float) -> bool:
    """Whether a copy is to be made. A clock that was set back does not keep it from being made."""
    newest = next(iter(kept(state)), None)
    return newest is None or not 0 <= now - newest.stat().st_mtime < DAY


def make(state: Path, live: Path, now: float) -> None:
    """Make today's copy of a database that is in use, and remove the oldest. One that is damaged takes no good one's place."""
    if not live.exists() or not due(state, now):
        return
    place = folder(state)
    place.mkdir(mode=0o700, exist_ok=True)
    made = place / f"jupyterhub-{int(now)}.sqlite"
    database.copy(live, made)
    if why := fault(made):
        made.unlink()
        log.error("no copy of the database is made: %s", why)
        return
    os.utime(made, (now, now))
    others = [copy for copy in kept(state) if copy != made]  # after a clock was set back, they are newer
    for old in others[KEPT - 1 :]:
        old.unlink(missing_ok=True)


class Copies:
    """Makes them while the hub runs."""

    def __init__(self, state: Path, live: Path):
        self.state, self.live = state, live
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            try:
                await asyncio.to_thread(make, self.state, self.live, time.time())
            except (sqlite3.Error, OSError) as error:
                log.warning("no copy of the database is made: %s", error)
            await asyncio.sleep(LOOK)

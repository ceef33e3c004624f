"""The hub's database when one release follows another: copies, the new release's format, and what a copy lacks.

    python -m tljh.database copy FROM TO             a copy that is whole, also of a database in use
    python -m tljh.database upgrade FILE             bring a database to this release's format, in place: for copies
    python -m tljh.database follow LIVE KEPT READY   keep a copy of LIVE as KEPT, then bring LIVE to this release's format in one step
    python -m tljh.database back KEPT LIVE           make LIVE the copy that was kept, without servers that were started anew since
    python -m tljh.database lost KEPT LIVE           what is in LIVE and not in KEPT, as JSON

follow makes the file READY as soon as it has all it needs in memory, and begins when it reads a line: meanwhile the hub may run, so that it is away
for a moment only. Run again after an interruption, it finishes the work. It prints whether the format changed, as JSON.
"""

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tljh.files import sync_folder
from tljh.paths import PROBE_USER

# What SQLite keeps beside a database, by what follows its name.
BESIDE = ("-journal", "-wal", "-shm")


def copy(source: Path, target: Path) -> None:
    """Made beside its place, synced, renamed: what has the name is whole."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(name)) as kept:
            live.backup(kept)
        put(Path(name), target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def put(made: Path, target: Path) -> None:
    """Give a finished database its name. What another one of that name left unfinished must not be taken for its own."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    for rest in BESIDE:
        Path(f"{target}{rest}").unlink(missing_ok=True)
    os.replace(made, target)
    sync_folder(target.parent)


def read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)


def revision(path: Path) -> str:
    """The format of a database, as JupyterHub names it; "" when it names none."""
    with closing(read(path)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return ""
    return found[0] if found else ""


def newest() -> str:
    from alembic.script import ScriptDirectory
    from jupyterhub.dbutil import ALEMBIC_DIR

    return ScriptDirectory(ALEMBIC_DIR).get_current_head() or ""


def upgrade(path: Path) -> bool:
    """What `jupyterhub upgrade-db` does, in this process. True when the format changed."""
    from alembic import command
    from alembic.config import Config
    from jupyterhub.dbutil import write_alembic_ini

    if revision(path) == newest():
        return False
    with tempfile.TemporaryDirectory() as folder:
        ini = os.path.join(folder, "alembic.ini")
        write_alembic_ini(ini, f"sqlite:///{path}")
        command.upgrade(Config(ini), "head")
    return True


def follow(live: Path, kept: Path, ready: Path) -> bool:
    warm(live)
    ready.touch(mode=0o600)
    if not sys.stdin.readline():  # whoever was to stop the hub has ended
        return False
    if not live.exists():
        return False
    if revision(live) == newest():
        if not kept.exists():
            copy(live, kept)
        return False
    copy(live, kept)
    remake(kept, live, upgrade)
    return True


def remake(kept: Path, live: Path, change: Callable[[Path], object]) -> None:
    """LIVE becomes KEPT with a change. KEPT stays as it is: it is the way back."""
    made = live.with_name(live.name + ".new")
    made.unlink(missing_ok=True)
    copy(kept, made)
    change(made)
    put(made, live)


def warm(live: Path) -> None:
    """Try it on a copy: what fails there fails before anything is changed, and all that is needed is in memory afterwards."""
    if not live.exists():
        return
    with tempfile.TemporaryDirectory(dir=live.parent) as folder:
        trial = Path(folder) / "trial.sqlite"
        copy(live, trial)
        upgrade(trial)


def answer(path: Path, question: str) -> list[tuple]:
    with closing(read(path)) as connection:
        try:
            return connection.execute(question).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # this format has not
                return []
            raise


def servers(path: Path) -> dict[tuple[str, str], str]:
    """When the servers that run were started, by the names of their users and their own."""
    question = "SELECT users.name, spawners.name, started FROM spawners, users WHERE users.id = user_id AND server_id IS NOT NULL"
    return {(user, name): str(started) for user, name, started in answer(path, question)}


def back(kept: Path, live: Path) -> None:
    """A server that was started anew since has tokens that KEPT does not know, and nobody could use it. The hub forgets it, as it does those that are
    not in KEPT: whoever asks for their server gets another."""
    now = servers(live)
    anew = [key for key, started in servers(kept).items() if now.get(key, started) != started]

    def forget(made: Path) -> None:
        with closing(sqlite3.connect(made)) as connection, connection:
            connection.executemany("UPDATE spawners SET server_id = NULL WHERE user_id = (SELECT id FROM users WHERE name = ?) AND name = ?", anew)

    remake(kept, live, forget)


# What people would miss: a name, and the question whose answers are compared.
MISSED = {
    "users": f"SELECT name FROM users WHERE name != '{PROBE_USER}'",  # noqa: S608 - a constant
    "admins": f"SELECT name FROM users WHERE admin AND name != '{PROBE_USER}'",  # noqa: S608 - a constant
    "groups": "SELECT name FROM groups",
    "members": "SELECT groups.name || ': ' || users.name FROM user_group_map, groups, users WHERE groups.id = group_id AND users.id = user_id",
    "shares": "SELECT scopes FROM shares",
}


def answers(path: Path) -> dict[str, list[str]]:
    return {name: [str(row[0]) for row in answer(path, question)] for name, question in MISSED.items()}


def lost(kept: Path, live: Path) -> dict[str, list[str] | bool]:
    before, now = answers(kept), answers(live)
    found: dict[str, list[str] | bool] = {name: sorted(set(now[name]) - set(before[name])) for name in MISSED}
    found["servers"] = sorted({user for (user, _), _ in servers(live).items() - servers(kept).items() if user != PROBE_USER})
    found["back"] = sorted(set(before["users"]) - set(now["users"]))
    # Whether the release before could not read LIVE: only then is anything lost.
    found["changed"] = revision(kept) != revision(live)
    return found


# The files that each takes.
VERBS = {"copy": ["from", "to"], "upgrade": ["file"], "follow": ["live", "kept", "ready"], "back": ["kept", "live"], "lost": ["kept", "live"]}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tljh.database")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, names in VERBS.items():
        command = verbs.add_parser(verb)
        for name in names:
            command.add_argument(name, type=Path)
    given = vars(parser.parse_args(arguments))
    verb, files = given.pop("verb"), list(given.values())
    os.umask(0o077)
    try:
        match verb:
            case "copy":
                copy(*files)
            case "upgrade":
                print(json.dumps({"changed": upgrade(*files)}))
            case "follow":
                print(json.dumps({"changed": follow(*files)}))
            case "back":
                back(*files)
            case "lost":
                print(json.dumps(lost(*files)))
    except (sqlite3.Error, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The interpreter's own end would take a third of a second, for which the hub would be away.
    os._exit(status)

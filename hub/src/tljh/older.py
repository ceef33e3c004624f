"""What is taken over of an older TLJH: its database, its passwords and its accounts. Each can be done again.

    python -m tljh.older database KEPT LIVE              LIVE becomes KEPT in this release's format, with no server running
    python -m tljh.older passwords STATE DBM [PYTHON…]   all digests of its file of passwords; another Python reads it where this one can't
    python -m tljh.older take STATE DBM LIVE KEPT READY [PYTHON…]
                                                         both, with KEPT a copy of LIVE as it was
    python -m tljh.older accounts                        the accounts of users say whose they are

take tries both on copies first, makes the file READY, and begins when it reads a line: meanwhile the older hub may run, so that there is none for a
moment only.

A password that is there already stays: it is the newer one.
"""

import argparse
import base64
import contextlib
import importlib
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tljh import accounts, database, older_look, settings
from tljh import passwords as ours
from tljh.paths import Paths

PATIENCE = 60


def take_database(kept: Path, live: Path) -> None:
    def change(made: Path) -> None:
        database.upgrade(made)
        stop_servers(made)

    database.remake(kept, live, change)


def stop_servers(path: Path) -> None:
    """The servers of the older hub were stopped with it: the new one must not look for them, nor trust what they had."""
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        servers = [row[0] for row in db.execute("SELECT server_id FROM spawners WHERE server_id IS NOT NULL")]
        db.execute("UPDATE spawners SET server_id = NULL, state = '{}', started = NULL")
        db.executemany("DELETE FROM servers WHERE id = ?", [(server,) for server in servers])
        db.execute("DELETE FROM api_tokens WHERE note LIKE 'Server at %'")


def take_passwords(here: Paths, digests: dict[str, bytes]) -> int:
    """How many there are now. The file is made as a whole: half of it would let the others choose new ones."""
    made = here.passwords.with_name(here.passwords.name + ".new")
    made.unlink(missing_ok=True)
    if here.passwords.exists():
        database.copy(here.passwords, made)
    store = ours.Passwords(made)
    for name, digest in digests.items():
        store.add(name, digest)
    count = len(store.names())
    database.put(made, here.passwords)
    return count


def read_passwords(state: Path, dbm: str, pythons: list[str]) -> dict[str, bytes]:
    """Digests go from one process to the other and nowhere else."""
    try:
        return older_look.passwords(str(state / dbm))
    except older_look.Unreadable:
        for python in pythons:
            argv = [python, "-I", older_look.__file__, "--digests", str(state), dbm]
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                looked = subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE)
                return {name: base64.b64decode(value) for name, value in json.loads(looked.stdout)["digests"].items()}
        raise


def take(here: Paths, given: argparse.Namespace) -> bool:
    """False when nobody said that it is time."""
    database.warm(given.live)
    read_passwords(given.state, given.dbm, given.pythons)
    load_what_the_hub_needs()
    given.ready.touch(mode=0o600)
    if not sys.stdin.readline():
        return False
    if given.live.exists():
        if not given.kept.exists():
            database.copy(given.live, given.kept)
        take_database(given.kept, given.live)
    take_passwords(here, read_passwords(given.state, given.dbm, given.pythons))
    return True


def load_what_the_hub_needs() -> None:
    """What is read from the disk now need not be read while there is no hub."""
    with contextlib.suppress(ImportError):
        for module in ("jupyterhub.app", "tljh.configure", "tljh.mended"):
            importlib.import_module(module)


def take_accounts(here: Paths) -> None:
    users = settings.load(here).config.users
    accounts.settle(users.account_prefix, users.home_root, users.home_mode)
    for name in sorted(ours.known_users(here)):
        with contextlib.suppress(accounts.AccountError):  # somebody else's: the hub says so when its user comes
            accounts.claim(name)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tljh.older")
    verbs = parser.add_subparsers(dest="verb", required=True)
    command = verbs.add_parser("database")
    command.add_argument("kept", type=Path)
    command.add_argument("live", type=Path)
    command = verbs.add_parser("passwords")
    command.add_argument("state", type=Path)
    command.add_argument("dbm")
    command.add_argument("pythons", nargs="*")
    command = verbs.add_parser("take")
    for name in ("state", "dbm", "live", "kept", "ready"):
        command.add_argument(name, type=str if name == "dbm" else Path)
    command.add_argument("pythons", nargs="*")
    verbs.add_parser("accounts")
    given = parser.parse_args(arguments)
    here = Paths.here()
    os.umask(0o077)
    try:
        match given.verb:
            case "database":
                take_database(given.kept, given.live)
            case "passwords":
                print(json.dumps({"passwords": take_passwords(here, read_passwords(given.state, given.dbm, given.pythons))}))
            case "take":
                take(here, given)
            case "accounts":
                take_accounts(here)
    except (sqlite3.Error, OSError, older_look.Unreadable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The interpreter's own end takes a moment, for which there would be no hub.
    os._exit(status)

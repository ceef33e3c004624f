"""Passwords of hub users, and the command line that root sets them with.

    python -m tljh.passwords set [--if-absent] NAME    the password is one line of standard input
    python -m tljh.passwords list                      names that have one
    python -m tljh.passwords forget NAME               the next log-in by that name chooses a new one

Exit codes: 0 done; 1 it could not be done; 2 wrong usage; 3 the name or the password is refused; 4 --if-absent found one.

A name may have a password, or none, or have been let go (forget): then it may be claimed although its account exists. A
running hub sees every change at once. Who may log in at all is not decided here.
"""

import argparse
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import bcrypt

from tljh import paths, settings

# bcrypt reads no more; what lies behind would not be checked.
MAX_BYTES = 72
DEFAULT_MIN_LENGTH = 7

# About 0.1 s on a small server: 40 students who log in at once wait for seconds, who guesses waits for years.
ROUNDS = 11

DONE, FAILED, USAGE, REFUSED, KEPT = range(5)


def problem(password: str, min_length: int = DEFAULT_MIN_LENGTH) -> str | None:
    """Why this can't be a password, in words for its user; None if it can."""
    try:
        data = password.encode("utf-8")
    except UnicodeEncodeError:
        return "This password holds characters that cannot be stored. Please choose another."
    if "\0" in password:
        return "A password cannot hold a NUL character. Please choose another."
    if len(data) > MAX_BYTES:
        return f"This password is too long: at most {MAX_BYTES} bytes can be used (some characters take more than one)."
    if len(password) < min_length:
        return f"This password is too short: it needs at least {min_length} characters."
    return None


def digest(password: str) -> bytes:
    return bcrypt.hashpw(password.encode("utf-8"), bcrypt.gensalt(ROUNDS))


def matches(password: str, stored: bytes) -> bool:
    """Whether a password is the stored one; never an exception. Takes as long for those that can't be right."""
    good = problem(password, 0) is None
    try:
        return bcrypt.checkpw(password.encode("utf-8") if good else b"-", stored) and good
    except ValueError:
        return False


class Passwords:
    """The table name → bcrypt digest in a file of root's. Each call opens it anew: hub and command line share it."""

    def __init__(self, path: Path):
        self.path = path

    def _run[T](self, use: Callable[[sqlite3.Connection], T]) -> T:
        if not self.path.exists():
            # SQLite would make it with the umask's mode, and its journal takes the mode of the file.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            # EXTRA also syncs the folder when the journal goes: a password that was set stays set.
            db.execute("PRAGMA synchronous = EXTRA")
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE IF NOT EXISTS passwords (name TEXT PRIMARY KEY, digest BLOB) STRICT, WITHOUT ROWID")
            result = use(db)
            db.execute("COMMIT")
        return result

    def get(self, name: str) -> bytes | None:
        """The digest; None if there is no password."""
        row = self._run(lambda db: db.execute("SELECT digest FROM passwords WHERE name = ?", (name,)).fetchone())
        return row[0] if row else None

    def let_go(self, name: str) -> bool:
        """Whether root has given this name's password up, so that it may be chosen anew."""
        row = self._run(lambda db: db.execute("SELECT digest FROM passwords WHERE name = ?", (name,)).fetchone())
        return row is not None and row[0] is None

    def set(self, name: str, value: bytes) -> None:
        self._run(lambda db: db.execute("INSERT OR REPLACE INTO passwords VALUES (?, ?)", (name, value)))

    def add(self, name: str, value: bytes) -> bool:
        """Set it unless there is one; tells whether it was set."""
        statement = "INSERT INTO passwords VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest WHERE passwords.digest IS NULL"
        return self._run(lambda db: db.execute(statement, (name, value)).rowcount) == 1

    def forget(self, name: str) -> None:
        self._run(lambda db: db.execute("INSERT OR REPLACE INTO passwords VALUES (?, NULL)", (name,)))

    def names(self) -> list[str]:
        query = "SELECT name FROM passwords WHERE digest IS NOT NULL ORDER BY name"
        return [row[0] for row in self._run(lambda db: db.execute(query).fetchall())]


def admins(here: paths.Paths) -> set[str]:
    """The admins of the config and those that the hub made admins."""
    return set(settings.load(here).config.users.admin) | {name for name, admin in _users(here) if admin}


def known_users(here: paths.Paths) -> set[str]:
    """The names that the hub's database knows."""
    return {name for name, _ in _users(here)}


def _users(here: paths.Paths) -> set[tuple[str, bool]]:
    """The hub's users, and whether each is an admin. Nothing is written to the database."""
    if not here.database.exists():
        return set()
    with closing(sqlite3.connect(f"file:{here.database}?mode=ro", uri=True, timeout=30)) as db:
        return {(name, bool(admin)) for name, admin in db.execute("SELECT name, admin FROM users")}


def min_length(here: paths.Paths) -> int:
    value = settings.load(here).config.auth.options.get("FirstUseAuthenticator", {}).get("min_password_length")
    return value if isinstance(value, int) else DEFAULT_MIN_LENGTH


def set_command(here: paths.Paths, name: str, if_absent: bool) -> int:
    line = sys.stdin.buffer.readline(4096).rstrip(b"\r\n")
    password = line.decode("utf-8", "surrogateescape")
    if why := problem(password, min_length(here)):
        return refuse(why)
    if name == paths.PROBE_USER:
        return refuse(f"{name} belongs to the installer and never logs in.")
    store = Passwords(here.passwords)
    if not if_absent:
        store.set(name, digest(password))
        return DONE
    return DONE if store.get(name) is None and store.add(name, digest(password)) else KEPT


def forget_command(here: paths.Paths, name: str) -> int:
    if name in admins(here):
        return refuse(f"{name} is an admin: the next who logs in by that name would become one. Set a password instead.")
    Passwords(here.passwords).forget(name)
    return DONE


def refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return REFUSED


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tljh.passwords", description="Passwords of hub users; for root.")
    commands = top.add_subparsers(dest="command", required=True)
    setter = commands.add_parser("set", help="set a password, read as one line from standard input")
    setter.add_argument("--if-absent", action="store_true", help="keep one that is there (exit code 4)")
    setter.add_argument("name")
    commands.add_parser("list", help="list the names that have a password")
    commands.add_parser("forget", help="let the next log-in by a name choose a new password").add_argument("name")
    return top


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    here = paths.Paths.here()
    try:
        if args.command == "list":
            print("\n".join(Passwords(here.passwords).names()))
            return DONE
        name = args.name.lower()
        if why := name_problem(name):
            return refuse(why)
        return set_command(here, name, args.if_absent) if args.command == "set" else forget_command(here, name)
    except (OSError, sqlite3.Error) as error:
        print(f"cannot use {here.passwords}: {error}", file=sys.stderr)
        return FAILED


def name_problem(name: str) -> str | None:
    """Why this can't be a hub user's name; None if it can. The hub's log-in form takes the same names."""
    if not name or name in (".", ".."):
        return "A name is missing."
    if len(name) > 200:
        return "This name is too long."
    if any(not (char.isprintable() and char not in "/,:\\ ") for char in name):
        return "A name cannot hold spaces, slashes, colons, commas or control characters."
    return None


if __name__ == "__main__":
    sys.exit(main())

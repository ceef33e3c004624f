"""Passwords of hub users, and the command line that root sets them with.

    python -m tljh.passwords set [--if-absent|--one-time] NAME    the password is one line of standard input
    python -m tljh.passwords list                                 names that have one
    python -m tljh.passwords without                              users of the hub, admins aside, who have none
    python -m tljh.passwords unused                               names that have a one-time password, not used yet
    python -m tljh.passwords known NAME                           whether the hub has, had or would take a user of that name
    python -m tljh.passwords forget NAME                          the next log-in by that name chooses a new one

Exit codes: 0 done; 1 it could not be done; 2 wrong usage; 3 the name or the password is refused; 4 --if-absent found one; 5 nobody knows the name.

With a one-time password, a user has to choose another at the next log-in. A name may have a password, or none, or have been let go (forget): then
it may be claimed although its account exists. A running hub sees every change at once. Who may log in at all is not decided here.
"""

import argparse
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import bcrypt

from tljh import copies, paths, settings

# bcrypt reads no more; what lies behind would not be checked.
MAX_BYTES = 72
DEFAULT_MIN_LENGTH = 7

# About 0.1 s on a small server: 40 students who log in at once wait for seconds, who guesses waits for years.
ROUNDS = 11

DONE, FAILED, USAGE, REFUSED, KEPT, UNKNOWN = range(6)


def problem(password: str, min_length: int = DEFAULT_MIN_LENGTH) -> str | None:
    """Why this can't be a password, in words for its user; None if it can."""
    try:
        data = password.encode("utf-8")
    except UnicodeEncodeError:
        return "This password contains characters that cannot be stored. Please choose another."
    if "\0" in password:
        return "A password cannot contain a NUL character. Please choose another."
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
        if not self.path.exists() or not self.path.stat().st_size:
            self._mend()
        try:
            return self._use(use)
        except sqlite3.OperationalError:
            raise  # held, or no room: no damage
        except sqlite3.DatabaseError:
            self._mend()
            return self._use(use)

    def _mend(self) -> None:
        """Put a copy in the place of a file that is damaged or gone while the hub runs, before a new one would take its place."""
        copies.mend(self.path.parent, self.path, copies.PASSWORDS)

    def _use[T](self, use: Callable[[sqlite3.Connection], T]) -> T:
        if not self.path.exists():
            # SQLite would make it with the umask's mode, and its journal takes the mode of the file.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            # EXTRA also syncs the folder when the journal goes: a password that was set stays set.
            db.execute("PRAGMA synchronous = EXTRA")
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE IF NOT EXISTS passwords (name TEXT PRIMARY KEY, digest BLOB) STRICT, WITHOUT ROWID")
            # A table of its own, which a release before does not know and leaves alone.
            db.execute("CREATE TABLE IF NOT EXISTS one_time (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
            db.execute("CREATE TABLE IF NOT EXISTS to_log_out (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
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

    def set(self, name: str, value: bytes | None, one_time: bool = False, log_out: bool = False) -> None:
        """Set a password; None lets the name go. With log_out, the hub ends the name's sessions."""

        def put(db):
            db.execute("INSERT OR REPLACE INTO passwords VALUES (?, ?)", (name, value))
            db.execute("INSERT OR REPLACE INTO one_time VALUES (?)" if one_time else "DELETE FROM one_time WHERE name = ?", (name,))
            if log_out:
                db.execute("INSERT OR REPLACE INTO to_log_out VALUES (?)", (name,))

        self._run(put)

    def to_log_out(self) -> list[str]:
        return [name for (name,) in self._run(lambda db: db.execute("SELECT name FROM to_log_out ORDER BY name").fetchall())]

    def logged_out(self, name: str) -> None:
        self._run(lambda db: db.execute("DELETE FROM to_log_out WHERE name = ?", (name,)))

    def is_one_time(self, name: str) -> bool:
        return bool(self._run(lambda db: db.execute("SELECT 1 FROM one_time WHERE name = ?", (name,)).fetchone()))

    def unused(self) -> list[str]:
        """Names whose one-time password was not used yet."""
        return [name for (name,) in self._run(lambda db: db.execute("SELECT name FROM one_time ORDER BY name").fetchall())]

    def choose(self, name: str, before: bytes, value: bytes) -> bool:
        """Set what a user chose in place of a one-time password; tells whether that was still the password."""

        def put(db):
            done = db.execute("UPDATE passwords SET digest = ? WHERE name = ? AND digest = ?", (value, name, before)).rowcount == 1
            if done:
                db.execute("DELETE FROM one_time WHERE name = ?", (name,))
            return done

        return self._run(put)

    def add(self, name: str, value: bytes) -> bool:
        """Set it unless there is one; tells whether it was set."""
        statement = "INSERT INTO passwords VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest WHERE passwords.digest IS NULL"
        return self._run(lambda db: db.execute(statement, (name, value)).rowcount) == 1

    def forget(self, name: str) -> None:
        self.set(name, None)

    def known(self) -> dict[str, bool]:
        """All names, in order, and whether each has a password: those that have none were let go."""
        return {name: bool(has) for name, has in self._run(lambda db: db.execute("SELECT name, digest IS NOT NULL FROM passwords ORDER BY name").fetchall())}

    def names(self) -> list[str]:
        return [name for name, has in self.known().items() if has]


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


def without(here: paths.Paths) -> list[str]:
    """The users of the hub, and of the config, who have no password."""
    config = settings.load(here).config
    users = (known_users(here) | set(config.users.allowed)) - admins(here) - set(config.users.banned) - {paths.PROBE_USER}
    return sorted(users - set(Passwords(here.passwords).names()))


def set_command(here: paths.Paths, name: str, if_absent: bool, short: bool = False, one_time: bool = False) -> int:
    line = sys.stdin.buffer.readline(4096).rstrip(b"\r\n")
    password = line.decode("utf-8", "surrogateescape")
    if why := problem(password, 1 if short else min_length(here)):
        return refuse(why)
    if name == paths.PROBE_USER:
        return refuse(f"{name} belongs to the installer and never logs in.")
    store = Passwords(here.passwords)
    if not if_absent:
        store.set(name, digest(password), one_time, log_out=True)
        return DONE
    return DONE if store.get(name) is None and store.add(name, digest(password)) else KEPT


def forget_command(here: paths.Paths, name: str) -> int:
    if name in admins(here):
        return refuse(f"{name} is an admin: the next who logs in by that name would become one. Set a password instead.")
    Passwords(here.passwords).set(name, None, log_out=True)
    return DONE


def known_command(here: paths.Paths, name: str) -> int:
    """A password for a name that nobody may log in by would only look like one."""
    config = settings.load(here).config
    options = config.auth.options
    if any(options.get(section, {}).get(key) is True for section in options for key in ("allow_all", "create_users")):
        return DONE
    if name in config.users.allowed or name in admins(here) or name in known_users(here):
        return DONE
    store = Passwords(here.passwords)
    return DONE if store.let_go(name) or store.get(name) is not None else UNKNOWN


def refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return REFUSED


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tljh.passwords", description="Passwords of hub users; for root.")
    commands = top.add_subparsers(dest="command", required=True)
    setter = commands.add_parser("set", help="set a password, read as one line from standard input")
    setter.add_argument("--if-absent", action="store_true", help="keep one that is there (exit code 4)")
    setter.add_argument("--one-time", action="store_true", help="let the user choose another at the next log-in")
    setter.add_argument("--short", action="store_true", help="take a password that is shorter than users may choose")
    setter.add_argument("name")
    commands.add_parser("list", help="list the names that have a password")
    commands.add_parser("without", help="list the users who have none")
    commands.add_parser("unused", help="list the names whose one-time password was not used yet")
    commands.add_parser("known", help="report by the exit code whether a name is that of a user").add_argument("name")
    commands.add_parser("forget", help="let the next log-in by a name choose a new password").add_argument("name")
    return top


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    here = paths.Paths.here()
    try:
        if args.command == "list":
            print("\n".join(Passwords(here.passwords).names()))
            return DONE
        if args.command == "without":
            print("\n".join(without(here)))
            return DONE
        if args.command == "unused":
            print("\n".join(Passwords(here.passwords).unused()))
            return DONE
        name = args.name.lower()
        if why := name_problem(name):
            return refuse(why)
        if args.command == "known":
            return known_command(here, name)
        return set_command(here, name, args.if_absent, args.short, args.one_time) if args.command == "set" else forget_command(here, name)
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
        return "A name cannot contain spaces, slashes, colons, commas or control characters."
    return None


if __name__ == "__main__":
    sys.exit(main())

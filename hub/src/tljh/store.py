"""The database of passwords and of who owns which account: state/passwords.sqlite, for root only.

The hub and the command line both use it at once; every change is on disk when the call returns.
"""

import contextlib
import os
import sqlite3

from . import paths

_SCHEMA = """
CREATE TABLE IF NOT EXISTS passwords (name TEXT PRIMARY KEY, hash BLOB NOT NULL, set_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS claimable (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS accounts (account TEXT PRIMARY KEY, owner TEXT NOT NULL);
"""


class Store:
    def __init__(self, path=None):
        self.path = path or paths.PASSWORDS

    @contextlib.contextmanager
    def _open(self):
        if not self.path.exists():
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        db = sqlite3.connect(self.path, timeout=20)
        try:
            db.execute("PRAGMA synchronous = EXTRA")
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'accounts'").fetchone():
                db.executescript(_SCHEMA)
            with db:
                yield db
        finally:
            db.close()

    def hash_of(self, name):
        with self._open() as db:
            row = db.execute("SELECT hash FROM passwords WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def names(self):
        with self._open() as db:
            return [row[0] for row in db.execute("SELECT name FROM passwords ORDER BY name")]

    def set_hash(self, name, digest):
        with self._open() as db:
            db.execute(
                "INSERT INTO passwords (name, hash) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, set_at = CURRENT_TIMESTAMP",
                (name, digest),
            )
            db.execute("DELETE FROM claimable WHERE name = ?", (name,))

    def add_hash(self, name, digest):
        """Store the hash unless there is one; tells whether it was stored."""
        with self._open() as db:
            added = db.execute("INSERT OR IGNORE INTO passwords (name, hash) VALUES (?, ?)", (name, digest)).rowcount
            db.execute("DELETE FROM claimable WHERE name = ?", (name,))
        return added == 1

    def forget(self, name):
        """Let the next who logs in by that name choose a password, whatever account there is."""
        with self._open() as db:
            db.execute("DELETE FROM passwords WHERE name = ?", (name,))
            db.execute("INSERT OR IGNORE INTO claimable VALUES (?)", (name,))

    def is_claimable(self, name):
        with self._open() as db:
            return db.execute("SELECT 1 FROM claimable WHERE name = ?", (name,)).fetchone() is not None

    def owner(self, account):
        with self._open() as db:
            row = db.execute("SELECT owner FROM accounts WHERE account = ?", (account,)).fetchone()
        return row[0] if row else None

    def set_owner(self, account, owner):
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (account, owner))

    def drop_owner(self, account):
        with self._open() as db:
            db.execute("DELETE FROM accounts WHERE account = ?", (account,))

"""What an older TLJH keeps in its folder of state. Nothing is changed.

    python older_look.py [--digests] STATE [DBM]

prints, as JSON: users, admins, servers (whose servers the hub believes to run), groups, the database's revision, and the names that have a
password; with --digests, each name's digest in base64.

This file is run by whatever Python is there, the older hub's own among them: it needs 3.6 and nothing but the standard library.
"""

import base64
import json
import os
import sqlite3
import struct
import sys
from contextlib import closing

# The first bytes of a file of GNU dbm: 32 or 64 bits, in the machine's order, and with a counter of syncs (since 1.21).
GDBM_MAGIC = {0x13579ACD: 4, 0x13579ACE: 4, 0x13579ACF: 8, 0x13579AD0: 4, 0x13579AD1: 8}
HEADER = 64


class Unreadable(Exception):
    """Why a file of passwords cannot be read."""


def passwords(base):
    """name → digest, of a file that Python's dbm made under this name, whichever kind of it."""
    if is_file(base):
        return read_single(base)
    if is_file(base + ".pag"):
        with open(base + ".pag", "rb") as file:
            if struct.unpack("=I", file.read(4).ljust(4, b"\0"))[0] in GDBM_MAGIC:
                return read_gdbm(base + ".pag")
        return read_module("ndbm", base)
    if is_file(base + ".dat") and is_file(base + ".dir"):
        return read_module("dumb", base)
    if is_file(base + ".db"):
        return read_module("ndbm", base)
    return {}


def is_file(path):
    return os.path.isfile(path)


def read_single(path):
    with open(path, "rb") as file:
        begin = file.read(16)
    if begin.startswith(b"SQLite format 3\0"):
        with closing(sqlite3.connect(uri(path), uri=True, timeout=30)) as db:
            return {text(key): bytes(value) for key, value in db.execute("SELECT key, value FROM Dict")}
    if len(begin) >= 4 and struct.unpack("=I", begin[:4])[0] in GDBM_MAGIC:
        return read_gdbm(path)
    if not begin:
        return {}
    raise Unreadable(path + " is of a kind that is not known here")


def uri(path):
    from pathlib import Path

    return Path(os.path.abspath(path)).as_uri() + "?mode=ro"


def read_module(name, base):
    try:
        module = __import__("dbm." + name, fromlist=["open"])
        with closing(module.open(base, "r")) as db:
            names = db.keys()  # what dbm.ndbm returns can't be walked through itself
            return {text(key): bytes(db[key]) for key in names}
    except ImportError:
        raise Unreadable(base + " needs Python's dbm." + name + ", which this Python has not") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise Unreadable(f"{base} cannot be read: {error}") from None


def read_gdbm(path):
    """All that is in a file of GNU dbm: a folder of buckets, each a table of where keys and values lie."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return dict(gdbm_items(data))
    except (struct.error, IndexError, ValueError) as error:
        raise Unreadable(f"{path} is damaged: {error}") from None


def gdbm_items(data):
    (magic,) = struct.unpack_from("=I", data)
    wide = GDBM_MAGIC[magic]
    offset = "q" if wide == 8 else "i"
    # Block size, the folder's place and size, its bits, a bucket's size and how many entries it holds.
    _, place, size, _, _, entries = struct.unpack_from("=i" + offset + "iiii", data, 4)
    # A bucket begins with a short list of free space; its entries follow, each with a hash, the key's first bytes, and where key and value are.
    free = 8 + 6 * (16 if wide == 8 else 8)
    entry = "=i4s" + offset + "ii"
    for bucket in sorted(set(struct.unpack_from(f"={size // wide}{offset}", data, place))):
        for n in range(entries):
            found, _, at, key, value = struct.unpack_from(entry, data, bucket + free + 8 + n * struct.calcsize(entry))
            if found == -1:
                continue
            if at < 0 or key < 0 or value < 0 or at + key + value > len(data):
                raise ValueError("an entry leads out of it")
            yield text(data[at : at + key]), data[at + key : at + key + value]


def text(name):
    return (name if isinstance(name, bytes) else str(name).encode()).decode("utf-8", "surrogateescape")


QUESTIONS = {
    "users": "SELECT name FROM users",
    "admins": "SELECT name FROM users WHERE admin",
    "servers": "SELECT users.name FROM spawners, users WHERE users.id = spawners.user_id AND server_id IS NOT NULL",
    "groups": "SELECT name FROM groups",
}


def database(path):
    found = {name: [] for name in QUESTIONS}
    found["revision"] = ""
    if not is_file(path):
        return found
    with closing(sqlite3.connect(uri(path), uri=True, timeout=30)) as db:
        for name, question in QUESTIONS.items():
            try:
                found[name] = sorted(str(row[0]) for row in db.execute(question))
            except sqlite3.OperationalError as error:
                if "no such" not in str(error):
                    raise
        try:
            row = db.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            row = None
        found["revision"] = row[0] if row else ""
    return found


def main(arguments):
    digests = "--digests" in arguments
    names = [argument for argument in arguments if argument != "--digests"]
    state = names[0]
    dbm = os.path.join(state, names[1] if len(names) > 1 else "passwords.dbm")
    try:
        found = database(os.path.join(state, "jupyterhub.sqlite"))
        stored = passwords(dbm)
    except (Unreadable, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    found["passwords"] = sorted(stored)
    if digests:
        found["digests"] = {name: base64.b64encode(value).decode() for name, value in stored.items()}
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Passwords: what may be one, how it is kept, and the command line that root sets them with.

    python -m tljh.passwords set [--if-absent] NAME     the password is one line of standard input
    python -m tljh.passwords list
    python -m tljh.passwords forget NAME

Exit codes: 0 done, 1 failed, 2 usage, 3 not a possible password, 4 there is one already (--if-absent).
"""

import argparse
import os
import sys

import bcrypt

from .store import Store

# bcrypt looks at no more than this; silently cutting a password would be worse than refusing it.
LONGEST = 72


def trouble(password, shortest=7):
    """Why this can't be a password, in words; None when it can."""
    try:
        data = password.encode()
    except UnicodeEncodeError:
        return "The password holds characters that cannot be used."
    if "\0" in password:
        return "The password holds characters that cannot be used."
    if len(password) < shortest:
        return f"The password is too short: use at least {shortest} characters."
    if len(data) > LONGEST:
        return f"The password is too long: use at most {LONGEST} letters (fewer where letters have accents)."
    return None


def digest(password):
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt())


def matches(password, stored):
    try:
        return bcrypt.checkpw(password.encode(), stored)
    except ValueError:
        return False


def _set(args, store):
    password = sys.stdin.readline().rstrip("\r\n")
    if (why := trouble(password)) is not None:
        print(why, file=sys.stderr)
        return 3
    if not args.if_absent:
        store.set_hash(args.name, digest(password))
        return 0
    if store.hash_of(args.name) is not None:
        return 4
    return 0 if store.add_hash(args.name, digest(password)) else 4


def _list(args, store):
    for name in store.names():
        print(name)
    return 0


def _forget(args, store):
    store.forget(args.name)
    return 0


def main(argv=None):
    parser = argparse.ArgumentParser(prog="tljh.passwords", description="Passwords of the hub's users (root only).")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("set", help="set a password, read from standard input")
    verb.add_argument("--if-absent", action="store_true", help="leave one that is there")
    verb.add_argument("name")
    verb.set_defaults(run=_set)
    verbs.add_parser("list", help="names that have a password").set_defaults(run=_list)
    verb = verbs.add_parser("forget", help="let a name be claimed by its next log-in")
    verb.add_argument("name")
    verb.set_defaults(run=_forget)
    args = parser.parse_args(argv)
    os.umask(0o077)
    return args.run(args, Store())


if __name__ == "__main__":
    sys.exit(main())

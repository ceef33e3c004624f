"""The Linux accounts that hub users work in. Everything here runs as root."""

import grp
import os
import pwd
import stat
import subprocess

from . import paths
from .names import PREFIX, system_name


class AccountProblem(Exception):
    """Why a user has no account to work in, in words for that user."""


def run(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise AccountProblem(f"{argv[0]} failed: {words}")


def find(account):
    try:
        return pwd.getpwnam(account)
    except KeyError:
        return None


def ensure(name, store):
    """Return the account of a hub user, made when there is none yet."""
    account = system_name(name)
    entry, owner = find(account), store.owner(account)
    if owner not in (None, name):
        raise AccountProblem(f"The account {account} belongs to the hub user {owner}. Ask an admin for another user name.")
    if entry is not None and owner is None:
        adopt(name, account, entry, store)
    if entry is None:
        # On record first: whatever interrupts us, nobody else is given what useradd may have made.
        store.set_owner(account, name)
        make(account)
        entry = find(account)
    return entry


def adopt(name, account, entry, store):
    """Take on an account that was there before our records: of an older TLJH, or of an installation before this one."""
    if account != PREFIX + name or entry.pw_uid < 1000:
        raise AccountProblem(f"There is an account {account} on the server that the hub did not make. Ask an admin to rename it.")
    store.set_owner(account, name)


def make(account):
    argv = ["useradd", "--create-home", "--shell", "/bin/bash", "--key", "HOME_MODE=0700", "--key", "UMASK=077"]
    try:
        grp.getgrnam(account)
        argv += ["--gid", account]
    except KeyError:
        argv += ["--user-group"]
    run(*argv, account)
    close_home(find(account))


def close_home(entry):
    """Let nobody else into a home. Its parent folder is root's, so it can't be swapped for a link; a link is refused all the same."""
    try:
        fd = os.open(entry.pw_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise AccountProblem(f"Your home folder {entry.pw_dir} cannot be opened: {error.strerror}. Tell an admin.") from error
    try:
        status = os.fstat(fd)
        if status.st_uid != entry.pw_uid:
            raise AccountProblem(f"Your home folder {entry.pw_dir} belongs to another account. Tell an admin.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def ensure_group(group):
    try:
        return grp.getgrnam(group)
    except KeyError:
        run("groupadd", group)
        return grp.getgrnam(group)


def set_member(account, group, member):
    """Put an account into a group, or out of it."""
    is_member = account in ensure_group(group).gr_mem
    if member and not is_member:
        run("gpasswd", "--add", account, group)
    if is_member and not member:
        run("gpasswd", "--delete", account, group)


def set_groups(account, name, admin, extra):
    """Bring an account's groups to what the hub and the config say. Groups named in the config only ever gain members here, as in the older TLJH."""
    set_member(account, paths.USERS_GROUP, True)
    set_member(account, paths.ADMINS_GROUP, admin)
    for group, members in extra.items():
        if name in members:
            set_member(account, group, True)

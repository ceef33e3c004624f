"""Folders that users share: /srv/tljh/NAME, found as ~/shared/NAME. The installer makes and opens them; here it is decided who belongs to the groups of
single users, and the links in homes are made.
"""

import json
import subprocess
import sys
from pathlib import Path

from tljh.accounts import Account
from tljh.settings import SharedFolder

FOLDERS = Path("/srv/tljh")
_GROUP = "group:"


def may(entries: list[str], user: str, admin: bool, groups: list[str]) -> bool:
    """Whether entries of a folder name a user."""
    return "all" in entries or user in entries or ("admins" in entries and admin) or any(f"{_GROUP}{group}" in entries for group in groups)


def visible(folders: dict[str, SharedFolder], user: str, admin: bool, groups: list[str]) -> list[str]:
    """The folders that a user may read."""
    return [name for name, folder in folders.items() if may(folder.read + folder.write, user, admin, groups)]


def memberships(folders: dict[str, SharedFolder], user: str) -> dict[str, bool]:
    """The groups of single users, and whether this one belongs to each. A group that nobody is named for is not there."""
    found = {}
    for name, folder in folders.items():
        for group, entries in ((f"tljh-{name}-r", folder.read), (f"tljh-{name}-w", folder.write)):
            if any(_single(entry) for entry in entries):
                found[group] = user in entries
    return found


def _single(entry: str) -> bool:
    return entry not in ("all", "admins") and not entry.startswith(_GROUP)


def link(account: Account, names: list[str]) -> list[str]:
    """Make the links in a home, as its user: root follows nothing there. Returns what could not be done."""
    if not names and not Path(account.home, "shared").is_symlink() and not Path(account.home, "shared").exists():
        return []
    wanted = json.dumps({name: str(FOLDERS / name) for name in names})
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("links.py")), wanted],
        check=False,
        cwd="/",
        env={"HOME": account.home, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        umask=0o077,
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if line]

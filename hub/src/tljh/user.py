"""`from tljh.user import ensure_group`, with which plugins of the older TLJH arrange accounts: as root, by the system's programs."""

import grp
import pwd
import subprocess


def ensure_user(username: str) -> None:
    """Make a Linux account with a home of mode 0700 if there is none."""
    try:
        pwd.getpwnam(username)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--key", "HOME_MODE=0700", "--shell", "/bin/bash", "--", username], check=True)


def remove_user(username: str) -> None:
    """Remove a Linux account. Its home stays."""
    subprocess.run(["userdel", "--", username], check=True)


def remove_group(groupname: str) -> None:
    """Remove a group."""
    subprocess.run(["groupdel", "--", groupname], check=True)


def ensure_group(groupname: str) -> None:
    """Make a group if there is none."""
    try:
        grp.getgrnam(groupname)
    except KeyError:
        subprocess.run(["groupadd", "--", groupname], check=True)


def ensure_user_group(username: str, groupname: str) -> None:
    """Make an account a member of a group."""
    if username not in grp.getgrnam(groupname).gr_mem:
        subprocess.run(["gpasswd", "--add", username, groupname], check=True, stdout=subprocess.DEVNULL)


def remove_user_group(username: str, groupname: str) -> None:
    """Make an account no member of a group."""
    if username in grp.getgrnam(groupname).gr_mem:
        subprocess.run(["gpasswd", "--delete", username, groupname], check=True, stdout=subprocess.DEVNULL)

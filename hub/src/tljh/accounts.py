"""The Linux accounts that users work in. All of it runs as root, in threads, one account at a time.

Who owns an account is written in its comment field (GECOS), which only root can change: it stays true when the hub's state is
lost, and an admin can hand an account on with usermod.
"""

import contextlib
import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from tljh import files, names
from tljh.paths import Paths

USERS_GROUP = "jupyterhub-users"
ADMINS_GROUP = "jupyterhub-admins"
HOMES = Path("/home")
HOME_MODE = 0o700
SKEL = Path("/etc/skel")
PREFIX = names.PREFIX

_MARK = "JupyterHub user "
_FIRST_UID = 1000  # below are the system's own accounts
_LAST_UID = 60000  # up to nobody are those that systemd makes for services
_NOBODY = 65534
_ROOT = 0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The programs lock their files against each other and fail instead of waiting.
_one_at_a_time = threading.Lock()
_LOCKED = "cannot lock"
_LOCK_PATIENCE = 30


def settle(prefix: str, homes: str, mode: str) -> None:
    """What the config says of accounts, for all that follows. Without a prefix, accounts that the site has are used as they are."""
    global PREFIX, HOMES, HOME_MODE
    PREFIX, HOMES, HOME_MODE = prefix, Path(homes), int(mode, 8)


def system_name(hub_name: str) -> str:
    """The Linux account of a hub user. Without a prefix, an account that the site has under that very name is meant, as dana@example.org of a directory."""
    spelled = names.system_name(hub_name, PREFIX)
    if not PREFIX and spelled != hub_name and (entry := _find(hub_name)) is not None and entry.pw_name == hub_name:
        return hub_name
    return spelled


class AccountError(Exception):
    """Why there is no account to work in, in words for its user."""


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int
    home: str
    made: bool = field(default=False, compare=False)  # just now


def mark(hub_name: str) -> str:
    """What the comment field of a hub user's account says. It may hold neither colons nor commas nor line breaks."""
    return _MARK + quote(hub_name, safe="@._-+", errors="surrogatepass")


def exists(hub_name: str) -> bool:
    """Whether this name has an account or a home, be it of somebody who has been here before."""
    name = system_name(hub_name)
    return _find(name) is not None or os.path.lexists(HOMES / name)


def ensure(hub_name: str, admin: bool, extra_groups: dict[str, list[str]], managed: dict[str, bool] | None = None) -> Account:
    """The account of a hub user, made if there is none, in the groups it belongs to. AccountError tells what is in the way."""
    name = system_name(hub_name)
    with _one_at_a_time:
        entry = _find(name)
        made = entry is None
        if entry is None:
            _check_mounted(HOMES / name)
            _create(name, hub_name)
            entry = _find(name)
            if entry is None:
                raise AccountError(f"The account {name} was made, but the system does not find it. {_ASK}")
        else:
            _check_owner(entry, hub_name)
        _ensure_home(entry)
        _ensure_groups(name, hub_name, admin, extra_groups)
        _ensure_managed(name, managed or {})
    return Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir, made)


_ASK = "Please tell an admin of this hub."


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError, ValueError:  # no account has a name with odd bytes
        return None


def _check_owner(entry: pwd.struct_passwd, hub_name: str) -> None:
    owner = entry.pw_gecos.split(",")[0]
    system = AccountError(f"The account {entry.pw_name} is one of the system's own, and nobody works in it. {_ASK}")
    if owner == mark(hub_name):
        if entry.pw_uid == 0 < _FIRST_UID:  # a second name for root, whatever its comment says
            raise system
        return
    if not PREFIX and entry.pw_name == hub_name and not owner.startswith(_MARK):
        if _FIRST_UID <= entry.pw_uid < _LAST_UID or entry.pw_uid > _NOBODY:
            return
        raise system
    if owner.startswith(_MARK):
        other = unquote(owner.removeprefix(_MARK), errors="replace")
        raise AccountError(f"The account {entry.pw_name} belongs to the hub user {other!r}, whose name is too much like yours. {_ASK}")
    # The older TLJH wrote no comment, but put its accounts into this group.
    if owner == "" and entry.pw_uid >= _FIRST_UID and _is_member(entry.pw_name, USERS_GROUP):
        _run("usermod", "--comment", mark(hub_name), entry.pw_name)
        return
    raise AccountError(
        f"There is an account {entry.pw_name} on this machine that the hub did not make. {_ASK} "
        f"If it is yours, root can hand it over: usermod --comment '{mark(hub_name)}' {entry.pw_name}"
    )


def claim(hub_name: str) -> None:
    """Let an account that the older TLJH made say whose it is. AccountError tells that it is somebody else's."""
    with _one_at_a_time:
        entry = _find(system_name(hub_name))
        if entry is not None:
            _check_owner(entry, hub_name)


def _create(name: str, hub_name: str) -> None:
    argv = ["useradd", "--shell", "/bin/bash", "--comment", mark(hub_name), "--home-dir", str(HOMES / name)]
    argv += ["--key", "UMASK=077", "--key", f"HOME_MODE={HOME_MODE:04o}"]
    argv += ["--gid", name] if _group_exists(name) else ["--user-group"]
    argv += _ownership_of_old_home(name)
    _run(*argv, name)


def _ownership_of_old_home(name: str) -> list[str]:
    """A home that outlived its account is taken up again if nobody else owns it, and one that root prepared becomes its user's."""
    home = HOMES / name
    try:
        status = _look_at(home)
    except FileNotFoundError:
        return ["--create-home"]
    if _is_prepared(home, status):
        return ["--no-create-home"]
    if not stat.S_ISDIR(status.st_mode) or status.st_uid < _FIRST_UID or _uid_taken(status.st_uid):
        raise AccountError(f"There is already a {home} on this machine that belongs to somebody else. {_ASK} Root can move it away: mv {home} {home}.old")
    return ["--no-create-home", "--uid", str(status.st_uid)]


def _uid_taken(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _ensure_home(entry: pwd.struct_passwd) -> None:
    """The home is there, a folder, its owner's."""
    home = Path(entry.pw_dir)
    try:
        status = _look_at(home)
    except FileNotFoundError:
        _make_home(home, entry)
        return
    if _is_prepared(home, status):
        _make_home(home, entry, prepared=True)
    elif not stat.S_ISDIR(status.st_mode):
        raise AccountError(f"Your home folder {home} is not a folder of yours. {_ASK} Root can move it away: mv {home} {home}.old")
    elif status.st_uid != entry.pw_uid:
        raise AccountError(f"Your home folder {home} is not a folder of yours. {_ASK} {_way_to_a_home(home, entry)}")


def _way_to_a_home(home: Path, entry: pwd.struct_passwd) -> str:
    """What root can do about a home that is another's, or that the hub cannot make."""
    another = f"usermod --home {HOMES / entry.pw_name} {entry.pw_name}"
    if not home.exists():
        make = f"install -d -m {HOME_MODE:04o} -o {entry.pw_name} -g {entry.pw_gid} {home}"
        return f"Root can make it ({make}), or give the account another ({another})."
    if _below_homes(home):
        return f"Root can hand it over: chown -R --no-dereference {entry.pw_name}: {os.path.realpath(home)}"
    return f"Root can give the account another: {another}"


def _below_homes(home: Path) -> bool:
    return home != HOMES and home.is_relative_to(HOMES)


# What a new file system holds at its top.
_OF_FILE_SYSTEMS = frozenset({"lost+found"})


def _is_prepared(home: Path, status: os.stat_result) -> bool:
    """Report whether root put an empty folder into a home's place, as the top of a file system of its own."""
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != _ROOT or not _below_homes(home):
        return False
    real = Path(os.path.realpath(home))
    return _is_roots(real.parent) and set(os.listdir(real)) <= _OF_FILE_SYSTEMS


def _look_at(home: Path) -> os.stat_result:
    """What is known of a home. A link is followed if root made it, in a folder that root alone writes to, for a home on another disk."""
    status = os.lstat(home)
    if not stat.S_ISLNK(status.st_mode) or status.st_uid != _ROOT or not _is_roots(home.parent):
        return status
    try:
        return os.stat(home)
    except OSError as error:
        raise AccountError(f"Your home folder {home} leads to {os.readlink(home)}, which cannot be reached: {error.strerror}. {_ASK}") from error


def _is_roots(folder: Path) -> bool:
    """Report whether root alone writes to a folder and to those above it."""
    real = Path(os.path.realpath(folder))
    return all(status.st_uid == _ROOT and not status.st_mode & 0o022 for status in map(os.stat, [folder, *folder.parents, real, *real.parents]))


def _make_home(home: Path, entry: pwd.struct_passwd, prepared: bool = False) -> None:
    """Make a home as useradd does, with what root put into /etc/skel. It is root's until all is in it, so that nobody else changes it meanwhile."""
    way = _way_to_a_home(home, entry)
    _check_mounted(home)
    try:
        if prepared:
            home = Path(os.path.realpath(home))
        elif home.is_relative_to(HOMES):  # a directory's accounts have folders of their own there, as /home/example.org/dana
            for above in reversed([folder for folder in home.parents if not folder.exists()]):
                above.mkdir()
                above.chmod(0o755)  # whatever the umask is
        if not prepared:
            home.mkdir(mode=0o700)
        _fill_home(home, entry)
    except (OSError, shutil.Error) as error:
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror  # of many files, the first
        raise AccountError(f"Your home folder {home} cannot be made: {why}. {_ASK} {way}") from error


def _fill_home(home: Path, entry: pwd.struct_passwd) -> None:
    """Put into a new home what root put into /etc/skel, and give it away. By what was opened: its place may be given to a link meanwhile."""
    opened = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(opened).st_uid != os.geteuid() or not set(os.listdir(opened)) <= _OF_FILE_SYSTEMS:
            raise AccountError(f"Something else was put into the place of your home folder {home}. {_ASK}")
        if SKEL.is_dir():
            shutil.copytree(SKEL, f"/proc/self/fd/{opened}", symlinks=True, dirs_exist_ok=True)
            os.fchmod(opened, 0o700)
        for _, folders, found, above in os.fwalk(".", dir_fd=opened):
            folders[:] = [name for name in folders if name not in _OF_FILE_SYSTEMS]
            for name in [*folders, *found]:
                os.chown(name, entry.pw_uid, entry.pw_gid, dir_fd=above, follow_symlinks=False)
        os.fchmod(opened, HOME_MODE)
        os.fchown(opened, entry.pw_uid, entry.pw_gid)
    finally:
        os.close(opened)


# Folders below a home that are looked into. Each level takes a descriptor, of which a user could use up the hub's.
_DEEPEST = 100


def hand_over(account: Account, since: float) -> int:
    """Give a user what root has left in the home since a time (in seconds); returns how many files and folders that were.

    Users can write there meanwhile. So each is opened without following links, looked at, and given away by what was opened. What has another name elsewhere
    stays root's: the user could have linked to it.
    """
    given = 0
    with contextlib.suppress(OSError):  # a folder that its owner moves meanwhile
        top = os.path.realpath(account.home)
        for path, folders, found, above in os.fwalk(top, follow_symlinks=False):
            for name in [*folders, *found]:
                with contextlib.suppress(OSError):
                    given += _give(name, above, account, since - 0.1)  # the kernel's clock for files is a little behind
            if path.count(os.sep) - top.count(os.sep) >= _DEEPEST:
                folders.clear()
    return given


def _give(name: str, above: int, account: Account, since: float) -> bool:
    opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        status = os.fstat(opened)
        plain = stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
        if not plain or status.st_uid != _ROOT or status.st_ctime < since:
            return False
        os.chown(f"/proc/self/fd/{opened}", account.uid, account.gid)  # the file itself, whatever has its name by now
        return True
    finally:
        os.close(opened)


def _check_mounted(home: Path, table: Path = Path("/etc/fstab")) -> None:
    """Nothing is made below a folder that a file system belongs on and that is not mounted: it would vanish once that is."""
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    places = [line.split()[1].replace("\\040", " ") for line in lines if not line.lstrip().startswith("#") and len(line.split()) > 1]
    for place in map(Path, places):
        inside = place.is_absolute() and any(path.is_relative_to(place) for path in (home, Path(os.path.realpath(home))))
        if inside and not os.path.ismount(place):
            raise AccountError(f"The disk of the home folders is not mounted at {place}. {_ASK} Root can mount it: mount {place}")


def _ensure_groups(name: str, hub_name: str, admin: bool, extra_groups: dict[str, list[str]]) -> None:
    _join(name, USERS_GROUP, system=True)
    if admin:
        _join(name, ADMINS_GROUP, system=True)
    elif _is_member(name, ADMINS_GROUP):
        _run("gpasswd", "--delete", name, ADMINS_GROUP)
    for group, members in extra_groups.items():
        if hub_name in members:
            _join(name, group, system=False)
        elif _is_member(name, group) and PREFIX:
            _run("gpasswd", "--delete", name, group)


def _ensure_managed(name: str, managed: dict[str, bool]) -> None:
    """Groups that are nobody's but ours: whoever does not belong to one is taken out."""
    for group, belongs in managed.items():
        if belongs:
            _join(name, group, system=True)
        elif _is_member(name, group):
            _run("gpasswd", "--delete", name, group)


def in_admins_group(names: Iterable[str]) -> dict[str, str]:
    """The accounts in the admins' group, each with the hub user it belongs to: those that say so themselves, and those of these names."""
    found = {system_name(name): name for name in names}
    for account in _members(ADMINS_GROUP):
        entry = _find(account)
        owner = entry.pw_gecos.split(",")[0] if entry is not None else ""
        if owner.startswith(_MARK):
            found[account] = unquote(owner.removeprefix(_MARK), errors="surrogatepass")
    return {account: name for account, name in found.items() if _is_member(account, ADMINS_GROUP)}


def leave_admins(account: str) -> None:
    with _one_at_a_time:
        if _is_member(account, ADMINS_GROUP):
            _run("gpasswd", "--delete", account, ADMINS_GROUP)


def with_admins_group(account: str) -> list[int]:
    """The account's processes that have the admins' group, whatever the system's files say by now."""
    entry = _find(account)
    if entry is None or not _group_exists(ADMINS_GROUP):
        return []
    group = grp.getgrnam(ADMINS_GROUP).gr_gid
    return [pid for pid in _processes() if _runs_as(pid, entry.pw_uid, group)]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _runs_as(pid: int, uid: int, group: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False  # it has ended
    fields = {key: rest.split() for key, _, rest in (line.partition(":") for line in text.splitlines())}
    return str(uid) in fields.get("Uid", []) and str(group) in fields.get("Groups", []) + fields.get("Gid", [])


_GRACE = 2.0
_END_PATIENCE = 20.0


def end_with_admins_group(account: str) -> None:
    """End these processes: told to first, then killed, and looked for again, as they may start others meanwhile."""
    begun = time.monotonic()
    told: set[int] = set()
    while found := with_admins_group(account):
        kill = time.monotonic() - begun > _GRACE
        for pid in found:
            if kill or pid not in told:
                told.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        if time.monotonic() - begun > _END_PATIENCE:
            raise AccountError(f"Processes of {account} do not end: {', '.join(map(str, found))}")
        time.sleep(0.05)


def _members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


def _join(name: str, group: str, system: bool) -> None:
    if not _group_exists(group):
        _note_group(group)
        _run("groupadd", *(["--system"] if system else []), group)
    if not _is_member(name, group):
        _run("gpasswd", "--add", name, group)


def _note_group(group: str) -> None:
    """Keep in mind that the hub makes a group: uninstalling deletes no other. Noted before it is made, so that none is forgotten."""
    noted = Paths.here().groups
    known = noted.read_text(encoding="utf-8").split() if noted.exists() else []
    if group not in known:
        files.write_private(noted, "".join(f"{each}\n" for each in [*known, group]).encode())


def _group_exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _is_member(name: str, group: str) -> bool:
    return name in _members(group)


def _run(*argv: str) -> None:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            done = subprocess.run(
                argv,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=120,
                env={"PATH": _PATH, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AccountError(f"Your account cannot be prepared: {argv[0]}: {error}. {_ASK}") from error
        if done.returncode == 0:
            return
        words = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        if _LOCKED not in words or time.monotonic() > deadline:
            raise AccountError(f"Your account cannot be prepared: {argv[0]}: {words}. {_ASK}")
        time.sleep(0.5)

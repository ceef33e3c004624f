"""What the machine has left: room in a file system, memory. Says in words what is missing to start a server."""

import grp
import os
import socket
import struct
from pathlib import Path

_MIB = 1 << 20

# A server that has nothing to write to dies while it starts; one needs about 110 MiB before it does anything.
ROOM = 5 * _MIB
FILES = 50
MEMORY = 100 * _MIB


def no_room(home: str) -> str | None:
    """Why nothing can be written into a home; None if it can. (A user's own quota is told by the server's last words.)"""
    try:
        status = os.statvfs(home)
    except OSError as error:
        return f"Your home folder {home} cannot be read: {error.strerror}."
    if status.f_bavail * status.f_frsize < ROOM:
        return f"The disk of your home folder is full ({status.f_bavail * status.f_frsize // _MIB} MiB left)."
    # Some file systems count no files: they say 0 of 0.
    if status.f_files and status.f_favail < FILES:
        return f"The disk of your home folder has no space for more files ({status.f_favail} left)."
    return None


def is_in_memory(folder: str, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a folder that something is mounted on lies in memory. The last line about it counts."""
    kind = ""
    for line in mounts.read_text(errors="replace").splitlines():
        place, _, source = line.partition(" - ")
        if place.split()[4:5] == [folder]:
            kind = source.split(" ", 1)[0]
    return kind in ("tmpfs", "ramfs")


def no_memory(slice_group: str = "/tljh.slice/tljh-users.slice", proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> str | None:
    """Why no server fits into memory; None if one does."""
    meminfo = _fields(proc / "meminfo")
    if "MemAvailable" in meminfo and (meminfo["MemAvailable"] + meminfo.get("SwapFree", 0)) * 1024 < MEMORY:
        return "This machine has no memory left."
    left = _left(cgroups, slice_group)
    if left is not None and left < MEMORY:
        return "The memory that all users have together is used up."
    return None


def _left(cgroups: Path, group: str) -> int | None:
    """What a control group may still take, file caches given up; None where it has no limit or no record. Knows both kinds."""
    for folder, limit, used, cached in (
        (cgroups / group.lstrip("/"), "memory.max", "memory.current", ("inactive_file", "active_file")),
        (cgroups / "memory" / group.lstrip("/"), "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    ):
        try:
            most = (folder / limit).read_text().strip()
            now = int((folder / used).read_text())
            caches = _fields(folder / "memory.stat")
        except OSError, ValueError:
            continue
        if most == "max":
            return None
        return int(most) - now + sum(caches.get(key, 0) for key in cached)
    return None


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.replace(":", " ").split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdigit()}


def has_capability(bit: int, status: Path = Path("/proc/1/status")) -> bool:
    """Report whether the system's first process may give a capability to others."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return False
    found = next((line.split()[1] for line in lines if line.startswith("CapBnd:")), "0")
    return bool(int(found, 16) >> bit & 1)


def group_of(path: str) -> str:
    """The group of a file, by name where it has one."""
    try:
        gid = os.stat(path).st_gid
        return grp.getgrgid(gid).gr_name
    except OSError:
        return "not known"
    except KeyError:
        return str(gid)


def listener(path: Path) -> int:
    """The process that listens on a socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid


def is_of_unit(pid: int, unit: str, proc: Path = Path("/proc")) -> bool:
    """Report whether a process belongs to a unit of systemd."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return False
    return any(unit in line.rpartition(":")[2].split("/") for line in lines)

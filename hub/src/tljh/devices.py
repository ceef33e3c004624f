"""Which devices of the machine a confined server may use. Nothing here knows JupyterHub.

Mode and group of a device decide who may open it, as everywhere. What is chosen here is which of them a server sees at all.
"""

import glob
import os
import stat
from dataclasses import dataclass, field

AUTO, NONE = "auto", "none"

# Where the hub's unit shows the machine's /dev, as the folder `dev`: the hub has a /dev of its own.
SHOWN = "/run/tljh"

# What auto looks for. Not cameras and microphones: who sits at the machine did not agree.
GPUS = ("/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/dri/*", "/dev/kfd", "/dev/dxg")
SERIAL = ("/dev/ttyUSB*", "/dev/ttyACM*")
WITH_NAMESPACES = ("/dev/fuse",)


@dataclass(frozen=True)
class Person:
    """Whom a server runs as."""

    uid: int
    groups: frozenset[int]

    def may_open(self, status: os.stat_result) -> bool:
        """Report whether mode and group of a device let this person read and write it. The first class that fits counts alone, as in the kernel."""
        if self.uid == status.st_uid:
            bits = status.st_mode >> 6
        elif status.st_gid in self.groups:
            bits = status.st_mode >> 3
        else:
            bits = status.st_mode
        return bits & 6 == 6


@dataclass
class Choice:
    """The devices that a server sees, and those that were named for it and that its user cannot open."""

    seen: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


def choose(wanted: str | list[str], namespaces: bool, person: Person, root: str = "/") -> Choice:
    """Choose among the devices that are there now."""
    if wanted == NONE:
        return Choice()
    patterns = [*GPUS, *SERIAL, *(WITH_NAMESPACES if namespaces else ())] if wanted == AUTO else wanted
    choice = Choice()
    for path, status in sorted(_there(patterns, root).items()):
        if person.may_open(status):
            choice.seen.append(path)
        elif wanted != AUTO:
            choice.closed.append(path)
    return choice


def _there(patterns: list[str], root: str) -> dict[str, os.stat_result]:
    """The devices that patterns match, without links. Disks are none of them: who reads one reads everybody's files."""
    found = {}
    dev = os.path.join(root, "dev")
    for pattern in patterns:
        for match in glob.glob(os.path.join(root, pattern.lstrip("/"))):
            path = os.path.realpath(match)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISCHR(status.st_mode) and path.startswith(dev + "/") and not any(letter.isspace() or letter == "%" for letter in path):
                found["/" + os.path.relpath(path, root)] = status
    return found


def properties(seen: list[str]) -> dict[str, str | list[str]]:
    """The lines of a unit that sees some devices. One that sees none has a /dev of its own."""
    if not seen:
        return {}
    return {"PrivateDevices": "no", "DevicePolicy": "closed", "DeviceAllow": [f"{path} rw" for path in seen]}

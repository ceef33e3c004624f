"""Swap what root may be about to use in folders of the user environment for links, as fast as it goes."""

import contextlib
import ctypes
import glob
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
EXCHANGE = 2
AT_FDCWD = -100
target = sys.argv[1]
NAMES = ["etc/tljh", "etc", "site-packages", "conda-meta", "generation.json", ".lock"]


def folders():
    yield "/opt/tljh/cache/source", ["files"]
    for folder in glob.glob("/opt/tljh/generations/user-*"):
        yield folder, NAMES


while True:
    for folder, names in folders():
        for name in names:
            path = os.path.join(folder, name)
            trap = os.path.join(folder, ".trap-" + name.replace("/", "-"))
            try:
                if not os.path.lexists(trap):
                    os.symlink(target, trap)
            except OSError:
                continue
            if libc.renameat2(AT_FDCWD, trap.encode(), AT_FDCWD, path.encode(), EXCHANGE) != 0 and not name.endswith("json"):
                with contextlib.suppress(OSError):
                    os.symlink(target, path)

"""Links to shared folders in ~/shared. A program of its own, for it runs as the user. Says what it could not do, a line each."""

import json
import os
import sys
from pathlib import Path

OURS = "/srv/tljh/"


def main() -> None:
    wanted = json.loads(sys.argv[1])
    home = Path(os.environ["HOME"])
    shared = home / "shared"
    if shared.is_symlink() or (shared.exists() and not shared.is_dir()):
        print(f"{shared} is something of the user's own: shared folders are not linked")
        return
    if wanted:
        shared.mkdir(mode=0o700, exist_ok=True)
    for old in shared.iterdir() if shared.is_dir() else ():
        if old.is_symlink() and os.readlink(old).startswith(OURS) and wanted.get(old.name) != os.readlink(old):
            old.unlink()
    for name, target in wanted.items():
        place = shared / name
        if place.is_symlink() and os.readlink(place) == target:
            continue
        if os.path.lexists(place):
            print(f"{place} is something of the user's own: the shared folder {name} is not linked")
            continue
        place.symlink_to(target)
    if not wanted and shared.is_dir() and not any(shared.iterdir()):
        shared.rmdir()


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        print(f"{error.filename}: {error.strerror}")

"""Makes the mirror: a conda channel from the wheels of locks, and an installer of Miniforge's shape.

make.py --out FOLDER --wheels FOLDER --overrides FILE [--leave-out NAME]... LOCK...

It runs on the carried CPython, in an environment with the packages of locks/tools.txt.
"""

import argparse
import asyncio
import functools
import json
import multiprocessing
import os
import sys
from pathlib import Path

import miniforge
import own
from condapkg import Package, write
from wheels import Shelf, Wheel, convert, shelf

import locks

HERE = Path(__file__).resolve().parent
STANDIN = HERE.parent / "standin"
CHANNEL = "conda-forge"
MINIFORGE = "miniforge/Miniforge3-26.3.2-3-Linux-x86_64.sh"


def of_wheel(path: Path, known: Shelf, channel: Path) -> Package:
    package = convert(Wheel(path), known)
    write(package, channel)
    package.files = {}  # it goes to another process
    return package


def of_tree(channel: Path) -> Package:
    package = own.python(Path(sys.base_prefix))
    write(package, channel)
    return package


def make(paths: list[Path], overrides: str, out: Path) -> dict:
    channel = out / CHANNEL
    known = shelf(map(Wheel, paths), overrides)
    # The largest first, so that no process is left alone with one at the end.
    largest = sorted(paths, key=lambda path: -path.stat().st_size)
    with multiprocessing.Pool() as pool:
        converted = pool.map_async(functools.partial(of_wheel, known=known, channel=channel), largest, chunksize=1)
        python = of_tree(channel)
        packages = converted.get()
    sys.path.append(str(STANDIN))
    from conda_standin import MAMBA_VERSION, VERSION

    others = [own.python_abi(), own.conda(STANDIN, VERSION), own.mamba(MAMBA_VERSION), *own.for_tests()]
    for package in others:
        write(package, channel)
    packages += [python, *others]
    index(channel)
    installer = out / MINIFORGE
    files = miniforge.payload(miniforge.base(packages), channel, (HERE / "bootstrap.py").read_bytes())
    miniforge.write((HERE / "installer.sh").read_text(encoding="utf-8"), files, installer)
    return {
        "channel": CHANNEL,
        "miniforge": {"path": MINIFORGE, "sha256": locks.digest(installer), "size": installer.stat().st_size},
        "packages": sorted(f"{package.subdir}/{package.file_name}" for package in packages),
    }


def index(channel: Path) -> None:
    from rattler.index import index_fs

    asyncio.run(index_fs(channel, write_zst=True, write_shards=False, force=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--overrides", type=Path, required=True)
    parser.add_argument("--leave-out", action="append", default=[])
    parser.add_argument("locks", type=Path, nargs="+")
    args = parser.parse_args()
    pins = [pin for lock in args.locks for pin in locks.parse(lock.read_text(encoding="utf-8"))]
    if unknown := set(args.leave_out) - {pin.name for pin in pins}:
        sys.exit(f"error: no lock has {', '.join(sorted(unknown))}, so it can't be left out")
    pins = list(dict.fromkeys(pin for pin in pins if pin.name not in args.leave_out))
    paths = list(dict.fromkeys(locks.fetch(pins, args.wheels)))
    made = make(paths, args.overrides.read_text(encoding="utf-8"), args.out)
    (args.out / "mirror.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # rattler's threads may abort an interpreter that shuts down

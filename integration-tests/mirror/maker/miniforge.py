"""An installer of the shape that Miniforge's has: a shell program with a compressed archive behind it."""

import gzip
import hashlib
import json
import tarfile
from pathlib import Path

from condapkg import TIMESTAMP, File, Package, add

# The base environment is what these need.
BASE = ("conda", "mamba", "pip", "python")
CHANNEL = "http://no-channel-alias.invalid/conda-forge"


def base(packages: list[Package]) -> list[Package]:
    """The packages of the base environment. Several versions are only there of what the base does not need."""
    known = {package.name: package for package in packages}
    found: dict[str, Package] = {}
    todo = list(BASE)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = known[name]
            todo += [each.split(" ")[0] for each in known[name].depends]
    return [found[name] for name in sorted(found)]


def url(package: Package) -> str:
    return f"{CHANNEL}/{package.subdir}/{package.file_name}"


def explicit(packages: list[Package], channel: Path) -> str:
    lines = [f"{url(package)}#{digest('md5', archive(package, channel))}" for package in packages]
    return "\n".join(["# platform: linux-64", "@EXPLICIT", *lines]) + "\n"


def archive(package: Package, channel: Path) -> bytes:
    return (channel / package.subdir / package.file_name).read_bytes()


def digest(kind: str, data: bytes) -> str:
    return hashlib.new(kind, data, usedforsecurity=False).hexdigest()


def payload(packages: list[Package], channel: Path, bootstrap: bytes) -> dict[str, File]:
    """Python lies unpacked in it, as a cache of packages has it: it unpacks the others."""
    files = {"pkgs/env.txt": File(explicit(packages, channel).encode()), "bootstrap.py": File(bootstrap)}
    for package in packages:
        if package.name != "python":
            files[f"pkgs/{package.file_name}"] = File(archive(package, channel))
    python = next(package for package in packages if package.name == "python")
    data = archive(python, channel)
    known = python.index() | {"fn": python.file_name, "url": url(python), "channel": f"{CHANNEL}"}
    known |= {kind: digest(kind, data) for kind in ("sha256", "md5")}
    unpacked = python.files | python.described() | {"info/repodata_record.json": File(json.dumps(known, indent=2).encode())}
    return files | {f"pkgs/{python.stem}/{name}": file for name, file in unpacked.items()}


def write(head: str, files: dict[str, File], to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    head = head.replace("@LINES@", str(head.count("\n")))
    with open(to, "wb") as file:
        file.write(head.encode())
        # Most of it is compressed already.
        with (
            gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=TIMESTAMP) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            add(tar, files)
    to.chmod(0o755)

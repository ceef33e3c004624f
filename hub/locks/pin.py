"""Turns what uv resolved for each architecture into hash-pinned requirements that hold for both, and adds up what they download.

pin.py requirements FOLDER NAME WITHOUT    from FOLDER/pylock.NAME-ARCH.toml; what WITHOUT pins is left out
pin.py sizes FOLDER NAME...
pin.py places FOLDER NAME...               where indexes keep the files: below the host, by the file's own digest
"""

import json
import re
import sys
import tomllib
from pathlib import Path

from packaging.markers import Marker

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# The carried Python, as conditions of requirements see it.
CARRIED = {
    "implementation_name": "cpython",
    "implementation_version": "3.14.0",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.14.0",
    "python_version": "3.14",
    "sys_platform": "linux",
}


def packages(folder: Path, name: str, arch: str) -> dict[str, dict]:
    with open(folder / f"pylock.{name}-{arch}.toml", "rb") as file:
        lock = tomllib.load(file)
    needed = [package for package in lock["packages"] if holds(package.get("marker"), arch)]
    for package in needed:
        if not package.get("wheels"):
            sys.exit(f"error: {name}: {package['name']} has no wheel for {arch}")
    return {package["name"]: package for package in needed}


def holds(marker: str | None, arch: str) -> bool:
    return marker is None or Marker(marker).evaluate(CARRIED | {"platform_machine": arch})


def requirements(folder: Path, name: str, without: Path) -> str:
    found = [packages(folder, name, arch) for arch in ARCHITECTURES]
    versions = [{key: package["version"] for key, package in each.items()} for each in found]
    if versions[0] != versions[1]:
        differing = sorted(key for key, _ in versions[0].items() ^ versions[1].items())
        sys.exit(f"error: {name}: the architectures differ in {', '.join(differing)}")
    leave = set(re.findall(r"^([^\s=]+)==", without.read_text(), re.MULTILINE))
    lines = [f"# Made from {name}.in by remake.sh: wheels for Linux on amd64 and arm64, glibc 2.34 or later, CPython 3.14."]
    for key in sorted(versions[0].keys() - leave):
        hashes = {wheel["hashes"]["sha256"] for each in found for wheel in each[key]["wheels"]}
        lines.append(f"{key}=={versions[0][key]}" + "".join(f" \\\n    --hash=sha256:{value}" for value in sorted(hashes)))
    return "\n".join(lines) + "\n"


def rank(wheel: dict) -> tuple:
    """The order in which installers choose among the wheels of a package: built for the platform, newest glibc, newest Python."""
    name = wheel.get("name") or wheel["url"].rsplit("/", 1)[-1]
    python, _, platforms = name.removesuffix(".whl").split("-")[-3:]
    glibc = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)", platforms)]
    return platforms != "any", max(glibc, default=0), [int(minor) for minor in re.findall(r"cp3(\d+)", python)]


def sizes(folder: Path, names: list[str]) -> str:
    total: dict[str, dict[str, int]] = {}
    seen: dict[str, set[str]] = {arch: set() for arch in ARCHITECTURES}
    for name in names:
        total[name] = {}
        for arch, go_arch in ARCHITECTURES.items():
            chosen = [max(package["wheels"], key=rank) for package in packages(folder, name, arch).values()]
            # What an earlier lock brought is in the cache already.
            fresh = [wheel for wheel in chosen if wheel["hashes"]["sha256"] not in seen[arch]]
            seen[arch] |= {wheel["hashes"]["sha256"] for wheel in chosen}
            if missing := [wheel["url"] for wheel in fresh if "size" not in wheel]:
                sys.exit(f"error: the package index does not tell the size of {missing[0]}")
            total[name][go_arch] = sum(wheel["size"] for wheel in fresh)
    return json.dumps(total, indent=2) + "\n"


# Indexes, and many mirrors of them, keep a file below a digest of its contents, whatever the host and the folder before it.
PLACE = re.compile(r"packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/?#]+\.whl$")


def places(folder: Path, names: list[str]) -> str:
    found = {}
    for name in names:
        for arch in ARCHITECTURES:
            for package in packages(folder, name, arch).values():
                for wheel in package["wheels"]:
                    if place := PLACE.search(wheel["url"]):
                        found[wheel["hashes"]["sha256"]] = place[0]
    return "".join(f"{digest} {place}\n" for digest, place in sorted(found.items(), key=lambda pair: pair[1].rsplit("/", 1)[1]))


def main() -> None:
    match sys.argv[1:]:
        case ["requirements", folder, name, without]:
            text = requirements(Path(folder), name, Path(without))
        case ["sizes", folder, *names]:
            text = sizes(Path(folder), names)
        case ["places", folder, *names]:
            text = places(Path(folder), names)
        case _:
            sys.exit(__doc__)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()

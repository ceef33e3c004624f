"""Locks (name==version and hashes), and the wheels they ask for: fetched by pip, with a person's own settings, and checked here once more."""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    hashes: frozenset[str]

    def text(self) -> str:
        return f"{self.name}=={self.version}" + "".join(f" --hash=sha256:{value}" for value in sorted(self.hashes))


def parse(text: str) -> list[Pin]:
    joined = re.sub(r"\\\n", " ", text)
    found = []
    for line in joined.splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line):
            found.append(Pin(canonicalize_name(match[1]), match[2], frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))))
    return found


def rounds(pins: Iterable[Pin]) -> list[list[Pin]]:
    """pip takes one version of a package at a time."""
    groups: list[dict[str, Pin]] = []
    for pin in dict.fromkeys(pins):
        group = next((group for group in groups if pin.name not in group), None)
        if group is None:
            groups.append(group := {})
        group[pin.name] = pin
    return [list(group.values()) for group in groups]


def there(pin: Pin, folder: Path) -> Path | None:
    """The wheel of a package that has been fetched already."""
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, *_ = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if (name, version) == (pin.name, Version(pin.version)) and digest(path) in pin.hashes:
            return path
    return None


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(pins: list[Pin], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for group in rounds(pin for pin in pins if there(pin, folder) is None):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write("\n".join(pin.text() for pin in group) + "\n")
            file.flush()
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
            command += ["--disable-pip-version-check", f"--dest={folder}", f"--requirement={file.name}"]
            subprocess.run(command, check=True, stdout=sys.stderr)
    found = {pin: there(pin, folder) for pin in pins}
    if missing := [f"{pin.name}=={pin.version}" for pin, path in found.items() if path is None]:
        sys.exit(f"error: no wheel came of {', '.join(missing)}")
    return [path for path in found.values() if path]

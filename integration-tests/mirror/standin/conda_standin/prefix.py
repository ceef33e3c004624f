"""An environment on disk: what is in it, whether it may be changed, and its history."""

import email
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from conda_standin import VERSION, errors, specs
from conda_standin.cache import locked


class Prefix:
    def __init__(self, path: str):
        self.path = os.path.abspath(os.path.expanduser(path))
        self.meta = Path(self.path, "conda-meta")
        self.history = self.meta / "history"

    def exists(self) -> bool:
        return self.history.is_file()

    def must_exist(self) -> None:
        if self.exists():
            return
        raise (errors.no_conda_environment if os.path.isdir(self.path) else errors.no_environment)(self.path)

    def must_be_writable(self) -> None:
        self.must_exist()
        if not os.access(self.history, os.W_OK):
            raise errors.not_writable(self.path, os.geteuid(), os.getegid())

    def records(self) -> dict:
        """What conda packages are installed, by name."""
        from rattler import PrefixRecord

        found = (PrefixRecord.from_path(path) for path in sorted(self.meta.glob("*.json")))
        return {record.name.normalized: record for record in found}

    def pinned(self) -> list[str]:
        try:
            return specs.meaningful((self.meta / "pinned").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Holds the environment, made if need be, against other commands."""
        self.meta.mkdir(parents=True, exist_ok=True)
        with locked(self.history):
            yield

    def note(self, command: list[str], removed: list[str], added: list[str], verb: str, asked: list[str]) -> None:
        entry = specs.history_entry(datetime.now(), command, VERSION, removed=removed, added=added, verb=verb, specs=asked)
        with open(self.history, "a", encoding="utf-8") as file:
            file.write(entry)

    def from_pip(self, records: dict) -> dict[str, str]:
        """Names and versions of what no conda package brought."""
        owned = {str(path) for record in records.values() for path in record.files}
        found = {}
        for path in sorted(Path(self.path).glob("lib/python3*/site-packages/*.dist-info/METADATA")):
            if str(path.relative_to(self.path)) in owned:
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                head = email.message_from_file(file)
            found[str(head["Name"]).lower().replace("_", "-")] = str(head["Version"])
        return found


def register(prefix: str, home: str) -> None:
    """Adds an environment to the person's list of them. That it can't be written is no reason to fail."""
    path = Path(home, ".conda", "environments.txt")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        if prefix not in registered(home):
            with open(path, "a", encoding="utf-8") as file:
                file.write(prefix + "\n")


def unregister(prefix: str, home: str) -> None:
    path = Path(home, ".conda", "environments.txt")
    with suppress(OSError):
        path.write_text("".join(each + "\n" for each in registered(home) if each != prefix), encoding="utf-8")


def registered(home: str) -> list[str]:
    try:
        return Path(home, ".conda", "environments.txt").read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return []


def dist(record) -> str:
    """A package as the history has it."""
    return f"{(record.channel or '').rstrip('/')}/{record.subdir}::{record.name.normalized}-{record.version}-{record.build}"


def as_json(record, alias: str) -> dict:
    base = (record.channel or "").rstrip("/")
    return {
        "base_url": base,
        "build_number": record.build_number,
        "build_string": str(record.build),
        "channel": specs.channel_name(base, alias),
        "dist_name": f"{record.name.normalized}-{record.version}-{record.build}",
        "name": record.name.normalized,
        "platform": record.subdir,
        "version": str(record.version),
    }


def pip_as_json(name: str, version: str) -> dict:
    return {
        "base_url": "https://conda.invalid/pypi",
        "build_number": 0,
        "build_string": "pypi_0",
        "channel": "pypi",
        "dist_name": f"{name}-{version}-pypi_0",
        "name": name,
        "platform": "pypi",
        "version": version,
    }

"""The caches of packages: archives and, beside each, its unpacked folder. The first one that can be written takes what is new; all are looked in."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from conda_standin import errors
from conda_standin.net import Network, digest, download

SUFFIXES = (".conda", ".tar.bz2")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two commands at once wait for each other."""
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stem(file_name: str) -> str:
    for suffix in SUFFIXES:
        if file_name.endswith(suffix):
            return file_name.removesuffix(suffix)
    raise errors.value_error(f"{file_name} is no name of a package")


def writable(folders: Iterable[str]) -> Path:
    """The first folder that can be written."""
    for each in folders:
        path = Path(each)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK | os.X_OK):
            return path
    raise errors.no_writable_cache(folders)


def unpacked(folders: Iterable[str], record) -> Path | None:
    """A package's folder in one of the caches, if it is whole and just this package."""
    for each in folders:
        folder = Path(each, stem(record.file_name))
        known = described(folder)
        if known and digest_matches(known, record):
            return folder
    return None


def described(folder: Path) -> dict | None:
    try:
        return json.loads((folder / "info" / "repodata_record.json").read_text(encoding="utf-8"))
    except OSError, ValueError:
        return None


def digest_matches(known: dict, record) -> bool:
    if record.sha256:
        return known.get("sha256") == record.sha256.hex()
    return bool(record.md5) and known.get("md5") == record.md5.hex()


class Cache:
    def __init__(self, network: Network, folders: list[str]):
        self.network, self.folders = network, folders

    def bring(self, records: list) -> list:
        """Makes sure that all records are unpacked in a cache, and returns those that had to be fetched."""
        missing = [record for record in records if unpacked(self.folders, record) is None]
        if not missing:
            return []
        home = writable(self.folders)
        with locked(home / ".standin.lock"):
            missing = [record for record in missing if unpacked(self.folders, record) is None]
            with ThreadPoolExecutor(max_workers=max(1, self.network.settings.fetch_threads)) as pool:
                # All are waited for, so that what came is there for the next try.
                failures = [each for each in pool.map(lambda record: self.one(home, record), missing) if each]
        if failures:
            raise failures[0]
        return missing

    def one(self, home: Path, record) -> Exception | None:
        try:
            archive = self.archive(home, record)
            unpack(archive, home / stem(record.file_name), record)
        except (errors.CondaError, OSError) as error:
            return error
        return None

    def archive(self, home: Path, record) -> Path:
        sha256, md5 = (value.hex() if value else "" for value in (record.sha256, record.md5))
        for each in self.folders:
            there = Path(each, record.file_name)
            if there.is_file() and same(there, sha256, md5):
                return there
        to = home / record.file_name
        download(self.network, record.url, to, sha256=sha256, md5=md5, size=record.size)
        with open(home / "urls.txt", "a", encoding="utf-8") as file:
            file.write(record.url + "\n")
        return to


def same(path: Path, sha256: str, md5: str) -> bool:
    kind, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    return bool(expected) and digest(path, kind) == expected


def unpack(archive: Path, to: Path, record) -> None:
    """The folder gets its name when it is whole."""
    from rattler.package_streaming import extract

    part = to.with_name(f".{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        extract(archive, part)
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        archive.unlink(missing_ok=True)
        raise errors.invalid_archive(str(archive), str(error)) from error
    description = json.loads((part / "info" / "index.json").read_text(encoding="utf-8"))
    description |= {"fn": record.file_name, "url": record.url, "channel": record.url.rsplit("/", 2)[0]}
    description |= {kind: digest(archive, kind) for kind in ("sha256", "md5")}
    (part / "info" / "repodata_record.json").write_text(json.dumps(description, indent=2), encoding="utf-8")
    shutil.rmtree(to, ignore_errors=True)
    part.rename(to)

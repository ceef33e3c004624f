"""Solving, and making an environment what was solved. Nothing of an environment is touched before all packages are there and whole."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from conda_standin import errors
from conda_standin.cache import Cache, stem, unpacked, writable
from conda_standin.net import Channels, Network
from conda_standin.prefix import Prefix, dist, register
from conda_standin.settings import Settings
from conda_standin.specs import Asked


class Index:
    """All packages that some channels offer."""

    def __init__(self, network: Network, urls: list[str]):
        from rattler import Channel, SparseRepoData

        self.urls, self.settings = urls, network.settings
        lists = Channels(network, urls, writable(network.settings.pkgs_dirs)).lists() if urls else []
        self.repodata = [SparseRepoData(Channel(url), subdir, path) for url, subdir, path in lists]

    def matching(self, spec: str) -> list:
        from rattler import MatchSpec

        return [record for each in self.repodata for record in each.load_matching_records([MatchSpec(spec)])]

    def must_have(self, asked: list[Asked]) -> None:
        if missing := [each.text for each in asked if not self.matching(each.spec)]:
            raise errors.not_in_channels(missing, self.urls)

    def newest(self, asked: Asked):
        return max(self.matching(asked.spec), key=lambda record: (record.version, record.build_number))

    def solve(self, wanted: list[str], installed: list, pins: list[str]) -> list:
        """What is installed is kept as it is, unless something that is asked for needs another version."""
        from rattler import ChannelPriority, MatchSpec, VirtualPackage, exceptions, solve_with_sparse_repodata

        priority = ChannelPriority.Disabled if self.settings.channel_priority == "disabled" else ChannelPriority.Strict
        try:
            return asyncio.run(
                solve_with_sparse_repodata(
                    specs=[MatchSpec(spec) for spec in wanted],
                    sparse_repodata=self.repodata,
                    locked_packages=installed,
                    virtual_packages=VirtualPackage.detect(),
                    channel_priority=priority,
                    constraints=[MatchSpec(spec) for spec in pins],
                    add_pip_as_python_dependency=self.settings.add_pip_as_python_dependency,
                )
            )
        except exceptions.SolverError as error:
            raise errors.unsatisfiable(str(error)) from error


@dataclass
class Change:
    """What an environment is to become."""

    prefix: Prefix
    want: list  # all records it is to hold
    asked: list[str] = field(default_factory=list)  # as written by a person, for the history
    requested: list[str] = field(default_factory=list)  # specs that hold from now on
    again: frozenset[str] = frozenset()  # names of what is to be installed again
    verb: str = "update"
    create: bool = False

    def __post_init__(self):
        have = {} if self.create else self.prefix.records()
        new = {record.name.normalized: record for record in self.want}
        self.have = have
        self.unlink = [each for name, each in have.items() if name not in new or differs(each, new[name]) or name in self.again]
        self.link = [each for name, each in new.items() if name not in have or differs(each, have[name]) or name in self.again]


def differs(one, other) -> bool:
    def key(record) -> tuple:
        return str(record.version), str(record.build), record.subdir, record.sha256 or record.md5

    return key(one) != key(other)


def carry_out(settings: Settings, network: Network, change: Change, command: list[str]) -> None:
    prefix = change.prefix
    fresh = not os.path.exists(prefix.path)
    Cache(network, settings.pkgs_dirs).bring(change.link)
    try:
        with prefix.begun():
            link(settings, change)
            prefix.note(command, [dist(each) for each in change.unlink], [dist(each) for each in change.link], change.verb, change.asked)
    except BaseException:
        take_back(settings, change, fresh)
        raise
    register(prefix.path, os.path.expanduser("~"))


def link(settings: Settings, change: Change) -> None:
    marker = Path(change.prefix.path, "CACHEDIR.TAG")
    known = marker.exists()
    for record in change.unlink:
        prepare_record(change.prefix, record)
    with tempfile.TemporaryDirectory(prefix="conda-") as view:
        places = {str(Path(view, folder.name)): str(folder) for record in change.link if (folder := unpacked(settings.pkgs_dirs, record))}
        for name, folder in places.items():
            os.symlink(folder, name)
        link_from(Path(view), change)
        settle_records(change.prefix, places)
    if not known:
        marker.unlink(missing_ok=True)  # rattler's, not conda's
    compile_pure(change)


def link_from(view: Path, change: Change) -> None:
    """rattler writes locks beside the packages that it links. In a folder of our own it may, and another account's cache is only read."""
    from rattler import MatchSpec, exceptions
    from rattler import install as rattler_install
    from rattler.package_cache import PackageCache, PackageCacheLayer, ValidationMode

    # What is unpacked was checked when it came: conda does not read all of it again either.
    layer = PackageCacheLayer(view).with_validation_mode(ValidationMode.skip())
    try:
        asyncio.run(
            rattler_install(
                change.want,
                target_prefix=change.prefix.path,
                package_cache=PackageCache.from_layers([layer]),
                reinstall_packages=set(change.again) or None,
                show_progress=False,
                execute_link_scripts=True,
                # 0.28 wants the inner objects, and writes this list anew for each record.
                requested_specs=[MatchSpec(spec)._match_spec for spec in change.requested],
            )
        )
    except exceptions.InstallerError as error:
        raise errors.CondaError("CondaError", f"Cannot link the packages: {error}") from error


def settle_records(prefix: Prefix, places: dict[str, str]) -> None:
    """Makes rattler's records conda's. rattler keeps them to their owner; conda's are files like others, which umask and access control lists apply
    to. And conda notes, of what works with any Python, the paths in the package."""
    for path in prefix.meta.glob("*.json"):
        if path.stat().st_mode & 0o777 != 0o600:
            continue
        text = path.read_text(encoding="utf-8")
        for name, folder in places.items():
            text = text.replace(f'"{name}"', f'"{folder}"')
        record = json.loads(text)
        if record.get("noarch") == "python":
            note_paths(record, paths_in_package(Path(record["extracted_package_dir"])))
        replace(path, record)


def paths_in_package(folder: Path) -> list[str]:
    try:
        return [each["_path"] for each in json.loads((folder / "info" / "paths.json").read_text(encoding="utf-8"))["paths"]]
    except OSError:
        return []  # a record that was written anew, of a package that is not here any more


def note_paths(record: dict, inside: list[str]) -> None:
    """Puts the paths in the package into the place of those in the environment. Where each went, the list of files tells."""
    places = {placed(path, record["files"]): path for path in inside}
    for each in record["paths_data"]["paths"]:
        each["_path"] = places.get(each["_path"], each["_path"])


def placed(path: str, files: list[str]) -> str:
    """Where a path of a package for any Python is in the environment."""
    if path.startswith("python-scripts/"):
        return path.replace("python-scripts", "bin", 1)
    if not path.startswith("site-packages/"):
        return path
    site = next((folder for folder, found, _ in (each.partition("/site-packages/") for each in files) if found), "lib")
    return f"{site}/{path}"


def prepare_record(prefix: Prefix, record) -> None:
    """rattler unlinks by the paths of a record, which must be those in the environment then."""
    path = prefix.meta / f"{stem(record.file_name)}.json"
    if not path.exists():
        return
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("noarch") == "python":
        for each in data["paths_data"]["paths"]:
            each["_path"] = placed(each["_path"], data["files"])
        replace(path, data)


def replace(path: Path, record: dict) -> None:
    """Records are replaced, never written into."""
    path.unlink()
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")


def compile_pure(change: Change) -> None:
    """Packages for any Python come without byte code; it belongs to the package from then on, as conda has it."""
    prefix = Path(change.prefix.path)
    python = prefix / "bin" / "python"
    metas = [change.prefix.meta / f"{stem(record.file_name)}.json" for record in change.link if record.noarch.python]
    sources = {meta: pure_sources(json.loads(meta.read_text(encoding="utf-8"))) for meta in metas}
    everything = [each for files in sources.values() for each in files]
    if not everything or not python.exists():
        return
    script = [str(python), "-I", "-W", "ignore", "-m", "compileall", "-q", "-j", "0", "-i", "-"]
    # Some packages carry files that are no Python of this version: that is no failure.
    subprocess.run(script, input="\n".join(everything), cwd=prefix, text=True, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for meta, files in sources.items():
        made = [path for path in map(byte_code, files) if (prefix / path).is_file()]
        add_byte_code(meta, made)


def pure_sources(record: dict) -> list[str]:
    return [path for path in record["files"] if path.endswith(".py") and "site-packages/" in path]


def byte_code(source: str) -> str:
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{sys.version_info.major}{sys.version_info.minor}.pyc"


def add_byte_code(meta: Path, made: list[str]) -> None:
    record = json.loads(meta.read_text(encoding="utf-8"))
    known = set(record["files"])
    record["files"] += [path for path in made if path not in known]
    record["paths_data"]["paths"] += [{"_path": path, "path_type": "pyc_file"} for path in made if path not in known]
    replace(meta, record)


def take_back(settings: Settings, change: Change, fresh: bool) -> None:
    """What fails leaves no half-made environment, and no half-changed one where that can be helped."""
    if fresh:
        shutil.rmtree(change.prefix.path, ignore_errors=True)
        return
    with suppress(Exception):
        link(settings, Change(change.prefix, list(change.have.values()), requested=requested_of(change.have)))
    if change.create:
        shutil.rmtree(change.prefix.meta, ignore_errors=True)


def requested_of(records: dict) -> list[str]:
    return [spec for record in records.values() for spec in record.requested_specs or []]

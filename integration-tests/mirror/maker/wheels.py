"""Wheels of a package registry as packages of a conda channel."""

import base64
import configparser
import csv
import email
import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from condapkg import PLACEHOLDER, File, Package, with_byte_code
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

MINOR = "{}.{}".format(*sys.version_info)
NEXT_MINOR = f"{sys.version_info.major}.{sys.version_info.minor + 1}"
TAG = MINOR.replace(".", "")

# Those that conda-forge spells with an underscore, or gives another name.
NAMES = {
    name.replace("_", "-"): name
    for name in (
        "ipython_pygments_lexers",
        "jupyter_builder",
        "jupyter_client",
        "jupyter_core",
        "jupyter_events",
        "jupyter_server",
        "jupyter_server_terminals",
        "jupyterlab_pygments",
        "jupyterlab_server",
        "jupyterlab_widgets",
        "prometheus_client",
        "pure_eval",
        "stack_data",
        "typing_extensions",
    )
} | {"msgpack": "msgpack-python", "tzdata": "python-tzdata"}


def conda_name(name: str) -> str:
    plain = canonicalize_name(name)
    return NAMES.get(plain, plain)


def constraint(specifiers: SpecifierSet) -> str:
    """A requirement's versions as a match spec has them."""
    return ",".join(sorted(one(spec.operator, spec.version) for spec in specifiers))


def one(operator: str, version: str) -> str:
    if operator == "==" and version.endswith(".*"):
        return version
    return operator.replace("===", "==") + version


def dependency(requirement: Requirement) -> str:
    return f"{conda_name(requirement.name)} {constraint(requirement.specifier)}".strip()


class Wheel:
    def __init__(self, path: Path):
        self.path = path
        self.name, self.version, _, self.tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            self.info = next(name.split("/")[0] for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            self.metadata: Message = email.message_from_bytes(archive.read(f"{self.info}/METADATA"))

    @property
    def pure(self) -> bool:
        return all(tag.platform == "any" and tag.abi == "none" for tag in self.tags)

    def requirements(self) -> list[Requirement]:
        return [Requirement(line) for line in self.metadata.get_all("Requires-Dist") or []]


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    environment = {**default_environment(), "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


@dataclass(frozen=True)
class Shelf:
    """What is known of all wheels of the channel, by name."""

    wheels: Mapping[str, Wheel]
    overrides: Mapping[str, Requirement]  # requirements that hold in place of whatever packages say (hub/locks/overrides.txt)

    def dependencies(self, wheel: Wheel, extras: frozenset[str] = frozenset(), seen: frozenset[tuple] = frozenset()) -> set[str]:
        """What a package needs. conda knows no extras: what an extra of a dependency needs becomes a dependency of this package itself."""
        found = set()
        for stated in wheel.requirements():
            if not applies(stated, extras):
                continue
            name = canonicalize_name(stated.name)
            requirement = self.overrides.get(name, stated)
            if requirement is not stated and not applies(requirement, extras):
                continue
            found.add(dependency(requirement))
            key = name, frozenset(requirement.extras)
            if requirement.extras and key not in seen and name in self.wheels:
                found |= self.dependencies(self.wheels[name], key[1], seen | {key})
        return found


def shelf(wheels: Iterable[Wheel], overrides: str) -> Shelf:
    # Of several versions, the newest one tells what extras need.
    known = {canonicalize_name(wheel.name): wheel for wheel in sorted(wheels, key=lambda wheel: wheel.version)}
    stated = [Requirement(line) for line in overrides.splitlines() if line.strip() and not line.startswith("#")]
    return Shelf(known, {canonicalize_name(requirement.name): requirement for requirement in stated})


def convert(wheel: Wheel, known: Shelf) -> Package:
    depends = known.dependencies(wheel)
    python = constraint(SpecifierSet(str(wheel.metadata.get("Requires-Python") or "")))
    if wheel.pure:
        depends.add(f"python {python}".strip())
    else:
        depends |= {f"python >={MINOR},<{NEXT_MINOR}.0a0", f"python_abi {MINOR}.* *_cp{TAG}"}
    package = Package(
        name=conda_name(wheel.name),
        version=conda_version(wheel.version),
        build="pyhd8ed1ab_0" if wheel.pure else f"py{TAG}_0",
        depends=sorted(depends),
        noarch="python" if wheel.pure else "",
        license=str(wheel.metadata.get("License-Expression") or wheel.metadata.get("License") or "")[:80].split("\n")[0],
        summary=str(wheel.metadata.get("Summary") or ""),
    )
    fill(package, wheel)
    return package


def conda_version(version: Version) -> str:
    return str(version).replace("-", "_").replace("+", "_")


def fill(package: Package, wheel: Wheel) -> None:
    site = "site-packages" if wheel.pure else f"lib/python{MINOR}/site-packages"
    programs = "python-scripts" if wheel.pure else "bin"
    files: dict[str, File] = {}
    with zipfile.ZipFile(wheel.path) as archive:
        data = wheel.info.removesuffix(".dist-info") + ".data/"
        for member in archive.infolist():
            if member.is_dir() or member.filename == f"{wheel.info}/RECORD":
                continue
            scheme, rest = "purelib", member.filename
            if member.filename.startswith(data):
                scheme, rest = member.filename.removeprefix(data).split("/", 1)
            folder = {"data": "", "headers": f"include/python{MINOR}/{wheel.name}/", "scripts": f"{programs}/"}.get(scheme, f"{site}/")
            executable = scheme == "scripts" or bool(member.external_attr >> 16 & 0o111)
            files[folder + rest] = program(archive.read(member)) if scheme == "scripts" else File(archive.read(member), 0o755 if executable else 0o644)
        entries = entry_points(archive, wheel.info)
    files[f"{site}/{wheel.info}/INSTALLER"] = File(b"conda\n")
    if wheel.pure:
        package.entry_points = [f"{name} = {target}" for name, target in sorted(entries.items())]
    else:
        files |= {f"bin/{name}": started(target) for name, target in entries.items()}
        files = with_byte_code(files)
    files[f"{site}/{wheel.info}/RECORD"] = File(record(files, site, [f"bin/{name}" for name in entries] if wheel.pure else []))
    package.files = files


def program(data: bytes) -> File:
    """A program of a wheel: "#!python" stands for the environment's own."""
    head, _, rest = data.partition(b"\n")
    if not re.match(rb"#!\s*\S*python", head):
        return File(data, 0o755)
    return File(f"#!{PLACEHOLDER}/bin/python\n".encode() + rest, 0o755, prefixed=True)


def started(target: str) -> File:
    module, _, function = target.partition(":")
    lines = [
        f"#!{PLACEHOLDER}/bin/python",
        "import sys",
        f"from {module} import {function.split('.')[0]}",
        "if __name__ == '__main__':",
        f"    sys.exit({function}())",
    ]
    return File(("\n".join(lines) + "\n").encode(), 0o755, prefixed=True)


def entry_points(archive: zipfile.ZipFile, info: str) -> dict[str, str]:
    try:
        text = archive.read(f"{info}/entry_points.txt").decode()
    except KeyError:
        return {}
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    sections = [parser[name] for name in ("console_scripts", "gui_scripts") if parser.has_section(name)]
    return {name: target.split("[")[0].strip() for section in sections for name, target in section.items()}


def record(files: Mapping[str, File], site: str, programs: list[str]) -> bytes:
    """The list by which pip removes a package. Files outside of site-packages are told from where those will be, three folders deep."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    for name, file in sorted(files.items()):
        place = name.removeprefix(f"{site}/") if name.startswith(f"{site}/") else f"../../../{name.replace('python-scripts/', 'bin/', 1)}"
        if file.prefixed or name.endswith(".pyc"):
            lines.writerow([place, "", ""])
        else:
            digest = base64.urlsafe_b64encode(hashlib.sha256(file.data).digest()).rstrip(b"=").decode()
            lines.writerow([place, f"sha256={digest}", len(file.data)])
    for name in programs:
        lines.writerow([f"../../../{name}", "", ""])
    own = next(name for name in files if name.endswith(".dist-info/INSTALLER")).removeprefix(f"{site}/").replace("INSTALLER", "RECORD")
    lines.writerow([own, "", ""])
    return buffer.getvalue().encode()

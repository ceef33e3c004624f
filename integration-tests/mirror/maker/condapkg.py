"""conda packages: a tree of files in memory and what is said about it, written as a .conda archive. The same input gives the same bytes."""

import hashlib
import importlib.util
import io
import json
import marshal
import struct
import tarfile
import warnings
import zipfile
from compression import zstd
from dataclasses import dataclass, field
from pathlib import Path

# What stands for the environment's own path in files that name it. Long, since conda replaces it in place in binaries.
PLACEHOLDER = "/opt/mirror_build_env" + "_placehold" * 20
SUBDIR = "linux-64"
TIMESTAMP = 1_790_000_000  # of every file and record
# Better takes much longer to make, and these packages only travel over a wire of this machine.
LEVEL = zstd.CompressionParameter.compression_level, 3


@dataclass(frozen=True)
class File:
    data: bytes = b""
    mode: int = 0o644
    link: str = ""  # what a symbolic link leads to; it has no data
    prefixed: bool = False  # whether the text names the placeholder


@dataclass
class Package:
    name: str
    version: str
    build: str
    depends: list[str] = field(default_factory=list)
    constrains: list[str] = field(default_factory=list)
    noarch: str = ""  # "python" or "generic"; nothing for this platform
    entry_points: list[str] = field(default_factory=list)  # of packages for any Python: conda makes the programs
    license: str = ""
    summary: str = ""
    files: dict[str, File] = field(default_factory=dict)

    @property
    def subdir(self) -> str:
        return "noarch" if self.noarch else SUBDIR

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def file_name(self) -> str:
        return f"{self.stem}.conda"

    def index(self) -> dict:
        index = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": self.depends,
            "constrains": self.constrains,
            "license": self.license,
            "subdir": self.subdir,
            "timestamp": TIMESTAMP * 1000,
        }
        return index | ({"noarch": self.noarch} if self.noarch else {"arch": "x86_64", "platform": "linux"})

    def described(self) -> dict[str, File]:
        """The folder info/."""
        texts = {
            "index.json": as_text(self.index()),
            "about.json": as_text({"summary": self.summary, "license": self.license}),
            "paths.json": as_text({"paths": [path_entry(name, file) for name, file in sorted(self.files.items())], "paths_version": 1}),
            "files": "".join(f"{name}\n" for name in sorted(self.files)),
        }
        if prefixed := sorted(name for name, file in self.files.items() if file.prefixed):
            texts["has_prefix"] = "".join(f"{PLACEHOLDER} text {name}\n" for name in prefixed)
        if self.noarch == "python":
            texts["link.json"] = as_text({"noarch": {"type": "python", "entry_points": self.entry_points}, "package_metadata_version": 1})
        return {f"info/{name}": File(text.encode()) for name, text in texts.items()}


def as_text(data: dict) -> str:
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def path_entry(name: str, file: File) -> dict:
    entry = {
        "_path": name,
        "path_type": "softlink" if file.link else "hardlink",
        "sha256": hashlib.sha256(file.data).hexdigest(),
        "size_in_bytes": len(file.data),
    }
    return entry | ({"prefix_placeholder": PLACEHOLDER, "file_mode": "text"} if file.prefixed else {})


def write(package: Package, channel: Path) -> Path:
    to = channel / package.subdir / package.file_name
    to.parent.mkdir(parents=True, exist_ok=True)
    parts = {
        "metadata.json": json.dumps({"conda_pkg_format_version": 2}).encode(),
        f"pkg-{package.stem}.tar.zst": compressed(package.files),
        f"info-{package.stem}.tar.zst": compressed(package.described()),
    }
    with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return to


def compressed(files: dict[str, File]) -> bytes:
    return zstd.compress(tar(files), options=dict([LEVEL]))


def tar(files: dict[str, File]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, files)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, files: dict[str, File]) -> None:
    for name, file in sorted(files.items()):
        member = tarfile.TarInfo(name)
        member.mtime, member.mode, member.uname, member.gname = TIMESTAMP, file.mode, "root", "root"
        if file.link:
            member.type, member.linkname = tarfile.SYMTYPE, file.link
        else:
            member.size = len(file.data)
        archive.addfile(member, io.BytesIO(file.data))


def byte_code(name: str, source: bytes) -> tuple[str, bytes] | None:
    """A module's byte code and its place; None for what is no Python of this version. It is never held against its source again, so that
    it stays good however the files are copied."""
    try:
        with warnings.catch_warnings(action="ignore"):
            code = compile(source, name, "exec", dont_inherit=True, optimize=-1)
    except SyntaxError, ValueError:
        return None
    head = importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + importlib.util.source_hash(source)
    return importlib.util.cache_from_source(name), head + marshal.dumps(code)


def with_byte_code(files: dict[str, File]) -> dict[str, File]:
    made = dict(files)
    for name, file in files.items():
        if name.endswith(".py") and not file.link and not file.prefixed and (found := byte_code(name, file.data)):
            made[found[0]] = File(found[1])
    return made

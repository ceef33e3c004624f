"""The packages of the channel that are no wheels: the carried CPython, the stand-in for conda, and what tests need that nobody publishes."""

import fnmatch
import sys
from pathlib import Path

from condapkg import PLACEHOLDER, File, Package, with_byte_code
from wheels import MINOR, NEXT_MINOR, TAG

# As the installer leaves out of the carried CPython (environment/python.go), and what belongs to other packages here.
LEFT_OUT = (
    "bin/idle*", "bin/pip*", "bin/pydoc*", "bin/*-config", "lib/libpython*", "lib/libtcl*", "lib/itcl*", "lib/thread*", "lib/tcl*", "lib/tk*",
    "lib/python*/idlelib/*", "lib/python*/tkinter/*", "lib/python*/turtledemo/*", "lib/python*/turtle.py", "lib/python*/lib-dynload/_tkinter*",
    "lib/python*/test/*", "lib/python*/site-packages/*", "lib/python*/EXTERNALLY-MANAGED", "*/__pycache__/*", "files.json", "*.lock",
)  # fmt: skip


def python(tree: Path) -> Package:
    files: dict[str, File] = {}
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_dir() or any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT):
            continue
        if path.is_symlink():
            files[name] = File(link=str(path.readlink()))
        else:
            files[name] = File(path.read_bytes(), 0o755 if path.stat().st_mode & 0o111 else 0o644)
    for name in ("python", "python3"):  # the module that carries CPython has copies of 28 MB each
        files[f"bin/{name}"] = File(link=f"python{MINOR}")
    files["lib/python" + MINOR + "/site-packages/README.txt"] = File(b"Packages that are installed are in this folder.\n")
    return Package(
        name="python",
        version=".".join(map(str, sys.version_info[:3])),
        build=f"0_cp{TAG}",
        depends=[f"python_abi {MINOR}.* *_cp{TAG}"],
        license="Python-2.0",
        summary="CPython as the installer carries it",
        files=with_byte_code(files),
    )


def python_abi() -> Package:
    return Package("python_abi", MINOR, f"8_cp{TAG}", constrains=[f"python {MINOR}.* *_cp{TAG}"], noarch="generic", license="BSD-3-Clause")


def conda(source: Path, version: str) -> Package:
    files = {f"site-packages/conda_standin/{path.name}": File(path.read_bytes()) for path in sorted((source / "conda_standin").glob("*.py"))}
    return Package(
        name="conda",
        version=version,
        build="standin_0",
        depends=[f"python >={MINOR},<{NEXT_MINOR}.0a0", "py-rattler", "pyyaml", "requests"],
        noarch="python",
        summary="A stand-in for conda's command line, for tests",
        files=files | {f"{folder}/conda": starter() for folder in ("bin", "condabin")},
    )


def mamba(version: str) -> Package:
    files = {f"{folder}/mamba": starter() for folder in ("bin", "condabin")}
    return Package("mamba", version, "standin_0", depends=["conda", "python"], noarch="python", summary="Another name of conda's stand-in", files=files)


def starter() -> File:
    text = f"#!{PLACEHOLDER}/bin/python\nfrom conda_standin.cli import conda\n\nconda()\n"
    return File(text.encode(), 0o755, prefixed=True)


def for_tests() -> list[Package]:
    """Two that cannot be installed beside the newest cowsay, or at all."""
    text = File(b"This package only has dependencies.\n")
    return [
        Package("old-herd", "1.0", "0", ["cowsay <6"], noarch="generic", summary="Needs an old cowsay", files={"share/old-herd.txt": text}),
        Package("lost-herd", "1.0", "0", ["shepherd-nobody-has"], noarch="generic", summary="Needs what is not there", files={"share/lost-herd.txt": text}),
    ]

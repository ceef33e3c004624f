"""Makes the packages of hub.packages ready for a hub environment: a program of its own, which tljh-install confines, as building packages may run their code.

Standard input is {"uv": program, "python": of the environment, "options": of uv, "requirements": [packages], "pinned": [what the hub holds],
"overrides": text}; standard output is a tar of files, with their places below an environment. What is pinned keeps its version and is not among them.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, BinaryIO


class Refused(Exception):
    """What was asked for and does not fit, in words for an admin."""


def plain(requirement: str) -> str:
    """The name of a requirement's package in the form in which names are compared."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def beyond(resolved: str, pinned: list[str]) -> list[str]:
    """The lines of a resolution that are not pinned already."""
    pins = {plain(pin): pin for pin in pinned}
    found = []
    for line in resolved.splitlines():
        wanted = line.strip()
        if not wanted or wanted.startswith(("#", "-")):
            continue
        pin = pins.get(plain(wanted))
        if pin is None:
            found.append(wanted)
        elif wanted.partition(";")[0].strip() != pin:
            raise Refused(f"{wanted} does not go with {pin}, which this release of the hub needs")
    return found


def uv(question: dict[str, Any], work: Path, *arguments: str, lines: list[str]) -> str:
    """What uv says to a list of requirements."""
    env = {**os.environ, "HOME": str(work), "UV_CACHE_DIR": str(work / "cache"), "TMPDIR": str(work)}
    argv = [question["uv"], "pip", *arguments, "--quiet", "--no-config", "--python", question["python"], *question["options"]]
    done = subprocess.run(argv, input="".join(line + "\n" for line in lines), stdout=subprocess.PIPE, text=True, env=env, cwd=work, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)  # it has said why
    return done.stdout


def make(question: dict[str, Any], work: Path) -> Path:
    """Resolve, build and lay out what the hub does not hold yet; the folder that is like an environment."""
    constraints, overrides, made = work / "pinned.txt", work / "overrides.txt", work / "made"
    constraints.write_text("\n".join(question["pinned"]) + "\n", encoding="utf-8")
    overrides.write_text(question["overrides"], encoding="utf-8")
    made.mkdir()
    held = ["--constraint", str(constraints), "--override", str(overrides)]

    def add(requirements: list[str]) -> None:
        resolved = uv(question, work, "compile", "--no-header", "--no-annotate", *held, "-", lines=requirements)
        if lacking := beyond(resolved, question["pinned"]):
            uv(question, work, "install", "--no-deps", "--link-mode=copy", "--prefix", str(made), "--requirement", "-", lines=lacking)

    add(question["requirements"])
    if more := wanted_by_plugins(question, made):
        add([*question["requirements"], *more])
    return made


# Adds a folder of packages to those of the hub, and asks the plugins there.
ASK = "import runpy, site, sys; site.addsitedir(sys.argv[1]); sys.argv[1:] = ['ask']; runpy.run_module('tljh.plugins', run_name='__main__')"


def wanted_by_plugins(question: dict[str, Any], made: Path) -> list[str]:
    """What plugins of the older TLJH want in the hub environment beside themselves."""
    folders = {points.parent.parent for points in made.rglob("*.dist-info/entry_points.txt") if "[tljh]" in points.read_text(encoding="utf-8").split()}
    found: list[str] = []
    for folder in sorted(folders):
        done = subprocess.run([question["python"], "-I", "-c", ASK, str(folder)], stdout=subprocess.PIPE, text=True, cwd="/", check=False)
        if done.returncode == 0:  # else the hub says what is wrong with it, and runs without it
            found += json.loads(done.stdout)["hub"]
    return list(dict.fromkeys(found))


def pack(made: Path, to: BinaryIO) -> None:
    """Write the files of a folder as a tar. What begins with a dot beside the folders of an environment is uv's own."""
    with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(made.rglob("*")):
            place = file.relative_to(made)
            if file.is_dir() or place.parts[0].startswith("."):
                continue
            entry = tarfile.TarInfo(place.as_posix())
            entry.size, entry.mode = file.stat().st_size, file.stat().st_mode & 0o777
            with file.open("rb") as content:
                archive.addfile(entry, content)


def main() -> None:
    question = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="tljh-") as work:  # on the disk, whatever /tmp is; a confined program has one of its own
        try:
            made = make(question, Path(work))
        except Refused as error:
            raise SystemExit(str(error)) from None
        pack(made, sys.stdout.buffer)


if __name__ == "__main__":
    main()

"""What is wrong with a service of a file in jupyterhub_config.d: JupyterHub does not start with one whose program is missing, or whose description it does not
understand, and says so by a traceback."""

import difflib
import os
import pwd
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from jupyterhub import orm
from jupyterhub.services.service import Service

from tljh.values import misfit

# JupyterHub's own shortest token. Its words hold the token.
SHORTEST = orm.APIToken.min_length

FIELDS = Service.class_traits(input=True)


def trouble(spec: dict[str, Any]) -> str | None:
    """Why a service cannot be used, and what to do; None if it can."""
    return next(filter(None, (_field(name, value) for name, value in spec.items())), None) or _values(spec) or (_program(spec) if spec.get("command") else None)


def _field(name: str, value: Any) -> str | None:
    if name not in FIELDS:
        near = difflib.get_close_matches(str(name), FIELDS, 1, 0.7)
        return f"a service has no field {name!r}" + (f"; {near[0]!r} is one" if near else "")
    why = misfit(FIELDS[name], value, "JupyterHub")
    return f"its {name} {why}" if why else None


def _values(spec: dict[str, Any]) -> str | None:
    if spec.get("url") and urlparse(spec["url"]).scheme not in ("http", "https"):
        return "its url has to begin with http:// or https://"
    if spec.get("api_token") and len(spec["api_token"]) < SHORTEST:
        return f"its api_token needs {SHORTEST} characters: openssl rand -hex 32 makes one"
    try:
        service = Service(orm=orm.Service(name=spec["name"]))
        for name in FIELDS.keys() & spec.keys() - {"api_token"}:
            setattr(service, name, spec[name])
    except Exception as error:  # whatever JupyterHub has against it
        return " ".join(str(error).split())[:200]
    return None


def _program(spec: dict[str, Any]) -> str | None:
    command, folder = spec["command"], spec.get("cwd") or os.getcwd()
    program = command if isinstance(command, str) else command[0]
    if not os.path.isdir(folder):
        return f"its folder {folder} (cwd) does not exist"
    if (user := spec.get("user")) and not _is_account(user):
        return f"there is no account {user} (user) on this machine: sudo useradd --system {user}"
    path = spec.get("environment", {}).get("PATH") or os.environ.get("PATH")
    found = shutil.which(program, path=path) if "/" not in program else str(Path(folder, program))
    if isinstance(command, str) and len(command.split()) > 1 and not (found and os.path.isfile(found)):
        return f"write its command as a list: {command.split()}"
    if found is None:
        return f"there is no program {program}: install it, or write its whole path"
    return _file(found, path)


def _file(program: str, path: str | None) -> str | None:
    if not os.path.isfile(program):
        return f"its program {program} does not exist: install it, or correct the path in command"
    if not os.access(program, os.X_OK):
        return f"its program {program} may not be executed: sudo chmod +x {program}"
    with open(program, "rb") as file:
        first = file.readline(256)
    if not first.startswith(b"#!"):
        return None
    if first.endswith(b"\r\n"):
        return f"its program {program} has the line ends of Windows: sed -i 's/\\r$//' {program}"
    words = first[2:].decode(errors="replace").split()
    if words and os.path.basename(words[0]) == "env" and len(words) == 2:
        return None if shutil.which(words[1], path=path) else f"its program {program} needs {words[1]}, which is not there"
    return None if words and os.path.isfile(words[0]) else f"its program {program} needs {' '.join(words[:1])}, which is not there"


def _is_account(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False

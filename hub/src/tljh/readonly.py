"""Words for code of an admin's own (jupyterhub_config.d) that wants to write where the hub may not.

systemd makes everything read-only for the hub but its state, homes and what `hub.writable_paths` names. Python says only "Read-only file system".
"""

import errno
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tljh.failures import ADMIN, Story

KEY = "hub.writable_paths"
SHARED_BY_MANY = {"/srv", "/opt", "/mnt", "/media", "/var", "/var/lib", "/home", "/"}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from, each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__context__, found.__cause__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions


def refused(error: BaseException | None) -> str | None:
    """The path that could not be written to because it is read-only: "" where the error does not name it, None where that is not what failed."""
    for found in chain(error):
        if isinstance(found, OSError) and found.errno == errno.EROFS:
            names = [name for name in (found.filename2, found.filename) if isinstance(name, str | bytes | os.PathLike)]
            return os.path.abspath(os.fsdecode(names[0])) if names else ""
        if isinstance(found, subprocess.CalledProcessError) and "Read-only file system" in _text(found.stderr):
            return ""
    return None


def _text(said: str | bytes | None) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said or ""


def folder_to_permit(path: str) -> str:
    """The folder to name in the config: the one that the path lies in, or the path itself where that one is for many other things, too."""
    if not Path(path).is_dir() and os.path.splitext(path)[1]:  # a file
        path = os.path.dirname(path)
    if Path(path).is_dir():
        return path
    parent = os.path.dirname(path)
    while parent not in SHARED_BY_MANY and not Path(parent).is_dir():
        path, parent = parent, os.path.dirname(parent)
    return path if parent in SHARED_BY_MANY else parent


def commands(path: str) -> str:
    """What an admin types to permit it."""
    folder = folder_to_permit(path) if path else "FOLDER"
    make = f"sudo mkdir -p {folder} && " if path and not Path(folder).is_dir() else ""
    return f"{make}sudo tljh-install config add {KEY} {folder} && sudo tljh-install config reload"


def words(path: str) -> str:
    return f"The hub may not write to {path or 'a folder that code in jupyterhub_config.d uses'}: it is read-only for the hub."


def story(error: BaseException | None) -> Story | None:
    """The story of a hook that failed because of that; None for another reason."""
    path = refused(error)
    if path is None:
        return None
    return Story("read-only", f"Your server could not start: a hook of this hub cannot write. {words(path)}", f"{ADMIN} They permit it with: {commands(path)}")


class Hint(logging.Filter):
    """Adds to what is logged of such an error how to permit it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        path = refused(error)
        if path is not None and KEY not in str(record.msg):
            record.msg = f"{record.getMessage()}\n{words(path)} To permit it: {commands(path)}"
            record.args = ()
        return True


def listen() -> None:
    """Have the hub's own log and that of its web server say it."""
    for name in ("JupyterHub", "tornado.application", "tornado.general", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(there, Hint) for there in logger.filters):
            logger.addFilter(Hint())


def permission(error: BaseException) -> str:
    """What to add to the words for a file of jupyterhub_config.d that failed; "" where it failed for another reason."""
    path = refused(error)
    return "" if path is None else f". {words(path)} To permit it: {commands(path)}"

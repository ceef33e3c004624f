"""Other ways to start a user's server, for when it does not start as usual, and what people are told about them.

Safe: without what users set and install for themselves. Rescue: from an environment that belongs to the hub, while the one that all users share
is broken. Nothing here starts anything: that is the spawner's.
"""

import contextlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tljh.failures import Story
from tljh.files import write_private

# In the folder where the user's file browser begins.
NOTE = "SAFE-START.md"

UNSEEN = (
    "The environment that all users share is broken: servers end while they start, even with users' own settings left out, but not in the rescue environment."
)

REPAIR = "sudo tljh-install env repair"  # as the words of failures.py have it

# What of a start's time is given to a server that does not answer, before it is tried without the user's own settings.
PATIENCE = 0.6


@dataclass(frozen=True)
class Way:
    """One way to start a server."""

    safe: bool = False
    rescue: bool = False


USUAL = Way()


def after(way: Way, kind: str, rescue_there: bool) -> Way | None:
    """The way to try when a start failed for a kind of reason (failures.Story.kind); None when no other way helps against it."""
    if kind == "environment" and not way.rescue and rescue_there:
        return replace(way, rescue=True)
    if kind in ("exited", "hung") and not way.safe:
        return replace(way, safe=True)
    # It is not the user's files, and as nobody the environment seemed good: there is more to an environment than can be tried beforehand.
    if kind == "exited" and not way.rescue and rescue_there:
        return replace(way, rescue=True)
    return None


def describe(way: Way) -> str:
    parts = [words for words, holds in (("without the user's own settings", way.safe), ("from the rescue environment", way.rescue)) if holds]
    return " and ".join(parts) or "as usual"


def progress(way: Way) -> str:
    """What the page that waits says."""
    if way.rescue:
        return "The environment that all users share is broken: starting your server from the rescue environment, so that you reach your files"
    if way.safe:
        return "Your server did not start: trying it without your own settings"
    return "Starting your server"


def telling(stories: list[Story]) -> Story:
    """Which of the stories of one start that failed in every way is told."""
    if stories[-1].kind == "exited":
        return next((story for story in stories if story.kind == "environment"), stories[-1])
    return stories[-1]


def cause(stories: list[Story]) -> Story:
    """What the rescue environment is needed for, by the stories of the starts before."""
    for story in stories:
        if story.kind == "environment":
            return story
    return Story("environment", UNSEEN, lines=stories[-1].lines)


# Modules without which a server does not start or runs no kernel, and that of its usual page. tljh-install looks for more (environment/glance.go).
VITAL = ["jupyter_server", "ipykernel"]
PAGE = "jupyterlab"


def missing_module(environment: Path, modules: list[str]) -> Path | None:
    """The folder of a module that an environment lacks: a server would start without some of them, and show no page or run no kernel. Only files are looked
    at. A package that an admin works on elsewhere is not missing."""
    sites = list(environment.glob("lib/python3.*/site-packages"))
    for name in modules:
        if not any((site / name / "__init__.py").exists() or _is_elsewhere(site, name) for site in sites):
            return (sites[0] if sites else environment / "lib") / name
    return None


def _is_elsewhere(site: Path, name: str) -> bool:
    for note in site.glob(f"{name}-*.dist-info/direct_url.json"):
        with contextlib.suppress(OSError):
            if '"editable"' in note.read_text(errors="replace"):
                return True
    return False


def has_settings(home: str) -> bool:
    """Whether a user has settings that can keep a server from answering."""
    patterns = (".jupyter/*.py", ".jupyter/*.json", ".jupyter/*.d", ".local/etc/jupyter/*")
    with contextlib.suppress(OSError):
        return any(True for pattern in patterns for _ in Path(home).glob(pattern))
    return False


def without_own(env: dict[str, str], folder: str) -> None:
    """Let a server and all it starts find nothing of what its user set or installed for Jupyter, IPython and Python; `folder` is empty."""
    env |= {
        "PYTHONNOUSERSITE": "1",
        "JUPYTER_CONFIG_DIR": f"{folder}/config",
        "JUPYTER_DATA_DIR": f"{folder}/data",
        "IPYTHONDIR": f"{folder}/ipython",
    }


def first_page(usual: str, way: Way, note: bool) -> str:
    """The page that a server opens with: the note, where there is a way to show it."""
    if way.rescue and not usual.startswith("/lab"):
        usual = "/lab"  # there is no other interface in it
    if not note:
        return usual
    if usual.startswith("/lab"):
        return f"/lab/tree/{NOTE}"
    return f"/edit/{NOTE}" if usual.startswith("/tree") else usual


def note(way: Way, stories: list[Story]) -> str:
    """What the user reads after a start that was not as usual."""
    parts = []
    if way.rescue:
        parts.append(_RESCUE.format(what=cause(stories).what, repair=REPAIR))
    if way.safe and not (way.rescue and all(story.kind == "exited" for story in stories)):
        parts.append(_SAFE)
    if lines := next((story.lines for story in reversed(stories) if story.lines), []):
        parts.append("The last words of your server before:\n\n" + "".join(f"    {line}\n" for line in lines))
    parts.append("This file goes away automatically when your server starts as usual.\n")
    return "\n".join(parts)


_RESCUE = """\
# Your server runs in a rescue environment

{what}

So that you can reach your files, your server was started with the bare minimum: JupyterLab, a terminal and Python. Your files are all here. Packages
that were installed for everybody are not, so notebooks that need them do not run for now.

The admins of this hub see this. They repair it with

    {repair}

Afterwards, stop your server (File > Hub Control Panel > Stop My Server) and start it again.
"""

_SAFE = """\
# Your server was started without your own settings

It did not start with them. Left out, and kept as they are, were

- settings in `.jupyter`, `.ipython` and `.local/etc/jupyter`
- what you installed in `.local/lib` and `.local/share/jupyter`

All your other files are here as always. Most often the reason is the file that you changed last. In a terminal, put such a folder aside:

    mv ~/.jupyter ~/jupyter-put-aside

Afterwards, stop your server (File > Hub Control Panel > Stop My Server) and start it again.
"""


# What admins are told, on the hub's pages and by `tljh-install status`: a file, as it has to outlive a restart of the hub. A repair
# removes it, and so does the first server that starts as usual again.


def tell(path: Path, story: Story) -> bool:
    """Note down why servers start from the rescue environment; whether that is news."""
    before = told(path)
    if before is not None and before["cause"] == story.what:
        return False
    found = {"cause": story.what, "detail": _printable(story.lines[-1]) if story.lines else "", "since": int(time.time())}
    write_private(path, json.dumps(found).encode())
    return True


def _printable(line: str) -> str:
    """What a server wrote is shown to root on a terminal, and may be anything."""
    return "".join(letter for letter in line if letter.isprintable())[:300]


def told(path: Path) -> dict | None:
    """What admins have to know: cause, detail, since (seconds). None when all is well."""
    try:
        found = json.loads(path.read_bytes())
        return {"cause": str(found["cause"]), "detail": str(found["detail"]), "since": int(found["since"])}
    except OSError, ValueError, KeyError, TypeError:
        return None


def forget(path: Path, begun: float) -> bool:
    """A server that began at a time (in seconds) started as usual: what was told before is over."""
    found = told(path)
    if found is None or found["since"] > begun:
        return False
    path.unlink(missing_ok=True)
    return True

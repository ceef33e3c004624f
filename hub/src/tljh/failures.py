"""Why a user's server did not start, in words for its user and for an admin. From what the unit left behind."""

import html
import re
import signal
from dataclasses import dataclass, field

from jupyterhub.spawner import SpawnException

from tljh.systemd import State

_DISK = re.compile(r"No space left on device|Errno 28|Disk quota exceeded|Errno 122|database or disk is full", re.IGNORECASE)
_MEMORY = re.compile(r"MemoryError|Cannot allocate memory|Errno 12\b|std::bad_alloc", re.IGNORECASE)

ADMIN = "Please tell an admin of this hub."
REPAIR = f"{ADMIN} They repair it with: sudo tljh-install env repair"


@dataclass(frozen=True)
class Story:
    """What happened, what to do about it, and the lines that tell it."""

    kind: str
    what: str
    hint: str = ADMIN
    lines: list[str] = field(default_factory=list)


class SpawnFailure(SpawnException):
    """A start that failed for a reason that can be told. JupyterHub shows these words on its pages."""

    def __init__(self, story: Story, log_message: str | None = None):
        self.story = story
        words = f"{story.what} {story.hint}"
        rich = "<br>".join(html.escape(part) for part in (story.what, story.hint))
        if story.lines:
            rich += f'<pre style="text-align: left">{html.escape(chr(10).join(story.lines))}</pre>'
        super().__init__(words, reason=story.kind, message_html=rich, log_message=log_message or words, status_code=503)
        # The pages that show a failed start look for these names.
        self.jupyterhub_message = words
        self.jupyterhub_html_message = rich


def ended_early(unit: str, state: State, lines: list[str]) -> Story:
    """The story of a unit that ended before it answered."""
    text = "\n".join(lines)
    last = lines[-6:]
    admins = f"{ADMIN} They find more with: journalctl -u {unit}"
    if _DISK.search(text):
        return Story(
            "disk", "Your server could not start: there is no room left to write files.", f"Delete some files, or tell an admin of this hub. {admins}", last
        )
    if state.result == "oom-kill" or _MEMORY.search(text) or (state.code == "killed" and state.status == signal.SIGKILL):
        return Story("memory", "Your server could not start: the memory for it is too small, or used up.", admins, last)
    if state.result in ("exec-condition", "resources"):
        return Story("system", f"Your server could not start: the system refused it ({state.result}).", admins, last)
    return Story("exited", f"Your server ended while it was starting ({describe(state)}).", admins, last)


def describe(state: State) -> str:
    if state.code == "exited":
        return f"exit code {state.status}"
    if state.code in ("killed", "dumped"):
        try:
            return f"ended by {signal.Signals(state.status).name}"
        except ValueError:
            return f"ended by signal {state.status}"
    return state.result or "no reason given"


def hung(unit: str, seconds: float, lines: list[str]) -> Story:
    return Story("hung", f"Your server did not answer within {seconds:.0f} seconds.", f"{ADMIN} They find more with: journalctl -u {unit}", lines)


def environment_missing(program: str) -> Story:
    return Story("environment", f"The environment that all users share is broken: {program} is missing or cannot be run.", REPAIR)


def environment_broken(said: list[str]) -> Story:
    return Story("environment", "The environment that all users share is broken: the server program does not run.", REPAIR, said[-6:])


def environment_version(found: str, version: str) -> Story:
    return Story("environment", f"The environment that all users share has JupyterHub {found}, but this hub needs {version}.", REPAIR)

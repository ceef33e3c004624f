"""Reads config.yaml. Nothing here knows JupyterHub.

What the file says is for the installer's program to tell: it checks all of it, and gives every value in one form, so that there
are no two opinions of one file. A config that can't be used does not keep the hub from starting: it starts from the copy of the
last one that could (state/config.applied.yaml), or else lets in nobody new, and says so. The values of that one are kept as well
(state/config.applied.json), for when the program does not answer.
"""

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tljh.files import write_private
from tljh.paths import Paths

FIRST_USE = "firstuseauthenticator.FirstUseAuthenticator"


# Far more than the program takes, which is some hundredths of a second, even where a machine is starting everything at once.
PATIENCE = 30


class ConfigError(Exception):
    """Why a config can't be used: the key and what would be right. Never a value: it may be secret."""

    def __init__(self, *problems: str):
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class NoAnswer(Exception):
    """The installer's program can't be asked, and why."""


@dataclass
class Auth:
    type: str = FIRST_USE
    options: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Users:
    allowed: set[str] = field(default_factory=set)
    banned: set[str] = field(default_factory=set)
    admin: set[str] = field(default_factory=set)
    extra_user_groups: dict[str, list[str]] = field(default_factory=dict)
    account_prefix: str = "jupyter-"
    home_root: str = "/home"
    home_mode: str = "0700"
    namespaces: bool = False  # those who are no admins may make namespaces
    devices: str | list[str] = "auto"  # of the machine, for those who are no admins: auto, none, or paths and patterns
    setgid: bool = False  # those who are no admins may set the bits set-user-ID and set-group-ID
    first_login: str = "open"  # who chooses the password of a name that has none: firstlogin.MODES
    class_code: str = field(default="", repr=False)
    existing: bool = True  # who was added on the admin page may log in


@dataclass
class Limits:
    memory: int | str | None = "auto"  # bytes; auto is derived from the machine, None is no limit
    cpu: float | None = None
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)  # what is not there is left to a wider limit; None is no limit
    users: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, resource: str, user: str, groups: list[str]) -> Any:
        """A user's limit: the user's own, or else the largest of the user's groups', or else that for all."""
        found = self.special(resource, user, groups)
        return found[0] if found else getattr(self, resource)

    def special(self, resource: str, user: str, groups: list[str]) -> list[Any]:
        """The limit that a user has apart from others, which may be None; an empty list if there is none."""
        own = self.users.get(user, {})
        if resource in own:
            return [own[resource]]
        found = [self.groups[group][resource] for group in groups if resource in self.groups.get(group, {})]
        if not found:
            return []
        return [None if None in found else max(found)]


@dataclass
class SharedFolder:
    read: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)


@dataclass
class Pages:
    name: str = ""
    announcement: str = ""
    logo: str = ""


@dataclass
class Origins:
    """Where single-user servers are served: on a port or below a domain of their own, or where the hub is."""

    user_port: int = 0
    user_domain: str = ""

    @property
    def separate(self) -> bool:
        """Reports whether browsers keep the pages of single-user servers apart from the hub's."""
        return bool(self.user_port or self.user_domain)


@dataclass
class Cull:
    enabled: bool = True
    timeout: int = 3600
    every: int = 60
    concurrency: int = 5
    users: bool = False
    max_age: int = 0
    remove_named_servers: bool = False


@dataclass
class Config:
    base_url: str = "/"
    default_app: str = "jupyterlab"
    variables: dict[str, str] = field(default_factory=dict)
    own_extensions: bool = False  # servers load what their users have in their homes
    shared_folders: dict[str, SharedFolder] = field(default_factory=dict)
    pages: Pages = field(default_factory=Pages)
    origins: Origins = field(default_factory=Origins)
    auth: Auth = field(default_factory=Auth)
    users: Users = field(default_factory=Users)
    limits: Limits = field(default_factory=Limits)
    cull: Cull = field(default_factory=Cull)


@dataclass
class Loaded:
    """A config, and where the hub has to speak up: the problems that kept a newer one from being used."""

    config: Config
    text: str | None
    problems: list[str] = field(default_factory=list)
    values: dict[str, Any] | None = None  # what the program read in the text


def load(paths: Paths) -> Loaded:
    """The config to use now."""
    problems: list[str] = []
    for path in (paths.config, paths.applied):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if path == paths.config:
                problems.append(f"there is no {path}")
            continue
        except (OSError, UnicodeError) as error:
            problems.append(f"cannot read {path}: {error}")
            continue
        if path == paths.config and not text.strip() and says_something(paths.applied):
            problems.append(f"{path} is empty")
            continue
        try:
            values = ask_for_values(paths, text)
            return Loaded(of_values(values), text, problems, values)
        except ConfigError as error:
            problems += [f"{path} is not valid: {problem}" for problem in error.problems]
        except NoAnswer as error:
            # What was checked when it was put into effect can be read without the program.
            if (known := known_good(paths, text)) is not None:
                return Loaded(known, text, problems)
            problems.append(f"cannot check {path}: {error}")
    return Loaded(closed(), None, problems)


def says_something(path: Path) -> bool:
    try:
        return bool(path.read_bytes().strip())
    except OSError:
        return False


def closed(admins: set[str] = frozenset(), banned: set[str] = frozenset()) -> Config:
    """For when no config can be used: nobody but these admins may log in anew. Whom an older config would keep out, nothing tells."""
    return Config(users=Users(admin=set(admins), banned=set(banned), existing=False))


def known_good(paths: Paths, text: str) -> Config | None:
    """A config that is, byte by byte, the last one that the hub worked with."""
    try:
        kept = json.loads(paths.applied_values.read_bytes())
        return of_values(kept["config"]) if kept["sha256"] == sha256(text) else None
    except OSError, LookupError, TypeError, ValueError, AttributeError, ConfigError:
        return None


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def last_good(paths: Paths) -> tuple[Config, str] | None:
    """The last config that the hub worked with and its text, if it can be used still."""
    try:
        text = paths.applied.read_text(encoding="utf-8")
        try:
            return read(paths, text), text
        except NoAnswer:
            known = known_good(paths, text)
            return (known, text) if known is not None else None
    except OSError, UnicodeError, ConfigError:
        return None


def remember(paths: Paths, loaded: Loaded) -> None:
    """Keep a config that the hub has started with as the last good one."""
    if loaded.text is None or loaded.problems:
        return
    data = loaded.text.encode()
    if not paths.applied.exists() or paths.applied.read_bytes() != data:
        write_private(paths.applied, data)
    if loaded.values is not None and known_good(paths, loaded.text) is None:
        write_private(paths.applied_values, json.dumps({"sha256": sha256(loaded.text), "config": loaded.values}).encode())


def tell(paths: Paths, loaded: Loaded) -> None:
    """Leave word for the installer of what keeps the hub from running with the newest config."""
    if not loaded.problems:
        paths.problems.unlink(missing_ok=True)
        return
    using = "the last config that worked" if loaded.text is not None else "no config: only admins can log in anew"
    write_private(paths.problems, json.dumps({"problems": loaded.problems, "using": using}).encode())


def admins_before(paths: Paths) -> set[str]:
    """The admins of the last good config."""
    found = last_good(paths)
    return set(found[0].users.admin) if found else set()


def read(paths: Paths, text: str) -> Config:
    """The config that a text says; ConfigError if any of it can't be used, NoAnswer if that can't be told."""
    return of_values(ask_for_values(paths, text))


def ask_for_values(paths: Paths, text: str) -> dict[str, Any]:
    told = ask(paths, text)
    if not told["valid"]:
        raise ConfigError(*(str(problem) for problem in told["problems"]))
    return told["config"]


def ask(paths: Paths, text: str) -> dict[str, Any]:
    """What the installer's program reads in a config: {"valid": bool, "problems": [words], "config": {all values}}."""
    command = [str(paths.program), "config", "for-hub"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"no answer within {PATIENCE} seconds"
        raise NoAnswer(f"{paths.program}: {reason}") from None
    try:
        if done.returncode:
            raise ValueError(f"exit code {done.returncode}")
        told = json.loads(done.stdout)
        if not isinstance(told["valid"], bool) or not isinstance(told["config" if told["valid"] else "problems"], dict | list):
            raise ValueError("an answer of another form")
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) if str(error).startswith("exit code") else "an answer that cannot be read"
        raise NoAnswer(f"{paths.program}: {reason}") from None
    return told


def of_values(values: dict[str, Any]) -> Config:
    """The config that the program's values say. One that is not there, as in an answer of another release, has its default."""
    environment, hub = values.get("user_environment", {}), values.get("hub", {})
    return made(
        Config,
        {
            **values,
            **environment,
            "shared_folders": {name: made(SharedFolder, folder) for name, folder in values.get("shared_folders", {}).items()},
            "pages": made(Pages, hub),
            "origins": made(Origins, hub),
            "auth": auth(values.get("auth", {})),
            "users": made(Users, values.get("users", {}), allowed=set, banned=set, admin=set),
            "limits": made(Limits, values.get("limits", {})),
            "cull": made(Cull, values.get("services", {}).get("cull", {})),
        },
    )


def auth(section: dict[str, Any]) -> Auth:
    """Beside the type, the section has options by the names of classes."""
    return Auth(section.get("type", FIRST_USE), {name: options for name, options in section.items() if name[:1].isupper()})


def made[T](cls: type[T], values: dict[str, Any], **forms: Callable[[Any], Any]) -> T:
    """An object whose fields have the values of their names, some in another form."""
    names = [each.name for each in fields(cls) if each.name in values]
    return cls(**{name: forms[name](values[name]) if name in forms else values[name] for name in names})


AUTO = "auto"

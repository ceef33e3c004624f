"""Reads config.yaml. Nothing here knows JupyterHub.

What the file says is for the installer's program to tell: it checks all of it, and gives every value in one form, so that there
are no two opinions of one file. A config that can't be used does not keep the hub from starting: it starts from the copy of the
last one that could (state/config.applied.yaml), or else lets in nobody new, and says so.
"""

import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

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
    memory: int | str | None = "auto"  # derived from the machine; None is no limit
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
        return [None if None in found else max(found, key=amount)]


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
            return Loaded(read(paths, text), text, problems)
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
        return parse(text) if paths.applied.read_text(encoding="utf-8") == text else None
    except OSError, UnicodeError, ConfigError:
        return None


def last_good(paths: Paths) -> tuple[Config, str] | None:
    """The last config that the hub worked with and its text, if it can be used still."""
    try:
        text = paths.applied.read_text(encoding="utf-8")
        try:
            return read(paths, text), text
        except NoAnswer:
            return parse(text), text
    except OSError, UnicodeError, ConfigError:
        return None


def remember(paths: Paths, loaded: Loaded) -> None:
    """Keep a config that the hub has started with as the last good one."""
    if loaded.text is None or loaded.problems:
        return
    data = loaded.text.encode()
    if not paths.applied.exists() or paths.applied.read_bytes() != data:
        write_private(paths.applied, data)


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
    told = ask(paths, text)
    if not told["valid"]:
        raise ConfigError(*(str(problem) for problem in told["problems"]))
    return of_tree(told["config"])


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


def parse(text: str) -> Config:
    """The config that a text says which was found valid before; ConfigError if any of it can't be used."""
    try:
        tree = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # Neither the line nor what is said of its surroundings: it may hold a secret.
        raise ConfigError(f"{where}this is not YAML") from None
    except yaml.YAMLError, ValueError, RecursionError:
        raise ConfigError("this is not YAML") from None
    return of_tree({} if tree is None else tree)


def of_tree(tree: Any) -> Config:
    """The config that sections within sections say. Keys that are not the hub's are passed over."""
    top = Node("", tree)
    return Config(
        base_url=base_url(top.get("base_url", text_value, "/")),
        default_app=top.section("user_environment").get("default_app", text_value, "jupyterlab"),
        variables=variables(top.section("user_environment").section("variables")),
        own_extensions=top.section("user_environment").get("own_extensions", bool_value, False),
        shared_folders=shared_folders(top.section("shared_folders")),
        pages=pages(top.section("hub")),
        origins=origins(top.section("hub")),
        auth=auth(top.section("auth")),
        users=users(top.section("users")),
        limits=limits(top.section("limits")),
        cull=cull(top.section("services").section("cull")),
    )


class Node:
    """A mapping of the file, with the way that leads to it for messages."""

    def __init__(self, where: str, value: Any):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ConfigError(f"{where or 'the file'} must hold keys and values")
        self.where, self.value = where, value

    def at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def section(self, key: str) -> Node:
        value = self.value.get(key)
        return Node(self.at(key), {} if value is None else value)

    def get[T](self, key: str, read: Callable[[str, Any], T], default: T) -> T:
        value = self.value.get(key)
        return default if value is None else read(self.at(key), value)


def text_value(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be text")
    return value


def folder_value(where: str, value: Any) -> str:
    text = text_value(where, value)
    if not text.startswith("/") or text.strip("/") == "":
        raise ConfigError(f"{where} must be the absolute path of a folder")
    return text


def bool_value(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false")
    return value


def int_value(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{where} must be a whole number")
    return value


def cpu_value(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{where} must be a number of cores above 0")
    return float(value)


def memory_value(where: str, value: Any) -> int | str:
    """Bytes, or a number with K, M, G or T behind it, as JupyterHub reads it."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    text = str(value).strip() if isinstance(value, str) else ""
    number, unit = text[:-1], text[-1:]
    try:
        good = unit in ("K", "M", "G", "T") and math.isfinite(float(number)) and float(number) > 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{where} must be a size such as 1G or 512M")
    return text


def names_value(where: str, value: Any) -> list[str]:
    """Names of users, in small letters as the hub keeps them. A bare number is a name, too: student 1234."""
    if not isinstance(value, list) or any(isinstance(item, bool) or not isinstance(item, str | int) for item in value):
        raise ConfigError(f"{where} must be a list of names")
    return [item if str(item).startswith("group:") else str(item).lower() for item in value]


def devices_value(where: str, value: Any) -> str | list[str]:
    if value in ("auto", "none"):
        return value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where} must be auto, none or a list of devices")
    return value


def base_url(value: str) -> str:
    inner = value.strip("/")
    return f"/{inner}/" if inner else "/"


def auth(node: Node) -> Auth:
    options = {key: node.section(key).value for key in node.value if key != "type" and key[:1].isupper()}
    return Auth(type=node.get("type", text_value, FIRST_USE), options=options)


def users(node: Node) -> Users:
    groups = node.section("extra_user_groups")
    return Users(
        allowed=set(node.get("allowed", names_value, [])),
        banned=set(node.get("banned", names_value, [])),
        admin=set(node.get("admin", names_value, [])),
        extra_user_groups={group: groups.get(group, names_value, []) for group in groups.value},
        account_prefix=node.get("account_prefix", text_value, "jupyter-"),
        home_root=node.get("home_root", folder_value, "/home"),
        home_mode=node.get("home_mode", text_value, "0700"),
        namespaces=node.get("namespaces", bool_value, False),
        devices=node.get("devices", devices_value, AUTO),
        setgid=node.get("setgid", bool_value, False),
        first_login=node.get("first_login", text_value, "open"),
        class_code=node.get("class_code", text_value, ""),
    )


def limits(node: Node) -> Limits:
    groups, people = node.section("groups"), node.section("users")
    return Limits(
        memory=auto_or_memory(node),
        cpu=node.get("cpu", cpu_value, None),
        groups={group: limit(groups.section(group)) for group in groups.value},
        users={name.lower(): limit(people.section(name)) for name in people.value},
    )


AUTO = "auto"


def auto_or_memory(node: Node) -> int | str | None:
    """The limit for all. Here, null is an answer, too."""
    value = node.value.get("memory", AUTO)
    return value if value in (AUTO, None) else memory_value(node.at("memory"), value)


def limit(node: Node) -> dict[str, Any]:
    """A limit for some users. Here, null is an answer: none."""
    readers = {"memory": memory_value, "cpu": cpu_value}
    return {key: node.get(key, readers[key], None) for key in node.value if key in readers}


_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def amount(value: float | str) -> float:
    """A limit as a number, to compare."""
    return float(value[:-1]) * _UNITS[value[-1]] if isinstance(value, str) else float(value)


def variables(node: Node) -> dict[str, str]:
    return {name: node.get(name, text_value, "") for name in node.value if node.value[name] is not None}


def shared_folders(node: Node) -> dict[str, SharedFolder]:
    def one(inner: Node) -> SharedFolder:
        return SharedFolder(inner.get("read", names_value, []), inner.get("write", names_value, []))

    return {name: one(node.section(name)) for name in node.value}


def pages(node: Node) -> Pages:
    return Pages(*(node.get(key, text_value, "") for key in ("name", "announcement", "logo")))


def origins(node: Node) -> Origins:
    return Origins(node.get("user_port", int_value, 0), node.get("user_domain", text_value, "").lower())


def cull(node: Node) -> Cull:
    default = Cull()
    numbers = {key: node.get(key, int_value, getattr(default, key)) for key in ("timeout", "every", "concurrency", "max_age")}
    switches = {key: node.get(key, bool_value, getattr(default, key)) for key in ("enabled", "users", "remove_named_servers")}
    return Cull(**numbers, **switches)

"""Reads config.yaml. Nothing here knows JupyterHub.

The file is checked as a whole before it is used. One that can't be used does not keep the hub from starting: it starts from
the copy of the last one that could (state/config.applied.yaml), or with defaults, and says so. Reporting problems with
their lines is the installer's business; here one reason is enough.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from tljh.files import write_private
from tljh.paths import Paths

FIRST_USE = "firstuseauthenticator.FirstUseAuthenticator"


class ConfigError(Exception):
    """Why a config can't be used: the key and what would be right."""


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


@dataclass
class Limits:
    memory: int | str | None = None
    cpu: float | None = None
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)  # what is not there is left to a wider limit; None is no limit
    users: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, resource: str, user: str, groups: list[str]) -> Any:
        """A user's limit: the user's own, or else the largest of the user's groups', or else that for all."""
        own = self.users.get(user, {})
        if resource in own:
            return own[resource]
        found = [self.groups[group][resource] for group in groups if resource in self.groups.get(group, {})]
        if found:
            return None if None in found else max(found, key=amount)
        return getattr(self, resource)


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
class Cull:
    enabled: bool = True
    timeout: int = 600
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
    shared_folders: dict[str, SharedFolder] = field(default_factory=dict)
    pages: Pages = field(default_factory=Pages)
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
    problems = []
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
        try:
            return Loaded(parse(text), text, problems)
        except ConfigError as error:
            problems.append(f"{path} is not valid: {error}")
    return Loaded(Config(), None, problems)


def remember(paths: Paths, loaded: Loaded) -> None:
    """Keep a config that the hub has started with as the last good one."""
    if loaded.text is None or loaded.problems:
        return
    data = loaded.text.encode()
    if not paths.applied.exists() or paths.applied.read_bytes() != data:
        write_private(paths.applied, data)


def admins_before(paths: Paths) -> set[str]:
    """The admins of the last good config."""
    try:
        return set(parse(paths.applied.read_text(encoding="utf-8")).users.admin)
    except OSError, UnicodeError, ConfigError:
        return set()


def parse(text: str) -> Config:
    """The config that a YAML text says; ConfigError if any of it can't be used. Keys that are not the hub's are passed over."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(" ".join(str(error).split())) from error
    top = Node("", {} if tree is None else tree)
    return Config(
        base_url=base_url(top.get("base_url", text_value, "/")),
        default_app=top.section("user_environment").get("default_app", text_value, "jupyterlab"),
        variables=variables(top.section("user_environment").section("variables")),
        shared_folders=shared_folders(top.section("shared_folders")),
        pages=pages(top.section("hub")),
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
        raise ConfigError(f"{where} must be text, not {value!r}")
    return value


def folder_value(where: str, value: Any) -> str:
    text = text_value(where, value)
    if not text.startswith("/") or text.strip("/") == "":
        raise ConfigError(f"{where} must be the absolute path of a folder, not {value!r}")
    return text


def bool_value(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false, not {value!r}")
    return value


def int_value(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{where} must be a whole number, not {value!r}")
    return value


def cpu_value(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{where} must be a number of cores above 0, not {value!r}")
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
        raise ConfigError(f"{where} must be a size such as 1G or 512M, not {value!r}")
    return text


def names_value(where: str, value: Any) -> list[str]:
    """Names of users, in small letters as the hub keeps them. A bare number is a name, too: student 1234."""
    if not isinstance(value, list) or any(isinstance(item, bool) or not isinstance(item, str | int) for item in value):
        raise ConfigError(f"{where} must be a list of names")
    return [item if str(item).startswith("group:") else str(item).lower() for item in value]


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
    )


def limits(node: Node) -> Limits:
    groups, people = node.section("groups"), node.section("users")
    return Limits(
        memory=node.get("memory", memory_value, None),
        cpu=node.get("cpu", cpu_value, None),
        groups={group: limit(groups.section(group)) for group in groups.value},
        users={name.lower(): limit(people.section(name)) for name in people.value},
    )


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


def cull(node: Node) -> Cull:
    default = Cull()
    numbers = {key: node.get(key, int_value, getattr(default, key)) for key in ("timeout", "every", "concurrency", "max_age")}
    switches = {key: node.get(key, bool_value, getattr(default, key)) for key in ("enabled", "users", "remove_named_servers")}
    return Cull(**numbers, **switches)

"""conda's settings: the files they are looked for in, the variables that come before them, and what holds without either."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda_standin.errors import CondaError

# Where no alias is set, conda knows a public one. This one leads nowhere, so that no test can reach anything by accident.
NO_ALIAS = "http://no-channel-alias.invalid"

LISTS = ("channels", "pkgs_dirs", "envs_dirs", "default_channels", "create_default_packages", "pinned_packages")
FLAGS = ("offline", "always_yes", "json", "quiet", "override_channels_enabled", "add_pip_as_python_dependency")
NUMBERS = ("remote_max_retries", "remote_backoff_factor", "remote_connect_timeout_secs", "remote_read_timeout_secs", "fetch_threads")
TEXTS = ("channel_alias", "channel_priority", "ssl_verify", "solver", "default_activation_env")
ALIASES = {"channel": "channels", "envs_path": "envs_dirs", "verify_ssl": "ssl_verify", "yes": "always_yes"}
# A list of folders in a variable has the separator of PATH, another one commas.
FOLDERS = ("pkgs_dirs", "envs_dirs")


@dataclass
class Settings:
    root: str  # the base environment that this program belongs to
    channels: list[str] = field(default_factory=list)
    channel_alias: str = NO_ALIAS
    channel_priority: str = "flexible"
    default_activation_env: str = "base"
    pkgs_dirs: list[str] = field(default_factory=list)
    envs_dirs: list[str] = field(default_factory=list)
    proxy_servers: dict[str, str] = field(default_factory=dict)
    pinned_packages: list[str] = field(default_factory=list)
    create_default_packages: list[str] = field(default_factory=list)
    ssl_verify: bool | str = True
    offline: bool = False
    always_yes: bool = False
    add_pip_as_python_dependency: bool = True
    remote_max_retries: int = 3
    remote_backoff_factor: float = 1
    remote_connect_timeout_secs: float = 9.15
    remote_read_timeout_secs: float = 60
    fetch_threads: int = 5
    sources: list[str] = field(default_factory=list)  # the files that were read


def search_path(root: str, environ: Mapping[str, str]) -> list[Path]:
    """The places of settings; the later ones win."""
    home = Path(environ.get("HOME") or "/nonexistent")
    folders = [Path("/etc/conda"), Path("/var/lib/conda"), Path(root)]
    folders.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "conda")
    folders.append(home / ".conda")
    places = [place for folder in folders for place in (folder / ".condarc", folder / "condarc", folder / "condarc.d")]
    places.append(home / ".condarc")
    if active := environ.get("CONDA_PREFIX"):
        places += [Path(active) / name for name in (".condarc", "condarc", "condarc.d")]
    if named := environ.get("CONDARC"):
        places.append(Path(named).expanduser())
    return list(dict.fromkeys(places))


def files(places: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for place in places:
        try:
            if place.is_dir():
                found += sorted(each for each in place.iterdir() if each.suffix in (".yml", ".yaml"))
            elif place.is_file() and os.access(place, os.R_OK):
                found.append(place)
        except PermissionError:
            continue  # another account's home
    return found


def read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise CondaError("ConfigurationLoadError", f"Unable to load configuration file.\n  path: {path}\n  reason: invalid yaml: {error}\n") from error
    if not isinstance(data, dict):
        raise CondaError("ConfigurationLoadError", f"Unable to load configuration file.\n  path: {path}\n  reason: no mapping\n")
    return {str(ALIASES.get(key, key)): value for key, value in data.items()}


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith("CONDA_") or not text:
            continue
        key = name.removeprefix("CONDA_").lower()
        key = ALIASES.get(key, key)
        if key in LISTS:
            separator = os.pathsep if key in FOLDERS else ","
            found[key] = [part.strip() for part in text.split(separator) if part.strip()]
        elif key in (*FLAGS, *NUMBERS, *TEXTS):
            found[key] = text
    return found


def merge(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of plain values the last layer's holds; lists are joined, with the last layer's items first; of mappings each key counts for itself."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if value is None:
                continue
            if key in LISTS:
                mine = [value] if isinstance(value, str) else list(value)
                merged[key] = list(dict.fromkeys([*map(str, mine), *merged.get(key, [])]))
            elif isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            else:
                merged[key] = value
    return merged


def boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}.get(str(value).strip().lower())


def number(key: str, value: Any) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise CondaError("CustomValidationError", f"Parameter {key} = {value!r} is no number.\n") from error


def load(root: str, environ: Mapping[str, str]) -> Settings:
    found = files(search_path(root, environ))
    values = merge([*map(read, found), from_environment(environ)])
    settings = Settings(root=root, sources=[str(each) for each in found])
    for key in ("channels", "pkgs_dirs", "envs_dirs", "pinned_packages", "create_default_packages"):
        setattr(settings, key, values.get(key, []))
    for key in ("channel_alias", "channel_priority", "default_activation_env"):
        setattr(settings, key, str(values.get(key, getattr(settings, key))))
    for key in ("offline", "always_yes", "add_pip_as_python_dependency"):
        setattr(settings, key, bool(boolean(values.get(key, getattr(settings, key)))))
    for key in NUMBERS:
        given = number(key, values.get(key, getattr(settings, key)))
        setattr(settings, key, int(given) if key in ("remote_max_retries", "fetch_threads") else given)
    settings.proxy_servers = {str(key): str(value) for key, value in values.get("proxy_servers", {}).items() if value}
    verify = values.get("ssl_verify", True)
    flag = boolean(verify)
    settings.ssl_verify = os.path.expanduser(str(verify)) if flag is None else flag
    complete_folders(settings, environ)
    return settings


def complete_folders(settings: Settings, environ: Mapping[str, str]) -> None:
    home = environ.get("HOME") or "/nonexistent"
    expand = lambda folders: [os.path.abspath(os.path.expanduser(os.path.expandvars(each))) for each in folders]  # noqa: E731
    settings.pkgs_dirs = expand(settings.pkgs_dirs) or [f"{settings.root}/pkgs", f"{home}/.conda/pkgs"]
    here, own = f"{settings.root}/envs", f"{home}/.conda/envs"
    usual = [here, own] if os.access(settings.root, os.W_OK) else [own, here]
    settings.envs_dirs = list(dict.fromkeys([*expand(settings.envs_dirs), *usual]))


def certificates(settings: Settings, environ: Mapping[str, str]) -> bool | str:
    """What servers' certificates are held against."""
    if settings.ssl_verify is not True and settings.ssl_verify != "truststore":
        return settings.ssl_verify
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if path := environ.get(variable):
            return path
    return True

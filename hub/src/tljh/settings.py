"""config.yaml as the hub needs it. What may stand there, and what is wrong with a file, is the Go package config's business;
this module is lenient, because a hub that starts with part of a config beats one that does not start."""

import logging

import yaml

from . import paths

log = logging.getLogger("tljh")

FIRST_USE = "firstuseauthenticator.FirstUseAuthenticator"

DEFAULTS = {
    "base_url": "/",
    "auth": {"type": FIRST_USE},
    "users": {"allowed": [], "banned": [], "admin": [], "extra_user_groups": {}},
    "limits": {"memory": None, "cpu": None},
    "user_environment": {"default_app": "jupyterlab"},
    "services": {
        "cull": {
            "enabled": True,
            "timeout": 600,
            "every": 60,
            "concurrency": 5,
            "users": False,
            "max_age": 0,
            "remove_named_servers": False,
        }
    },
}

DEFAULT_URLS = {"jupyterlab": "/lab", "notebook": "/tree", "classic": "/tree"}


class Unusable(Exception):
    """Why a file is no config."""


def parse(data):
    """The settings in the bytes of a YAML file, over the defaults."""
    try:
        loaded = yaml.safe_load(data.decode())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unusable(f"not readable as YAML: {error}") from error
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict):
        raise Unusable("not a mapping of keys to values")
    return merged(DEFAULTS, loaded, "")


def merged(base, over, where):
    """`over` over `base`. A section of the wrong type is an error; an empty one, as in `users:`, says nothing."""
    result = {}
    for key in {**base, **over}:
        default, value = base.get(key), over.get(key)
        if isinstance(default, dict) and default is not DEFAULTS["users"]["extra_user_groups"]:
            if value is not None and not isinstance(value, dict):
                raise Unusable(f"{where}{key} must hold keys and values")
            result[key] = merged(default, value or {}, f"{where}{key}.")
        elif value is None and default is not None:
            result[key] = default
        elif isinstance(default, list) and not isinstance(value, list):
            raise Unusable(f"{where}{key} must be a list")
        else:
            result[key] = value
    return result


def load():
    """The settings to start with, and, when they are not those of config.yaml, why."""
    try:
        data = paths.CONFIG.read_bytes()
    except FileNotFoundError:
        return parse(b""), "there is no config.yaml"
    try:
        settings = parse(data)
    except Unusable as error:
        return last_good(), f"{paths.CONFIG} is {error}"
    keep(data)
    return settings, None


def last_good():
    try:
        return parse(paths.APPLIED.read_bytes())
    except (FileNotFoundError, Unusable):
        return parse(b"")


def keep(data):
    """Keep a config that could be read, for the day when the next can't."""
    try:
        if not paths.APPLIED.exists() or paths.APPLIED.read_bytes() != data:
            paths.write_durably(paths.APPLIED, data)
    except OSError as error:
        log.error("Cannot keep a copy of the config: %s", error)


def names(values):
    return {str(value).lower() for value in values or []}

"""Reads configs as the hub does, with PyYAML: a JSON string a line in, what is read of it as JSON out. Its one argument is the
folder of the hub's own package, which is asked as well where this Python can load it."""

import json
import sys

import yaml

sys.path.insert(0, sys.argv[1])
try:
    from tljh import settings
except Exception:  # it is written for the hub's Python, which may be newer
    settings = None

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
CULL = {"enabled": True, "timeout": 600, "every": 60, "concurrency": 5, "users": False, "max_age": 0, "remove_named_servers": False}


def size(value):
    """What JupyterHub makes of a size."""
    if value is None or isinstance(value, int | float):
        return value if value is None else int(value)
    return int(float(value[:-1]) * UNITS[value[-1]])


def given(tree, key, default):
    value = (tree or {}).get(key)
    return default if value is None else value


def names(values):
    return [name.lower() for name in values or []]


def read(text):
    if settings is not None:
        settings.parse(text)
    tree = yaml.safe_load(text)
    users, limits, cull = given(tree, "users", {}), given(tree, "limits", {}), given(given(tree, "services", {}), "cull", {})
    auth = given(tree, "auth", {})
    return {
        "base_url": "/" + given(tree, "base_url", "/").strip("/"),
        "type": given(auth, "type", "firstuse"),
        "options": {name: value for name, value in auth.items() if isinstance(value, dict) and value},
        "lists": {name: sorted(set(names(users.get(name)))) for name in ("allowed", "banned", "admin")},
        "groups": {group: names(members) for group, members in given(users, "extra_user_groups", {}).items()},
        "memory": size(limits.get("memory")),
        "cpu": None if limits.get("cpu") is None else float(limits["cpu"]),
        "http": given(tree, "http", {}),
        "default_app": given(given(tree, "user_environment", {}), "default_app", "jupyterlab"),
        "cull": {key: given(cull, key, default) for key, default in CULL.items()},
    }


for line in sys.stdin:
    try:
        answer = read(json.loads(line))
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=repr), flush=True)

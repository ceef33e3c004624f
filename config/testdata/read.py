"""Reads configs with the hub's own code: a JSON object a line in, {"text": a config, "told": what the hub is told of it}, and what the hub makes of it as
JSON out, {"hub": of what it was told, "yaml": of the text, as when there is nobody to ask}. Its one argument is the folder of the hub's package."""

import dataclasses
import json
import math
import sys

sys.path.insert(0, sys.argv[1])

from tljh import settings
from tljh.paths import Paths


def plain(value):
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, set):
        return sorted(value)
    return value


def sizes(limit):
    """What JupyterHub makes of sizes."""
    return {key: int(settings.amount(value)) if key == "memory" and value not in (None, "auto") else value for key, value in limit.items()}


def attempt(read):
    try:
        config = plain(read())
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    limits = config["limits"]
    config["limits"] = sizes({"memory": limits["memory"], "cpu": limits["cpu"]}) | {
        who: {name: sizes(limit) for name, limit in limits[who].items()} for who in ("groups", "users")
    }
    return {"config": config}


def answer(text, told):
    settings.ask = lambda paths, text: told
    return {"hub": attempt(lambda: settings.read(Paths.here(), text)), "yaml": attempt(lambda: settings.parse(text))}


for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line)), default=repr), flush=True)

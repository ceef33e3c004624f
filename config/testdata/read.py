"""Reads configs with the hub's own code: what the hub is told of a config in, as JSON, one a line, and what it makes of it out.

Its one argument is the folder of the hub's package.
"""

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


def attempt(told):
    settings.ask = lambda paths, text: told
    try:
        return {"config": plain(settings.read(Paths.here(), ""))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    print(json.dumps(attempt(json.loads(line)), default=repr), flush=True)

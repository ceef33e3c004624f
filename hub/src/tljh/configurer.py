"""`from tljh.configurer import load_config`, which plugins of the older TLJH read settings with."""

from typing import Any

import yaml

from tljh.paths import Paths


def load_config(config_file: str | None = None) -> dict[str, Any]:
    """The settings that are in effect, or those of a file. A key that is not set is not in it."""
    path = Paths.here().applied if config_file is None else config_file
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.safe_load(file) or {}
    except FileNotFoundError:
        return {}


def apply_config(config_overrides: dict[str, Any], c: Any) -> None:
    """The hub has done what config.yaml says before it calls a plugin."""

"""Paths under the names that plugins of the older TLJH import them by. The hub itself takes tljh.paths."""

from tljh.paths import Paths

_HERE = Paths.here()

INSTALL_PREFIX = str(_HERE.root)
HUB_ENV_PREFIX = str(_HERE.root / "hub")
USER_ENV_PREFIX = str(_HERE.root / "user")
STATE_DIR = str(_HERE.state)
CONFIG_DIR = str(_HERE.config.parent)
CONFIG_FILE = str(_HERE.config)

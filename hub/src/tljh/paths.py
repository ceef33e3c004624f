"""Where things are. TLJH_ROOT moves the installation's folder, for tests."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("TLJH_ROOT", "/opt/tljh"))
CONFIG = ROOT / "config" / "config.yaml"
CONFIG_D = ROOT / "config" / "jupyterhub_config.d"
STATE = ROOT / "state"
USER_ENV = ROOT / "user"
PASSWORDS = STATE / "passwords.sqlite"
APPLIED = STATE / "config.applied.yaml"
PROXY_ENV = STATE / "proxy.env"
INSTALLER_TOKEN = STATE / "installer.token"
SOCKETS = Path("/run/tljh/users")

HUB_PORT = 971
PROXY_PORT = 972
PROXY_API_PORT = 973

ADMINS_GROUP = "jupyterhub-admins"
USERS_GROUP = "jupyterhub-users"
PROXY_GROUP = "tljh-proxy"
USERS_SLICE = "tljh-users.slice"

# The user that an installation proves itself with; it never logs in.
PROBE_USER = "tljh-probe"


def write_durably(path, data, mode=0o600):
    """Replace a file so that a reader, or a power cut, meets the old or the new contents, never a part."""
    part = path.with_name(f".{path.name}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data)
        file.flush()
        os.fsync(fd)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

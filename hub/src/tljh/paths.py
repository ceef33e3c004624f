"""Where things lie. TLJH_ROOT moves all of /opt/tljh, for tests."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    root: Path

    @classmethod
    def here(cls) -> Paths:
        return cls(Path(os.environ.get("TLJH_ROOT", "/opt/tljh")))

    @property
    def config(self) -> Path:
        return self.root / "config/config.yaml"

    @property
    def config_d(self) -> Path:
        return self.root / "config/jupyterhub_config.d"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def applied(self) -> Path:
        return self.state / "config.applied.yaml"

    @property
    def applied_values(self) -> Path:
        """What the installer's program read in the applied config, and for which one."""
        return self.state / "config.applied.json"

    @property
    def problems(self) -> Path:
        return self.state / "config.problems.json"

    @property
    def snippets(self) -> Path:
        """What is known of the files in jupyterhub_config.d, and which of them are not used."""
        return self.state / "snippets.json"

    @property
    def program(self) -> Path:
        return self.root / "bin/tljh-install"

    @property
    def database(self) -> Path:
        return self.state / "jupyterhub.sqlite"

    @property
    def cookie_secret(self) -> Path:
        return self.state / "jupyterhub_cookie_secret"

    @property
    def proxy_env(self) -> Path:
        return self.state / "proxy.env"

    @property
    def edge_env(self) -> Path:
        return self.state / "edge.env"

    @property
    def servers_env(self) -> Path:
        """The variables that servers get of the network and of package sources: an object of JSON."""
        return self.state / "servers.json"

    @property
    def installer_token(self) -> Path:
        return self.state / "installer.token"

    @property
    def passwords(self) -> Path:
        return self.state / "passwords.sqlite"

    @property
    def break_glass(self) -> Path:
        return self.state / "break-glass.json"

    @property
    def shims(self) -> Path:
        return self.root / "shims"

    @property
    def rescue_told(self) -> Path:
        return self.state / "rescue.json"

    @property
    def groups(self) -> Path:
        """The groups that the hub made, a line each."""
        return self.state / "groups"

    @property
    def user_bin(self) -> Path:
        return self.root / "user/bin"

    @property
    def rescue(self) -> Path:
        """Of the generation that is live now: a server that runs in it must not slip into the next."""
        return (self.root / "hub").resolve() / "rescue"


# Outside of /opt/tljh: what lives as long as the machine is up. All of it is root's.
SOCKETS = Path("/run/tljh/sockets")
ENVIRONMENTS = Path("/run/tljh/env")

# The hub user that an installation proves itself with.
PROBE_USER = "tljh-probe"

# What proxy_env assigns the token of the proxy's API to.
PROXY_TOKEN = "CONFIGPROXY_AUTH_TOKEN"  # noqa: S105 - a name

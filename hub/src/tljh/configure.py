"""Turns settings into JupyterHub's configuration."""

import importlib
import logging
import sys

from traitlets import TraitError

from . import paths, settings
from .notify import notify

log = logging.getLogger("tljh")


def configure(c, conf):
    """Fill the configuration object `c` from the settings `conf`."""
    hub(c, conf)
    authentication(c, conf)
    spawner(c, conf)
    services(c, conf)


def hub(c, conf):
    base = "/" + str(conf["base_url"]).strip("/")
    c.JupyterHub.bind_url = f"http://127.0.0.1:{paths.PROXY_PORT}{base}"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{paths.HUB_PORT}"
    c.JupyterHub.hub_connect_url = f"http://127.0.0.1:{paths.HUB_PORT}"
    c.JupyterHub.db_url = f"sqlite:///{paths.STATE}/jupyterhub.sqlite"
    c.JupyterHub.cookie_secret_file = str(paths.STATE / "jupyterhub_cookie_secret")
    # Users' servers and the way to them outlive a restart of the hub.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.JupyterHub.concurrent_spawn_limit = 50
    c.JupyterHub.allow_named_servers = False
    # The journal has the time already.
    c.JupyterHub.log_format = "%(levelname)s %(name)s: %(message)s"
    c.JupyterHub.proxy_class = "tljh.proxy.WatchedProxy"
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{paths.PROXY_API_PORT}"
    c.ConfigurableHTTPProxy.auth_token = proxy_token()


def proxy_token():
    for line in paths.PROXY_ENV.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "CONFIGPROXY_AUTH_TOKEN":
            return value.strip()
    raise SystemExit(f"{paths.PROXY_ENV} holds no token; run: tljh-install install")


# The short and the older names of our own authenticator.
FIRST_USE_NAMES = {settings.FIRST_USE, "firstuse", "firstuseauthenticator"}
OURS = "tljh.auth.FirstUseAuthenticator"


def authentication(c, conf):
    auth, users = conf["auth"], conf["users"]
    kind = auth.get("type") or settings.FIRST_USE
    c.JupyterHub.authenticator_class = OURS if kind in FIRST_USE_NAMES else kind
    for name, options in auth.items():
        if name != "type" and isinstance(options, dict):
            for option, value in options.items():
                setattr(getattr(c, name), option, value)
    c.Authenticator.allowed_users = settings.names(users["allowed"])
    c.Authenticator.blocked_users = settings.names(users["banned"])
    c.Authenticator.admin_users = settings.names(users["admin"])
    c.Authenticator.allow_existing_users = True


def spawner(c, conf):
    c.JupyterHub.spawner_class = "tljh.spawner.UserSpawner"
    c.UserSpawner.unit_name_template = "{USERNAME}"
    c.UserSpawner.slice = paths.USERS_SLICE
    c.UserSpawner.cmd = [f"{paths.USER_ENV}/bin/jupyterhub-singleuser"]
    c.UserSpawner.default_shell = "/bin/bash"
    c.UserSpawner.default_url = settings.DEFAULT_URLS.get(conf["user_environment"]["default_app"], "/lab")
    c.UserSpawner.env_keep = ["LANG"]
    c.UserSpawner.extra_user_groups = {
        str(group): [str(name).lower() for name in members or []] for group, members in (conf["users"]["extra_user_groups"] or {}).items()
    }
    # A small share of a slow machine's CPU makes a start take long; one that fails is noticed without these.
    c.UserSpawner.start_timeout = 180
    c.UserSpawner.http_timeout = 120
    c.UserSpawner.poll_interval = 10
    if conf["limits"]["memory"] is not None:
        c.UserSpawner.mem_limit = conf["limits"]["memory"]
    if conf["limits"]["cpu"] is not None:
        c.UserSpawner.cpu_limit = float(conf["limits"]["cpu"])


def services(c, conf):
    c.JupyterHub.services = [installer()]
    c.JupyterHub.load_roles = [
        {
            "name": "tljh-installer",
            "services": ["tljh-installer"],
            "scopes": ["admin:users", "admin:servers", "access:servers", "proxy", "read:hub"],
        }
    ]
    cull = conf["services"]["cull"]
    if cull["enabled"]:
        c.JupyterHub.services.append(culler(cull))
        c.JupyterHub.load_roles.append(culler_role(cull))


def installer():
    return {"name": "tljh-installer", "api_token": paths.INSTALLER_TOKEN.read_text().strip(), "display": False}


def culler(cull):
    command = [sys.executable, "-m", "jupyterhub_idle_culler"]
    for option, key in (("timeout", "timeout"), ("cull-every", "every"), ("concurrency", "concurrency"), ("max-age", "max_age")):
        command.append(f"--{option}={cull[key]}")
    if cull["users"]:
        command.append("--cull-users")
    if cull["remove_named_servers"]:
        command.append("--remove-named-servers")
    # It asks the hub and tells the hub: no rights on the machine are needed for that.
    return {"name": "cull-idle", "command": command, "user": "nobody", "cwd": "/", "display": False}


def culler_role(cull):
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    if cull["users"]:
        scopes.append("admin:users")
    return {"name": "cull-idle", "services": ["cull-idle"], "scopes": scopes}


def usable_authenticator(kind):
    """Whether the class can be loaded; a hub that dies of a typing error helps nobody."""
    module, _, name = kind.rpartition(".")
    if not module:
        return True  # a short name, which JupyterHub knows or rejects itself
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def main(c, load_file):
    """What jupyterhub_config.py does."""
    conf, why = settings.load()
    if why is not None:
        log.error("%s. Starting with the last config that could be read", why)
        notify("STATUS=Serving with the last good config: config.yaml cannot be used")
    if not usable_authenticator(conf["auth"].get("type") or settings.FIRST_USE):
        log.error("auth.type %s is not in the hub environment. Starting with the first-use authenticator", conf["auth"]["type"])
        conf["auth"]["type"] = settings.FIRST_USE
    try:
        configure(c, conf)
    except (TraitError, TypeError, ValueError) as error:
        raise SystemExit(f"{paths.CONFIG} cannot be used: {error}") from error
    for extra in sorted(paths.CONFIG_D.glob("*.py")):
        load_file(str(extra))

"""From settings to JupyterHub's configuration. What an admin can change has its place in config.yaml or jupyterhub_config.d."""

import asyncio
import copy
import logging
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from jupyterhub import orm, roles
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from traitlets import Bool, Dict, Enum, Float, HasTraits, Integer, List, Set, TraitError, Tuple, Unicode
from traitlets.config import Config as TraitConfig
from traitlets.utils.importstring import import_item

from tljh import accounts, admins, auth, breakglass, files, proxy, rescue, settings, spawner
from tljh.paths import PROBE_USER, Paths

log = logging.getLogger("tljh")

HUB = "http://127.0.0.1:971"
PROXY = "http://127.0.0.1:972"
PROXY_API = "http://127.0.0.1:973"

# Names that the older TLJH, its documentation and JupyterHub use for the first-use authenticator: all mean the safe one.
FIRST_USE_NAMES = {settings.FIRST_USE.lower(), "firstuse", "firstuseauthenticator", "first-use", "tljh.auth.firstuseauthenticator"}

# What auth.type may say for short, beside the names that the authenticators' packages bring themselves.
SHORT_NAMES = {
    "native": "nativeauthenticator.NativeAuthenticator",
    "nativeauthenticator": "nativeauthenticator.NativeAuthenticator",
    "ldap": "ldapauthenticator.LDAPAuthenticator",
    "ldapauthenticator": "ldapauthenticator.LDAPAuthenticator",
    "tmp": "tmpauthenticator.TmpAuthenticator",
}

# What traits take, the narrower before the wider.
WORDS: list[tuple[Any, str, tuple[type, ...]]] = [
    (Bool, "true or false", (bool,)),
    (Integer, "a whole number", (int,)),
    (Float, "a number", (int, float)),
    (Unicode, "a text", (str,)),
    ((List, Set, Tuple), "a list", (list,)),
    (Dict, "keys with values", (dict,)),
]

DEFAULT_URLS = {"jupyterlab": "/lab", "lab": "/lab", "classic": "/tree", "notebook": "/tree", "nteract": "/nteract"}

INSTALLER_SCOPES = ["admin:users", "admin:servers", "access:servers", "proxy", "read:hub"]


def configure(c: TraitConfig, paths: Paths) -> None:
    """Fill JupyterHub's config object. Never fails because of config.yaml."""
    speak(paths)
    loaded = settings.load(paths)
    try:
        authenticator = usable_authenticator(loaded.config.auth)
    except settings.ConfigError as error:
        loaded = without_newest(paths, loaded, error)
        authenticator = authenticator_class(loaded.config.auth.type)
    report(loaded)
    settings.tell(paths, loaded)
    accounts.settle(loaded.config.users.account_prefix, loaded.config.users.home_root)
    hub(c, paths, loaded.config)
    pages(c, paths, loaded)
    the_proxy(c, paths, loaded)
    logins(c, loaded.config, authenticator)
    servers(c, paths, loaded.config)
    c.JupyterHub.services = []
    c.JupyterHub.load_roles = []
    installer(c, paths)
    culler(c, loaded.config.cull)


def speak(paths: Paths) -> None:
    """JupyterHub sets its own logging up later; until then this package's words go to the journal as they are."""
    if not logging.getLogger().handlers:
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


def without_newest(paths: Paths, loaded: settings.Loaded, error: settings.ConfigError) -> settings.Loaded:
    """The config to use when the newest reads well and can't be used all the same."""
    problems = [*loaded.problems, *error.problems]
    if found := settings.last_good(paths):
        config, text = found
        try:
            usable_authenticator(config.auth)
        except settings.ConfigError:
            log.error("the last config that worked cannot be used any more, either")
        else:
            return settings.Loaded(config, text, problems)
    users = loaded.config.users
    return settings.Loaded(settings.closed(users.admin, users.banned), None, problems)


def report(loaded: settings.Loaded) -> None:
    if not loaded.problems:
        return
    using = "the last config that worked" if loaded.text is not None else "no config: only admins can log in anew"
    log.critical("=" * 72)
    for problem in loaded.problems:
        log.critical("CONFIG NOT USED: %s", problem)
    log.critical("The hub runs with %s. Correct the file, then: systemctl restart jupyterhub", using)
    log.critical("=" * 72)


def authenticator_class(name: str) -> type[Authenticator]:
    """The class that auth.type means; ConfigError if there is none."""
    key = name.strip().lower()
    if key in FIRST_USE_NAMES:
        return auth.FirstUseAuthenticator
    registered = {entry.name.lower(): entry for entry in entry_points(group="jupyterhub.authenticators")}
    try:
        if key in SHORT_NAMES:
            found = import_item(SHORT_NAMES[key])
        elif key in registered:
            found = registered[key].load()
        else:
            found = import_item(name.strip())
    except Exception as error:
        raise settings.ConfigError(f"auth.type: there is no authenticator {name!r} in the hub's environment ({error})") from error
    if not (isinstance(found, type) and issubclass(found, Authenticator)):
        raise settings.ConfigError(f"auth.type: {name!r} is no authenticator")
    return found


# Options of authenticators that keys of their own stand for. Set as an option, one would override the key.
KEYS_OF_THEIR_OWN = {
    "allowed_users": "users.allowed",
    "whitelist": "users.allowed",
    "blocked_users": "users.banned",
    "blacklist": "users.banned",
    "admin_users": "users.admin",
}


def usable_authenticator(config: settings.Auth) -> type[Authenticator]:
    """The class that auth.type means; ConfigError if there is none, or if it would refuse one of its options.

    To go on without an option that somebody set would be to open a door that they meant to close.
    """
    cls = authenticator_class(config.type)
    problems = []
    for section, base in option_classes(cls).items():
        for option, problem in refused(base, config.options.get(section, {})).items():
            problems.append(f"auth.{section}.{option}: {problem}")
    if problems:
        raise settings.ConfigError(*problems)
    c = TraitConfig()
    logins(c, settings.Config(auth=config), cls, logging.DEBUG)
    try:
        cls(config=c)
    except TraitError as error:
        # Not what it says: it may quote a secret.
        name = re.search(r"'(\w+)' trait", str(error))
        raise settings.ConfigError(f"auth.{cls.__name__}: the authenticator refuses {'the option ' + name[1] if name else 'its options'}") from None
    except Exception as error:
        log.debug("%s cannot be tried without a hub: %s", cls.__name__, type(error).__name__)
    return cls


def option_classes(cls: type[Authenticator]) -> dict[str, type[HasTraits]]:
    """The classes whose options an authenticator has, by name."""
    return {base.__name__: base for base in cls.__mro__ if issubclass(base, HasTraits)}


def refused(cls: type[HasTraits], options: dict[str, Any]) -> dict[str, str]:
    """The options that a class does not have or whose values it does not take, and why."""
    traits = cls.class_traits(config=True)
    found = {}
    for option, value in options.items():
        if value is None or option in KEYS_OF_THEIR_OWN:
            continue
        if option not in traits:
            found[option] = "the authenticator has no such option"
        elif (problem := misfit(traits[option], value)) is not None:
            found[option] = problem
    return found


def hub(c: TraitConfig, paths: Paths, config: settings.Config) -> None:
    c.JupyterHub.base_url = config.base_url
    c.JupyterHub.bind_url = PROXY + config.base_url
    c.JupyterHub.hub_bind_url = HUB
    c.JupyterHub.hub_connect_url = HUB
    c.JupyterHub.db_url = f"sqlite:///{paths.database}"
    c.JupyterHub.cookie_secret_file = str(paths.cookie_secret)
    # Users' servers are units of their own and the proxy is not ours to stop: both outlive a restart of the hub.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.JupyterHub.concurrent_spawn_limit = 50
    c.JupyterHub.active_server_limit = 0
    c.JupyterHub.allow_named_servers = False
    c.JupyterHub.template_paths = [str(Path(__file__).parent / "templates")]
    # The journal knows the time already.
    c.JupyterHub.log_format = "%(levelname)s %(name)s: %(message)s"
    c.Application.log_format = "%(levelname)s %(name)s: %(message)s"


def pages(c: TraitConfig, paths: Paths, loaded: settings.Loaded) -> None:
    """What the hub's pages show. Admins also see that the hub does not run with the newest config, and that servers need the rescue environment."""
    shown = loaded.config.pages
    c.JupyterHub.template_vars = {
        "tljh_name": shown.name,
        "tljh_announcement": shown.announcement,
        "tljh_problems": list(loaded.problems),
        # Asked for each page anew.
        "tljh_rescue": lambda user: rescue.told(paths.rescue_told) if user is not None and user.admin else None,
        "tljh_repair": rescue.REPAIR,
    }
    c.JupyterHub.extra_handlers = [(r"/break-glass", breakglass.BreakGlassHandler)]
    if shown.logo and Path(shown.logo).is_file():
        c.JupyterHub.logo_file = shown.logo
    elif shown.logo:
        log.error("hub.logo: there is no file %s", shown.logo)


def the_proxy(c: TraitConfig, paths: Paths, loaded: settings.Loaded) -> None:
    c.JupyterHub.proxy_class = proxy.WatchedProxy
    c.WatchedProxy.should_start = False
    c.WatchedProxy.api_url = PROXY_API
    c.WatchedProxy.auth_token = proxy_token(paths)
    # When the hub really serves, the config it serves with has proved good.
    c.WatchedProxy.when_serving = lambda app: serving(app, paths, loaded)


# Seconds that the hub's start waits for servers of former admins to end. They are ended all the same.
_DISMISS_PATIENCE = 30


async def serving(app: JupyterHub, paths: Paths, loaded: settings.Loaded) -> None:
    """Called when the hub serves."""
    watch = admins.AdminWatch(app)
    watch.start()
    if loaded.problems:
        return  # who is to be admin is not known for sure
    former = settings.admins_before(paths) - loaded.config.users.admin
    demote(app, former)
    settings.remember(paths, loaded)
    await asyncio.wait({watch.check(former)}, timeout=_DISMISS_PATIENCE)


def demote(app: JupyterHub, names: set[str]) -> None:
    """JupyterHub's database keeps admins that the config names no more; who was taken off the list is meant to be none."""
    for name in sorted(names):
        user = orm.User.find(app.db, name)
        if user is None or not user.admin:
            continue
        user.admin = False
        app.db.commit()
        roles.assign_default_roles(app.db, entity=user)
        log.warning("%s is not in users.admin any more and is no admin from now on", name)


def proxy_token(paths: Paths) -> str:
    text = files.read_secret(paths.proxy_env) or ""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "CONFIGPROXY_AUTH_TOKEN" and value.strip():
            return value.strip().strip("\"'")
    sys.exit(f"{paths.proxy_env} holds no CONFIGPROXY_AUTH_TOKEN. Run: sudo tljh-install install")


def logins(c: TraitConfig, config: settings.Config, authenticator: type[Authenticator], level: int = logging.ERROR) -> None:
    c.JupyterHub.authenticator_class = authenticator
    c.Authenticator.allowed_users = set(config.users.allowed)
    # The installer removes its user's account and home: nobody may work there, whatever the authenticator.
    c.Authenticator.blocked_users = {*config.users.banned, PROBE_USER}
    c.Authenticator.admin_users = set(config.users.admin)
    # As in the older TLJH: who was added on the admin page may log in.
    c.Authenticator.allow_existing_users = config.users.existing
    ours = option_classes(authenticator)
    for section, options in config.auth.options.items():
        if section in ours:
            apply_options(c, section, options, level)
        else:
            log.log(level, "auth.%s is not used: auth.type is %s", section, config.auth.type)


def apply_options(c: TraitConfig, section: str, options: dict[str, Any], level: int) -> None:
    """Set options of an authenticator, which were found to be options of it."""
    for option, value in options.items():
        if value is None:
            continue
        if key := KEYS_OF_THEIR_OWN.get(option):
            log.log(level, "auth.%s.%s is not used: %s says it", section, option, key)
        else:
            c[section][option] = value


def misfit(trait: Any, value: Any) -> str | None:
    """Why a trait does not take a value, without the value; None if it does. Sets and tuples are lists in YAML."""
    trial = type("Trial", (HasTraits,), {"option": copy.copy(trait)})
    for candidate in (value, set(value), tuple(value)) if isinstance(value, list) and hashable(value) else (value,):
        try:
            trial().option = candidate
            return None
        except TraitError, TypeError, ValueError:
            pass
        except Exception:
            return None  # a check that needs the whole authenticator: leave it to that
    given = NOUNS.get(type(value), "this")
    if isinstance(trait, Enum):
        return f"must be one of {', '.join(str(choice) for choice in trait.values)}"
    for kinds, words, right in WORDS:
        if isinstance(trait, kinds):
            return "the authenticator does not take this value" if type(value) in right else f"must be {words}, not {given}"
    return f"must be {trait.info()}"


def hashable(values: list[Any]) -> bool:
    return not any(isinstance(value, list | dict) for value in values)


NOUNS = {bool: "true or false", int: "a number", float: "a number with a fraction", str: "a text", list: "a list", dict: "keys with values"}


def servers(c: TraitConfig, paths: Paths, config: settings.Config) -> None:
    c.JupyterHub.spawner_class = spawner.UserSpawner
    c.UserSpawner.cmd = [str(paths.user_bin / "jupyterhub-singleuser")]
    c.UserSpawner.extra_paths = [str(paths.shims), str(paths.user_bin)]
    c.UserSpawner.rescue_environment = str(paths.rescue)
    c.UserSpawner.extra_user_groups = config.users.extra_user_groups
    c.UserSpawner.default_url = DEFAULT_URLS.get(config.default_app, "/lab")
    c.UserSpawner.user_limits = config.limits
    c.UserSpawner.shared_folders = config.shared_folders
    c.UserSpawner.variables = config.variables
    c.Spawner.mem_limit = config.limits.memory
    c.Spawner.cpu_limit = config.limits.cpu
    # Nothing of the hub's environment is for users, but the language.
    c.Spawner.env_keep = ["LANG"]
    # 40 at once on a slow machine take minutes, and a small share of the CPU slows each of them down. A server that fails is
    # noticed at once all the same.
    c.Spawner.start_timeout = 300
    # Also how long a hub that has restarted waits for a server that is too busy to answer, before it ends it.
    c.Spawner.http_timeout = 300
    c.Spawner.consecutive_failure_limit = 0


def installer(c: TraitConfig, paths: Paths) -> None:
    """The service that the installer proves an installation with."""
    token = files.read_secret(paths.installer_token)
    if not token:
        log.warning("%s is missing: the installer cannot prove this hub. Run: sudo tljh-install install", paths.installer_token)
        return
    c.JupyterHub.services.append({"name": "tljh-installer", "api_token": token, "display": False})
    c.JupyterHub.load_roles.append({"name": "tljh-installer", "services": ["tljh-installer"], "scopes": INSTALLER_SCOPES})


def culler(c: TraitConfig, cull: settings.Cull) -> None:
    """Stops servers that nobody uses. It only talks to the hub, so it runs as nobody."""
    if not cull.enabled:
        return
    command = [sys.executable, "-m", "jupyterhub_idle_culler"]
    command += [f"--timeout={cull.timeout}", f"--cull-every={cull.every}", f"--concurrency={cull.concurrency}", f"--max-age={cull.max_age}"]
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    if cull.users:
        command.append("--cull-users=True")
        scopes.append("admin:users")
    if cull.remove_named_servers:
        command.append("--remove-named-servers=True")
    c.JupyterHub.services.append({"name": "cull-idle", "command": command, "user": "nobody", "cwd": "/", "display": False})
    c.JupyterHub.load_roles.append({"name": "cull-idle", "services": ["cull-idle"], "scopes": scopes})


def local_files(paths: Paths) -> list[Path]:
    """The admin's own config files in order. One that fails keeps the hub from starting: it may hold what keeps others out."""
    return sorted(path for path in paths.config_d.glob("*.py") if path.is_file()) if paths.config_d.is_dir() else []

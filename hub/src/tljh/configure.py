"""From settings to JupyterHub's configuration. What an admin can change has its place in config.yaml or jupyterhub_config.d."""

import asyncio
import logging
import os
import re
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jupyterhub import orm, roles
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from traitlets import HasTraits, TraitError
from traitlets.config import Config as TraitConfig
from traitlets.utils.importstring import import_item

from tljh import (
    accounts,
    admins,
    auth,
    breakglass,
    copies,
    files,
    headers,
    logouts,
    masks,
    mended,
    origins,
    passwords,
    proxy,
    readonly,
    rescue,
    room,
    settings,
    snippets,
    spawner,
    stops,
    words,
)
from tljh.paths import PROBE_USER, PROXY_TOKEN, Paths
from tljh.values import misfit

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

DEFAULT_URLS = {"jupyterlab": "/lab", "lab": "/lab", "classic": "/tree", "notebook": "/tree", "nteract": "/nteract"}

INSTALLER_SCOPES = ["admin:users", "admin:servers", "access:servers", "proxy", "read:hub"]


def configure(c: TraitConfig, paths: Paths) -> settings.Loaded:
    """Fill JupyterHub's config object. Never fails because of config.yaml."""
    speak(paths)
    readonly.listen()
    loaded = settings.load(paths)
    try:
        authenticator = usable_authenticator(loaded.config.auth)
    except settings.ConfigError as error:
        loaded = without_newest(paths, loaded, error)
        authenticator = authenticator_class(loaded.config.auth.type)
    report(loaded)
    settings.tell(paths, loaded)
    accounts.settle(loaded.config.users.account_prefix, loaded.config.users.home_root, loaded.config.users.home_mode)
    hub(c, paths, loaded.config)
    room.Room(paths.state).look()
    copies.mend(paths.state, paths.database)
    copies.mend(paths.state, paths.passwords, copies.PASSWORDS)
    room.prepare(paths.database)
    headers.harden(c)
    masks.mask()
    words.install()
    stops.install()
    pages(c, paths, loaded)
    the_proxy(c, paths, loaded)
    logins(c, loaded.config, authenticator)
    servers(c, paths, loaded.config)
    c.JupyterHub.services = []
    c.JupyterHub.load_roles = []
    installer(c, paths)
    culler(c, loaded.config.cull)
    return loaded


def add_snippets(c: TraitConfig, paths: Paths, loaded: settings.Loaded) -> None:
    """Add what jupyterhub_config.d says, as far as the hub works with it."""
    added = snippets.Snippets(c, paths, authenticator_class)
    added.add()
    if added.closed:
        close(c, loaded.config)
    c.JupyterHub.template_vars["tljh_snippets"] = added.shown
    c.JupyterHub.template_vars["tljh_closed"] = added.closed


def close(c: TraitConfig, config: settings.Config) -> None:
    """Let nobody but the config's admins log in anew."""
    for section in snippets.names(snippets.classes(c)["Authenticator"]):
        c.pop(section, None)
    logins(c, settings.closed(config.users.admin, config.users.banned), auth.FirstUseAuthenticator)


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
        words = f"auth.type: there is no authenticator {name!r} in the hub's environment ({why_missing(error, name)})"
        if isinstance(error, ModuleNotFoundError) and error.name and not there(error.name):
            raise ModuleMissing(words) from error
        raise settings.ConfigError(words) from error
    if not (isinstance(found, type) and issubclass(found, Authenticator)):
        raise settings.ConfigError(f"auth.type: {name!r} is no authenticator")
    return mended.working(found)


class ModuleMissing(settings.ConfigError):
    """The class of auth.type needs a module that the hub's environment does not hold."""

    hint = "add its package to hub.packages: sudo tljh-install config add hub.packages NAME; then: sudo tljh-install install"

    def __init__(self, words: str) -> None:
        super().__init__(f"{words}: {self.hint}")


def why_missing(error: Exception, name: str) -> str:
    """Why a class is not there; what says so calls a class that its module lacks a module, too."""
    module, _, cls = name.strip().rpartition(".")
    return f"{module} has no {cls}" if type(error) is ImportError and str(error) == f"No module named {cls}" else str(error)


def there(module: str) -> bool:
    """Whether the package that a module is of is there at all; if so, the module's name is wrong."""
    return find_spec(module.partition(".")[0]) is not None


# Options of authenticators that keys of their own stand for. Set as an option, one would override the key.
KEYS_OF_THEIR_OWN = {
    "allowed_users": "users.allowed",
    "whitelist": "users.allowed",
    "blocked_users": "users.banned",
    "blacklist": "users.banned",
    "admin_users": "users.admin",
    "first_login": "users.first_login",
    "class_code": "users.class_code",
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
    # No page of the hub reads this cookie: a script that can read cookies of the hub's path must not find it.
    c.JupyterHub.tornado_settings = {"xsrf_cookie_kwargs": {"httponly": True}}
    c.JupyterHub.template_paths = [str(Path(__file__).parent / "templates")]
    # The journal knows the time already.
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
        "origins_separate": loaded.config.origins.separate,
        "tljh_user_domain": bool(loaded.config.origins.user_domain),
    }
    c.JupyterHub.extra_handlers = [(r"/break-glass", breakglass.BreakGlassHandler)]
    if loaded.config.origins.user_domain:
        c.JupyterHub.extra_handlers.append((r"/user-label/([a-z0-9-]{1,40})", origins.UserLabelHandler))
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
    room.Room(paths.state).watch()
    logouts.Logouts(app, passwords.Passwords(paths.passwords)).start()
    copies.Copies(paths.state, paths.database).start()
    copies.Copies(paths.state, paths.passwords, copies.PASSWORDS).start()
    snippets.served(paths)
    snippets.keep_pages(app)
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
        if key.strip() == PROXY_TOKEN and value.strip():
            return value.strip().strip("\"'")
    sys.exit(f"{paths.proxy_env} has no {PROXY_TOKEN}. Run: sudo tljh-install install")


def logins(c: TraitConfig, config: settings.Config, authenticator: type[Authenticator], level: int = logging.ERROR) -> None:
    c.JupyterHub.authenticator_class = authenticator
    # JupyterHub itself lets admins in only where others may come, too: where nobody else may, they have to be named.
    c.Authenticator.allowed_users = {*config.users.allowed, *(() if config.users.existing else config.users.admin)}
    # The installer removes its user's account and home: nobody may work there, whatever the authenticator.
    c.Authenticator.blocked_users = {*config.users.banned, PROBE_USER}
    c.Authenticator.admin_users = set(config.users.admin)
    # As in the older TLJH: who was added on the admin page may log in.
    c.Authenticator.allow_existing_users = config.users.existing
    if issubclass(authenticator, auth.FirstUseAuthenticator):
        c.FirstUseAuthenticator.first_login = config.users.first_login
        c.FirstUseAuthenticator.class_code = config.users.class_code
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


def server_memory(limit: int | str | None) -> int | str | None:
    """The memory limit for all. What auto is on this machine stands in the hub's unit: the installer works it out."""
    if limit != settings.AUTO:
        return limit
    derived = os.environ.get("TLJH_SERVER_MEMORY", "")
    return int(derived) or None if derived.isdigit() else None


def servers(c: TraitConfig, paths: Paths, config: settings.Config) -> None:
    c.JupyterHub.spawner_class = spawner.UserSpawner
    # On the base class: what a file says of Spawner, SystemdSpawner or UserSpawner holds then.
    c.Spawner.cmd = [str(paths.user_bin / "jupyterhub-singleuser")]
    c.Spawner.extra_paths = [str(paths.shims), str(paths.user_bin)]
    c.Spawner.rescue_environment = str(paths.rescue)
    c.Spawner.extra_user_groups = config.users.extra_user_groups
    c.Spawner.default_url = DEFAULT_URLS.get(config.default_app, "/lab")
    limits = replace(config.limits, memory=server_memory(config.limits.memory))
    c.Spawner.user_limits = limits
    c.Spawner.shared_folders = config.shared_folders
    c.Spawner.variables = config.variables
    c.Spawner.own_extensions = config.own_extensions
    c.Spawner.allow_namespaces = config.users.namespaces
    c.Spawner.allow_setgid = config.users.setgid
    c.Spawner.allow_devices = config.users.devices
    c.Spawner.mem_limit = limits.memory
    c.Spawner.cpu_limit = limits.cpu
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


def duration(seconds: int) -> str:
    """Seconds in words, as a sentence has them after "for"."""
    for size, word in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {word}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"


def culler(c: TraitConfig, cull: settings.Cull) -> None:
    """Stops servers that nobody uses. It only talks to the hub, and runs as an account of its own."""
    if not cull.enabled:
        return
    # How often the hub learns what is in use: often enough for the culler not to stop what was used a moment ago.
    learns = max(1, min(300, cull.timeout // 4))
    c.JupyterHub.last_activity_interval = learns
    c.JupyterHub.activity_resolution = min(30, learns)
    c.UserSpawner.activity_interval = learns
    c.JupyterHub.template_vars["tljh_culled_after"] = duration(cull.timeout)
    command = [sys.executable, "-m", "tljh.culler"]
    command += [f"--timeout={cull.timeout}", f"--cull-every={cull.every}", f"--concurrency={cull.concurrency}", f"--max-age={cull.max_age}"]
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    if cull.users:
        command.append("--cull-users=True")
        scopes.append("admin:users")
    if cull.remove_named_servers:
        command.append("--remove-named-servers=True")
    c.JupyterHub.services.append({"name": "cull-idle", "command": command, "cwd": "/", "display": False})
    c.JupyterHub.load_roles.append({"name": "cull-idle", "services": ["cull-idle"], "scopes": scopes})

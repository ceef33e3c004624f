"""Files in jupyterhub_config.d have the last word, and cannot break what the hub needs. Plugins of the older TLJH are held to the same, and come before them.

Each is read by itself. One that fails is left out as a whole. A line that would undo what the hub needs, or that JupyterHub would not take, is left out
alone: the other lines may hold what keeps strangers out. What the hub needs in lists and mappings is added to what the files say. With which new files the hub
does not start is found by starting it without them.

Whatever is not used is told: in the journal, by `tljh-install status`, and to admins on the hub's pages. Where it may have kept somebody out, only admins can
log in anew until it is mended.
"""

import copy
import difflib
import hashlib
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, FileSystemLoader, PrefixLoader
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.spawner import Spawner
from traitlets import HasTraits
from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue, PyFileConfigLoader
from traitlets.utils.importstring import import_item

from tljh import mended, plugins, readonly, services
from tljh.files import write_private
from tljh.paths import Paths
from tljh.settings import ConfigError
from tljh.snippet_rules import REFUSED
from tljh.spawner import UserSpawner
from tljh.values import misfit
from tljh.variables import FIXED

log = logging.getLogger("tljh")

# Which key of c.JupyterHub says the class of a family.
CLASSES = {"Spawner": "spawner_class", "Authenticator": "authenticator_class", "Proxy": "proxy_class"}


@dataclass
class Told:
    """What is not used: of which file, and why."""

    file: str
    words: str

    def __str__(self) -> str:
        return f"{self.file}: {self.words}"


@dataclass
class Record:
    """What is known of the files from starts before. `state/snippets.json`; tljh-install reads problems, notes, closed and files."""

    files: list[str] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)
    closed: bool = False
    good: dict[str, str] = field(default_factory=dict)  # of the last start that served
    out: dict[str, list[str]] = field(default_factory=dict)  # with which the hub did not start, and what it said
    trial: list[str] = field(default_factory=list)  # of `out`, those that this start finds out about
    acquitted: dict[str, str] = field(default_factory=dict)  # without which the hub did not start, either

    @classmethod
    def read(cls, paths: Paths) -> Record:
        try:
            found = json.loads(paths.snippets.read_bytes())
            return cls(**{key: value for key, value in found.items() if key in cls.__dataclass_fields__})
        except OSError, ValueError, TypeError, AttributeError:
            return cls()

    def write(self, paths: Paths) -> None:
        write_private(paths.snippets, json.dumps(asdict(self)).encode())


def local_files(paths: Paths) -> list[Path]:
    """The admin's own config files in order."""
    return sorted(path for path in paths.config_d.glob("*.py") if path.is_file()) if paths.config_d.is_dir() else []


def stamp(path: Path) -> str:
    """Changes when the file is changed or touched: then it is tried again."""
    try:
        return f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}-{path.stat().st_mtime_ns}"
    except OSError:
        return ""


@dataclass(frozen=True)
class Source:
    """What adds to the hub's config: a file, or the hook of a plugin."""

    name: str
    path: Path  # of the file that holds it
    load: Callable[[], Config]
    again: str  # how it is tried once more as it is


def file_source(path: Path) -> Source:
    return Source(path.name, path, lambda: PyFileConfigLoader(path.name, path=str(path.parent)).load_config(), f"touch {path}")


def plugin_source(hook: plugins.Hook) -> Source:
    def load() -> Config:
        own = Config()
        hook(c=own)
        return own

    return Source(f"plugin {hook.plugin}", hook.file, load, f"touch {hook.file}")


def sources(paths: Paths) -> list[Source]:
    """Plugins first: an admin's own files have the last word."""
    return [*map(plugin_source, plugins.here().hooks("tljh_custom_jupyterhub_config")), *map(file_source, local_files(paths))]


class Snippets:
    """Adds files and plugins to the config that the product made."""

    def __init__(self, c: Config, paths: Paths, find_authenticator: Callable[[str], type[Authenticator]]):
        self.c, self.paths, self.find_authenticator = c, paths, find_authenticator
        self.ours = copy.deepcopy(c)
        self.problems: list[Told] = []
        self.notes: list[Told] = []
        self.closed = False  # what was not used may have kept somebody out
        self.left: set[str] = set()  # services that are not used

    def add(self) -> None:
        record = Record.read(self.paths)
        found = sources(self.paths)
        self._tell_broken_plugins()
        for source in found:
            known = record.out.get(source.name)
            if known is not None and known[0] == stamp(source.path):
                self._leave_out(source, f"the hub does not start with it: {known[1]}. Correct it, or try it again as it is with:  {source.again}")
            elif (own := self._load(source)) is not None:
                self._merge(source.name, own)
        self._keep_needs()
        self._tell(record, [*(f"plugin {name}" for name in sorted(plugins.here().files)), *(source.name for source in found)])

    def _tell_broken_plugins(self) -> None:
        """Those that cannot even be loaded."""
        found = plugins.here()
        for name, file in sorted(found.files.items()):
            self._leave_out(Source(f"plugin {name}", file, Config, ""), found.broken[name])

    def _load(self, source: Source) -> Config | None:
        try:
            return source.load()
        except (Exception, SystemExit) as error:
            self._leave_out(source, failure(source.path, error) + readonly.permission(error))
        return None

    def _leave_out(self, source: Source, words: str) -> None:
        self.problems.append(Told(source.name, f"left out as a whole: {words}"))
        try:
            self.closed = self.closed or "uthenticator" in source.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            self.closed = True

    def _not_used(self, file: str, option: str, why: str) -> None:
        self.problems.append(Told(file, f"c.{option} is not used: {why}"))

    def _merge(self, file: str, own: Config) -> None:
        for name in [name for name, value in own.items() if not isinstance(value, Config)]:
            self._not_used(file, name, f"it belongs to a class: write c.JupyterHub.{name}")
            del own[name]
        self._choose_classes(file, own)
        families = classes(merged(self.c, own))
        for section in list(own):
            self._judge(file, own, section, families)
        self._make_way(own, families)
        self.c.merge(own)

    def _choose_classes(self, file: str, own: Config) -> None:
        chosen = own.get("JupyterHub", {})
        wanted: dict[str, type] = {"spawner_class": UserSpawner, "authenticator_class": Authenticator}
        for key, base in wanted.items():
            if key not in chosen:
                continue
            found = self._find(chosen[key], key)
            if isinstance(found, type) and issubclass(found, base):
                chosen[key] = mended.working(found)
                continue
            why = f"there is no such class in the hub's environment ({found})" if not isinstance(found, type) else "it is no authenticator"
            if key == "spawner_class":
                why = no_spawner(chosen[key], found) or why
            self._not_used(file, f"JupyterHub.{key}", why)
            self.closed = self.closed or key == "authenticator_class"
            del chosen[key]

    def _find(self, chosen: Any, key: str) -> Any:
        if key == "authenticator_class" and isinstance(chosen, str):
            try:
                return self.find_authenticator(chosen)
            except ConfigError as error:
                return str(error)
        return resolve(chosen, key)

    def _judge(self, file: str, own: Config, section: str, families: dict[str, type]) -> None:
        """Take out what cannot be used of a section."""
        owners = {family: cls for family, cls in families.items() if section in names(cls)}
        if not owners:
            kind = next((family for family in CLASSES if section.endswith(family)), None)
            if kind is not None and own[section]:
                self.notes.append(Told(file, f"c.{section} has no effect: the hub's {kind.lower()} is {families[kind].__name__}"))
            return
        for option in list(own[section]):
            why = judge(option, own[section][option], owners)
            if option == "environment" and "Spawner" in owners and why is None:
                self._judge_environment(file, own[section])
            if why is None:
                continue
            self._not_used(file, f"{section}.{option}", why)
            self.closed = self.closed or ("Authenticator" in owners and not why.startswith(UNKNOWN))
            del own[section][option]

    def _judge_environment(self, file: str, section: Config) -> None:
        """Take out variables whose values are the hub's alone."""
        said = section["environment"]
        if isinstance(said, LazyConfigValue):
            said = copy.deepcopy(said).get_value({})
        for name in FIXED.keys() & said.keys():
            self._not_used(file, f"Spawner.environment: {name}", FIXED[name])
        if FIXED.keys() & said.keys():
            section["environment"] = {name: value for name, value in said.items() if name not in FIXED}

    def _make_way(self, own: Config, families: dict[str, type]) -> None:
        """What a file says of a class holds, though the product or the config says it of a subclass."""
        for cls in families.values():
            line = names(cls)
            for at, section in enumerate(line):
                for option in own.get(section, {}):
                    for narrower in line[:at]:
                        self._drop_ours(own, narrower, option)

    def _drop_ours(self, own: Config, section: str, option: str) -> None:
        if option in own.get(section, {}) or option not in self.c.get(section, {}) or option not in self.ours.get(section, {}):
            return
        if self.c[section][option] is self.ours[section][option] or self.c[section][option] == self.ours[section][option]:
            del self.c[section][option]

    # What the product needs, in what the files left.

    def _keep_needs(self) -> None:
        hub, spawner, authenticator = (names(cls) for cls in list(classes(self.c).values())[:3])
        for option in ("services", "load_roles"):
            self._keep(hub, option, lambda own, needed: self._by_name(option, own, needed))  # noqa: B023
        self._keep(hub, "template_paths", lambda own, needed: [*(path for path in own if path not in needed), *needed])
        self._keep(hub, "template_vars", lambda own, needed: own | needed)
        self._keep(hub, "extra_handlers", lambda own, needed: [*needed, *(each for each in own if each not in needed)])
        self._keep(hub, "tornado_settings", deep)
        self._keep(spawner, "extra_paths", lambda own, needed: [*(path for path in own if path not in needed), *needed])
        for option in ("admin_users", "blocked_users"):
            self._keep(authenticator, option, lambda own, needed: {*own, *needed})
        mended.mend(self.c)

    def _keep(self, line: list[str], option: str, join) -> None:
        needed = next((self.ours[section][option] for section in line if option in self.ours.get(section, {})), None)
        if needed is None:
            return
        section, own = next(((section, self.c[section][option]) for section in line if option in self.c.get(section, {})), (line[0], type(needed)()))
        if isinstance(own, LazyConfigValue):
            own = own.get_value(needed)
        if own != needed:
            self.c[section][option] = join(own, needed)

    def _by_name(self, option: str, own: list, needed: list) -> list:
        kept, taken = [], {each["name"] for each in needed}
        for each in own:
            if each in needed:
                continue
            name = each.get("name") if isinstance(each, dict) else None
            if isinstance(name, str) and name not in taken:
                kept += self._judged(option, each)
                continue
            why = f"the hub needs {name!r} as it is: choose another name" if isinstance(name, str) else "an entry of it has no name"
            self._not_used(self._blame(option), f"JupyterHub.{option}", why)
        return [*kept, *needed]

    def _judged(self, option: str, each: dict) -> list[dict]:
        """An entry of a list, if it can be used: JupyterHub would not start with a service that cannot, nor with a role of it."""
        if option == "load_roles":
            return [each | {"services": [name for name in each["services"] if name not in self.left]}] if each.get("services") else [each]
        if (why := services.trouble(each)) is None:
            return [each]
        self._not_used(self._blame(option), f"JupyterHub.services: {each['name']}", why)
        self.left.add(each["name"])
        return []

    def _blame(self, option: str) -> str:
        """The last file that speaks of an option of a list."""
        said = [source.name for source in sources(self.paths) if option in source.path.read_text(encoding="utf-8", errors="replace")]
        return said[-1] if said else "jupyterhub_config.d"

    def _tell(self, record: Record, files: list[str]) -> None:
        for told in self.problems:
            log.critical("SNIPPET NOT USED: %s", told)
        for told in self.notes:
            log.warning("SNIPPET WITHOUT EFFECT: %s", told)
        if self.closed:
            log.critical("SNIPPET NOT USED: only admins can log in anew, as what is not used may have kept somebody out")
        record.files, record.closed = files, self.closed
        record.problems, record.notes = ([asdict(told) for told in each] for each in (self.problems, self.notes))
        try:
            record.write(self.paths)
        except OSError as error:  # a full disk keeps nobody out
            log.error("Cannot write %s: %s", self.paths.snippets, error)

    @property
    def shown(self) -> list[str]:
        """For admins, on the hub's pages."""
        return [str(told) for told in self.problems]


def failure(path: Path, error: BaseException) -> str:
    """What a file failed with, and where."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else lines[-1] if lines else None
    words = " ".join(str(error).split())[:300]
    return (f"line {line}: " if line else "") + type(error).__name__ + (f": {words}" if words else "")


def merged(c: Config, own: Config) -> Config:
    both = copy.deepcopy(c)
    both.merge(copy.deepcopy(own))
    return both


def resolve(chosen: Any, key: str) -> Any:
    """The class that a name means, or the words of why there is none."""
    if not isinstance(chosen, str):
        return chosen if isinstance(chosen, type) else repr(chosen)
    try:
        group = {"spawner_class": "jupyterhub.spawners", "authenticator_class": "jupyterhub.authenticators", "proxy_class": "jupyterhub.proxies"}[key]
        return mended.registered(chosen, group) or import_item(chosen)
    except Exception as error:
        return str(error) or type(error).__name__


def no_spawner(chosen: Any, found: Any) -> str | None:
    """Why a spawner is not used; None where there is none of that name."""
    line = [f"{cls.__module__}.{cls.__name__}" for cls in found.__mro__] if isinstance(found, type) else [str(chosen)]
    if any(CONTAINERS.search(name) for name in line):
        return (
            "servers of this hub are units of systemd, and run in no containers. What an image would bring, an environment for all or a kernel does: "
            "sudo tljh-install env apply SOURCE --kernel NAME takes the files that repo2docker takes"
        )
    return "servers need the hub's own spawner: set its options, or make a subclass of tljh.spawner.UserSpawner" if isinstance(found, type) else None


CONTAINERS = re.compile("docker|swarm|kube|podman|apptainer|singularity", re.IGNORECASE)


def classes(c: Config) -> dict[str, type[HasTraits]]:
    """The classes that the hub is made of, by family."""
    found: dict[str, type[HasTraits]] = {"JupyterHub": JupyterHub}
    for family, key in CLASSES.items():
        cls = resolve(c.JupyterHub[key], key)
        found[family] = cls if isinstance(cls, type) else {"Spawner": Spawner, "Authenticator": Authenticator}.get(family, HasTraits)
    return found


def names(cls: type) -> list[str]:
    """The sections that a class reads, the narrowest first."""
    return list(dict.fromkeys(base.__name__ for base in cls.__mro__ if issubclass(base, HasTraits) and base is not HasTraits))


UNKNOWN = "there is no such option"


def judge(option: str, value: Any, owners: dict[str, type[HasTraits]]) -> str | None:
    """Why an option of a section cannot be used; None if it can."""
    for family in owners:
        if (why := REFUSED[family].get(option)) is not None:
            return why
    traits = {name: trait for cls in owners.values() for name, trait in cls.class_traits(config=True).items()}
    if option not in traits:
        near = difflib.get_close_matches(option, traits, 1, 0.75)
        return f"{UNKNOWN}" + (f"; {near[0]} is one" if near else "")
    if option in CLASSES.values():
        return None
    if isinstance(value, LazyConfigValue):
        return None
    return misfit(traits[option], value, "JupyterHub")


def deep(own: dict, needed: dict) -> dict:
    """Needed keys are added. Of the headers, a file may say another value; the rest holds."""
    joined = own | needed
    for key in needed.keys() & own.keys():
        if isinstance(needed[key], dict) and isinstance(own[key], dict):
            joined[key] = needed[key] | own[key] if key == "headers" else own[key] | needed[key]
    return joined


def served(paths: Paths) -> None:
    """The hub serves: these files are good, and those on trial are to blame."""
    record, before = Record.read(paths), Record.read(paths)
    now = {source.name: stamp(source.path) for source in sources(paths)}
    record.out = {name: said for name, said in record.out.items() if now.get(name) == said[0]}
    record.good = {name: text for name, text in now.items() if name not in record.out}
    record.trial, record.acquitted = [], {}
    try:
        if record != before:
            record.write(paths)
    except OSError as error:
        log.error("Cannot write %s: %s", paths.snippets, error)


def keep_pages(app: JupyterHub) -> None:
    """A page.html of an admin's own extends JupyterHub's: have it extend ours, which holds words for admins and the way to change a password."""
    ours, plain = Path(__file__).parent / "templates", app._template_paths_default()[0]
    if not any(Path(folder, "page.html").is_file() for folder in app.template_paths if folder not in (str(ours), plain)):
        return
    text = (ours / "page.html").read_text(encoding="utf-8").replace('"templates/page.html"', '"tljh-plain/page.html"')
    environments = [app.tornado_settings[key] for key in ("jinja2_env", "jinja2_env_sync")]
    environments[0].loader.loaders[:0] = [PrefixLoader({"tljh-plain": FileSystemLoader([plain])}), DictLoader({"templates/page.html": text})]
    for environment in environments:
        environment.cache.clear()


def watch_start(app: JupyterHub, paths: Paths) -> None:
    """Let a hub that does not come up try it without the files that are new since it last did."""
    plain = app.exit

    def leave(status: Any = 0) -> None:
        if status not in (0, None) and app.subapp is None and try_without_new(paths, sys.exception()):
            app.close_handlers()
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the same process: for systemd, the hub is still starting
        plain(status)

    app.exit = leave


def try_without_new(paths: Paths, error: BaseException | None) -> bool:
    """Reports whether there is another start to try."""
    try:
        record = Record.read(paths)
        now = {source.name: stamp(source.path) for source in sources(paths)}
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300] if error is not None else "see journalctl -u jupyterhub"
        if record.trial:
            # It does not start without them for the same reason: they are not to blame.
            for name in [name for name in record.trial if record.out.get(name, ["", ""])[1] == said]:
                record.acquitted[name] = record.out.pop(name)[0]
            record.trial = []
            record.write(paths)
            return False
        new = [name for name, text in now.items() if name not in record.out and text not in (record.good.get(name), record.acquitted.get(name))]
        if not new:
            return False
        record.out |= {name: [now[name], said] for name in new}
        record.trial = new
        record.write(paths)
    except OSError as problem:
        log.error("Cannot write %s: %s", paths.snippets, problem)
        return False
    log.critical("The hub does not start. It is tried without what is new in jupyterhub_config.d or a plugin: %s", ", ".join(new))
    return True

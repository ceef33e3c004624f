"""Plugins of the older TLJH: finds them, and calls their hooks one by one. One that fails is named, and the others go on.

python -m tljh.plugins ask        what they want installed, as JSON; for a confined account
python -m tljh.plugins config     the settings on standard input, as JSON, with what they change; for a confined account
python -m tljh.plugins finish     the hook tljh_post_install; for root
"""

import functools
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy

from tljh import hooks, readonly

log = logging.getLogger("tljh")

GROUP = "tljh"

# What they want installed, by the name it has in the answer.
PACKAGES = {
    "apt": "tljh_extra_apt_packages",
    "conda": "tljh_extra_user_conda_packages",
    "channels": "tljh_extra_user_conda_channels",
    "pip": "tljh_extra_user_pip_packages",
    "hub": "tljh_extra_hub_pip_packages",
}


def words(error: BaseException) -> str:
    """What went wrong, in one line."""
    said = " ".join(str(error).split())[:300]
    return type(error).__name__ + (f": {said}" if said else "")


def module_file(name: str) -> Path:
    """Where a module's text is, without running it; the null device where that is not known."""
    top, _, rest = name.partition(".")
    try:
        spec = find_spec(top)
    except ImportError, ValueError:
        spec = None
    folders = spec.submodule_search_locations if spec else None
    if rest and folders:
        return Path(folders[0], *rest.split(".")).with_suffix(".py")
    return Path(spec.origin) if spec and spec.origin else Path(os.devnull)


@dataclass
class Hook:
    """A plugin's own function for a hook."""

    plugin: str
    file: Path
    function: Any
    takes: tuple[str, ...]

    def __call__(self, **given: Any) -> Any:
        return self.function(*(given[name] for name in self.takes))


@dataclass
class Plugins:
    """Those that are installed beside the hub, and why some of them cannot be loaded."""

    manager: pluggy.PluginManager
    broken: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # of those that cannot be loaded

    @classmethod
    def find(cls) -> Plugins:
        manager = pluggy.PluginManager("tljh")
        manager.add_hookspecs(hooks)
        found = cls(manager)
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            try:
                manager.register(entry.load(), entry.name)
            except (Exception, SystemExit) as error:
                found.broken[entry.name] = words(error)
                found.files[entry.name] = module_file(entry.module)
        return found

    @property
    def names(self) -> list[str]:
        return sorted({*(name for name, _ in self.manager.list_name_plugin()), *self.broken})

    def hooks(self, name: str) -> Iterator[Hook]:
        """The functions for a hook, in the order in which pluggy calls them."""
        for found in reversed(getattr(self.manager.hook, name).get_hookimpls()):
            file = Path(getattr(sys.modules.get(found.function.__module__), "__file__", None) or os.devnull)
            yield Hook(found.plugin_name, file, found.function, tuple(found.argnames))

    def call(self, name: str, **given: Any) -> Iterator[Any]:
        """What each function returns. One that fails is told as broken."""
        for hook in self.hooks(name):
            try:
                yield hook(**given)
            except (Exception, SystemExit) as error:
                self.broken[hook.plugin] = f"{name}: {words(error)}"


@functools.cache
def here() -> Plugins:
    """Those of the environment that this runs in."""
    return Plugins.find()


def new_account(name: str) -> bool:
    """Tell them that an account was made; whether there are any to tell. A user's server starts whatever they do."""
    told = False
    for hook in here().hooks("tljh_new_user_create"):
        told = True
        try:
            hook(username=name)
        except (Exception, SystemExit) as error:
            why = words(error) + readonly.permission(error)
            log.error("PLUGIN FAILED: %s: tljh_new_user_create(%r): %s", hook.plugin, name, why)
    return told


def wanted(plugins: Plugins, hook: str) -> list[str]:
    """A list of packages, of all of them, each once."""
    names = []
    for answer in plugins.call(hook):
        names += [answer] if isinstance(answer, str) else [str(each) for each in answer or ()]
    return list(dict.fromkeys(names))


def ask() -> dict[str, Any]:
    plugins = Plugins.find()
    answer: dict[str, Any] = {key: wanted(plugins, hook) for key, hook in PACKAGES.items()}
    return answer | {"plugins": plugins.names, "broken": plugins.broken}


def config(settings: dict[str, Any]) -> dict[str, Any]:
    plugins = Plugins.find()
    for _ in plugins.call("tljh_config_post_install", config=settings):
        pass
    return {"config": settings, "broken": plugins.broken}


def finish() -> dict[str, Any]:
    plugins = Plugins.find()
    for _ in plugins.call("tljh_post_install"):
        pass
    return {"broken": plugins.broken}


def main() -> None:
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what plugins print is no answer
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb == "config":
        answer = config(json.load(sys.stdin))
    elif verb in ("ask", "finish"):
        answer = ask() if verb == "ask" else finish()
    else:
        sys.exit("usage: python -m tljh.plugins ask|config|finish")
    json.dump(answer, answer_to)
    answer_to.close()


if __name__ == "__main__":
    main()

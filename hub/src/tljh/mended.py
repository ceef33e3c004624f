"""Authenticators of others that do not work with this JupyterHub as they are released, and what makes them work.

Each is a subclass with few methods in a module of its own, which says what is wrong with which release. None of it is loaded unless the
authenticator is used.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets.config import Config
from traitlets.utils.importstring import import_item

# The releases that were looked at, by the names of their packages.
VERSIONS = {
    "jupyterhub": "6.1.1",
    "jupyterhub-nativeauthenticator": "1.3.0",
    "jupyterhub-tmpauthenticator": "1.0.0",
    "jupyterhub-ldapauthenticator": "2.0.2",
    "oauthenticator": "17.4.0",
}

# A class of others by the module and name that it is defined with, and where the class is that makes it work.
MENDED = {
    ("nativeauthenticator.nativeauthenticator", "NativeAuthenticator"): ("tljh.mended_native", "Native"),
    ("tmpauthenticator", "TmpAuthenticator"): ("tljh.mended_tmp", "Tmp"),
    ("jupyterhub.auth", "LocalAuthenticator"): ("tljh.mended_local", "Local"),
    ("oauthenticator.oauth2", "OAuthenticator"): ("tljh.mended_oauth", "OAuth"),
    ("ldapauthenticator.ldapauthenticator", "LDAPAuthenticator"): ("tljh.mended_ldap", "LDAP"),
}

_made: dict[type, type] = {}


def working[T](cls: T) -> T:
    """The class that works in the place of an authenticator's, which is that class itself where nothing is wrong with it.

    It has the same name and options: a subclass that an admin wrote is mended as well.
    """
    if not isinstance(cls, type) or not issubclass(cls, Authenticator):
        return cls
    if cls not in _made:
        _made[cls] = _mend(cls)
        _made[_made[cls]] = _made[cls]
    return _made[cls]


def _mend(cls: type) -> type:
    found = [MENDED[key] for base in cls.__mro__ if (key := (base.__module__, base.__name__)) in MENDED]
    mixins = tuple(getattr(import_module(module), name) for module, name in found)
    return type(cls.__name__, (*mixins, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__}) if mixins else cls


def mend(c: Config) -> None:
    """See that jupyterhub_config.d, which may name another authenticator, gets one that works. What can't be found is left to JupyterHub's words."""
    chosen: Any = c.JupyterHub.authenticator_class
    if isinstance(chosen, str):
        try:
            chosen = registered(chosen) or import_item(chosen)
        except Exception:
            return
    if working(chosen) is not c.JupyterHub.authenticator_class:
        c.JupyterHub.authenticator_class = working(chosen)


def registered(name: str, group: str = "jupyterhub.authenticators") -> type | None:
    """The class that a package registers under a name."""
    return next((entry.load() for entry in entry_points(group=group) if entry.name.lower() == name.lower()), None)

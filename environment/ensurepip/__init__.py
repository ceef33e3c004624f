"""Installs pip without a network: what "python -m venv" needs of CPython's library, for a CPython that was carried here without it.

The names are those of the standard library's module. pip comes from the wheel in the folder _bundled.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["bootstrap", "version"]

_BUNDLED = Path(__file__).parent / "_bundled"
_RUN = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__', alter_sys=True)"


def _wheel():
    return next(_BUNDLED.glob("pip-*.whl"))


def version():
    """Return the version of pip that would be installed."""
    return _wheel().name.split("-")[1]


def bootstrap(*, root=None, upgrade=False, user=False, altinstall=False, default_pip=False, verbosity=0):
    """Install pip into the environment of this Python."""
    if code := _install(root=root, upgrade=upgrade, user=user, altinstall=altinstall, default_pip=default_pip, verbosity=verbosity):
        raise subprocess.CalledProcessError(code, "pip install")


def _install(*, root, upgrade, user, altinstall, default_pip, verbosity):
    if altinstall and default_pip:
        raise ValueError("altinstall and default_pip exclude each other")
    # What a user has set for pip, such as "user = true", is meant for other installations.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env["PIP_CONFIG_FILE"] = os.devnull
    if not default_pip:
        env["ENSUREPIP_OPTIONS"] = "altinstall" if altinstall else "install"  # pip makes its program "pip" only without it
    options = ["--root", root] if root else []
    options += ["--upgrade"] if upgrade else []
    options += ["--user"] if user else []
    options += ["-" + "v" * verbosity] if verbosity else []
    pip = ["install", "--no-cache-dir", "--no-index", "--disable-pip-version-check", "--find-links", str(_BUNDLED), *options, "pip"]
    return subprocess.run([sys.executable, "-I", "-W", "ignore::DeprecationWarning", "-c", _RUN, str(_wheel()), *pip], env=env, check=False).returncode


def _main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m ensurepip", description="Install pip without a network.")
    parser.add_argument("--version", action="version", version=f"pip {version()}", help="show the version of pip that is installed")
    parser.add_argument("-v", "--verbose", action="count", default=0, dest="verbosity", help="say more; up to three times")
    parser.add_argument("-U", "--upgrade", action="store_true", help="replace an older pip")
    parser.add_argument("--user", action="store_true", help="install into the home")
    parser.add_argument("--root", help="install below this folder")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--altinstall", action="store_true", help="make only the program pipX.Y")
    which.add_argument("--default-pip", action="store_true", help="make the program pip as well")
    return _install(**vars(parser.parse_args(argv)))

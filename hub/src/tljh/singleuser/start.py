"""Start a single-user server that runs trusted code only: `python start.py PROGRAM ARGUMENTS…`.

PROGRAM is the path of a Python script or the name of a module. Runs on the Python of the user environment, so it has to do with any from 3.8 on.

Before anything else, other processes of the same user are kept out of this one: they cannot trace it, read its memory, or take its files and sockets.
A program that this one starts is a process like any other again.

Jupyter then looks for config, extensions and templates only where the user cannot write. What is data stays in the home: JupyterLab's settings
and workspaces, signatures of notebooks, and kernels, which are processes of their own. Nothing is put into the environment, so kernels and terminals find
everything of the user's as always.
"""

import ctypes
import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# What holds for every server: by its defaults JupyterLab asks nobody about news and looks for no newer version of itself, as that would tell others that
# this hub is there; links fill plain folders only.
ALWAYS = os.path.join(HERE, "always")

# prctl(2)
PR_SET_DUMPABLE = 4
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# capset(2): _LINUX_CAPABILITY_VERSION_3 has two words for each of the three sets.
CAPABILITY_VERSION = 0x20080522


class Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def close_process():
    """Keep other processes of this user out of this one.

    Until now the capability that the unit gave this process did that: a process that lacks it may not trace one that has it. Now it is dropped.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    none = (ctypes.c_uint32 * 6)()
    for done in (
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0),
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
        libc.capset(ctypes.byref(Header(CAPABILITY_VERSION, 0)), ctypes.byref(none)),
    ):
        if done != 0:
            sys.exit("cannot close this process to others: " + os.strerror(ctypes.get_errno()))


def inside(path, folder):
    for resolve in (os.path.abspath, os.path.realpath):
        inner, outer = resolve(path), resolve(folder)
        if inner == outer or inner.startswith(outer.rstrip("/") + "/"):
            return True
    return False


def is_own(path):
    """Report whether a folder is where the user can write: the home, and the folder of a safe start."""
    folders = [os.path.expanduser("~"), *os.environ.get("RUNTIME_DIRECTORY", "").split(":")]
    return any(folder and inside(path, folder) for folder in folders)


def trusted(folders):
    return [folder for folder in folders if not is_own(folder)]


# Jupyter's own functions, and what the server gets in their place. They are functions of the module, as JupyterHub may want to change them further.
usual = {}


def jupyter_path(*subdirs):
    """Kernels are processes of their own: a user's own kernels are found."""
    found = usual["jupyter_path"](*subdirs)
    return found if subdirs[:1] == ("kernels",) else trusted(found)


def jupyter_config_path():
    return [*trusted(usual["jupyter_config_path"]()), HERE, ALWAYS]


def jupyter_config_dir():
    """The folder of config that is the user's own. For the server it is one that only admins can write."""
    folder = usual["jupyter_config_dir"]()
    return os.path.join(sys.prefix, "etc", "jupyter") if is_own(folder) else folder


def close_jupyter():
    """Has to come before anything else of Jupyter is imported, for much of it takes these functions by name."""
    from jupyter_core import paths

    for function in (jupyter_path, jupyter_config_path, jupyter_config_dir):
        usual[function.__name__] = getattr(paths, function.__name__)
        setattr(paths, function.__name__, function)

    from jupyter_core.application import JupyterApp

    JupyterApp.migrate_config = lambda self: None  # copies from the home, and what of IPython 3 there may be is old enough

    try:
        import jupyterlab.commands
    except ImportError:
        return
    # Settings and workspaces are data.
    jupyterlab.commands.jupyter_config_dir = usual["jupyter_config_dir"]


def main():
    close_process()
    if sys.path and os.path.abspath(sys.path[0]) == HERE:
        del sys.path[0]
    sys.modules["tljh_start"] = sys.modules["__main__"]  # for the config beside this file
    del sys.argv[0]
    close_jupyter()
    if os.path.isabs(sys.argv[0]):
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

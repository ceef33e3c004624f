"""Kernels that do not start, most often a user's own whose Python was deleted: none of them hides another of its name, and who starts one reads why it
fails and what to remove.

Jupyter takes the first description of a name that it finds, and looks into the home first. So `ipykernel install --user` in an environment that is gone by now,
which is called python3, would take the place of the kernel for all users, and no notebook would run.
"""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import sys

from jupyter_client import kernelspec
from jupyter_server.services.kernels.kernelmanager import MappingKernelManager
from tornado import web
from traitlets import TraitError

# Seconds that a kernel's Python may take to say whether it has the kernel's program. One that takes longer is taken as good.
LOOK = 20

# What only a look at the start shows, by folder: the kernel's Python lacks the kernel's program.
lacking = {}

# What the journal has been told.
told = set()


class NoStart(web.HTTPError):
    """Why a kernel does not start. The user reads what Jupyter makes of it: its message, or its text."""

    def __init__(self, words):
        super().__init__(501, words)
        self.words = words

    def __str__(self):
        return self.words


def description(folder):
    """What describes a kernel, and why it can't be read."""
    path = os.path.join(folder, "kernel.json")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        return {}, f"{path} cannot be read: {error.strerror}"
    except ValueError as error:
        return {}, f"{path} is not valid JSON: {str(error).rstrip('.')}"
    argv = found.get("argv") if isinstance(found, dict) else None
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        return {}, f"{path} names no command in `argv`"
    try:
        kernelspec.KernelSpec(resource_dir=folder, **found)
    except (TraitError, TypeError) as error:
        return {}, f"{path} is not valid: {str(error).rstrip('.')}"
    return found, None


def is_local(spec):
    metadata = spec.get("metadata")
    chosen = metadata.get("kernel_provisioner") if isinstance(metadata, dict) else None
    return not isinstance(chosen, dict) or chosen.get("provisioner_name") in (None, "local-provisioner")


def program(spec, folder):
    """The first word of a kernel's command, as Jupyter starts it."""
    word = spec["argv"][0].replace("{prefix}", sys.prefix).replace("{resource_dir}", folder)
    if word in ("python", f"python{sys.version_info[0]}", f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        return sys.executable
    return os.path.expanduser(word)


def fault(folder):
    """Why the kernel that a folder describes does not start, as far as can be seen; None if nothing speaks against it."""
    spec, unreadable = description(folder)
    if unreadable:
        return unreadable
    if not is_local(spec):
        return None
    first = program(spec, folder)
    if os.path.isabs(first) and not os.access(first, os.X_OK):
        return f"{first} does not exist or is no program"
    if not os.path.isabs(first) and "PATH" not in (spec.get("env") or {}) and shutil.which(first) is None:
        return f"there is no program {first}"
    return lacking.get(folder)


def is_own(folder):
    return os.path.realpath(folder).startswith(os.path.realpath(os.path.expanduser("~")) + os.sep)


def words(name, folder, why):
    if not is_own(folder):
        return f"The kernel {name!r} cannot start: {why}. Please tell an admin of this hub."
    return (
        f"Your kernel {name!r} cannot start: {why}. Install it again, or remove it: type in a terminal\n"
        f"rm -r {shlex.quote(folder)}\nThen choose another kernel."
    )


def described(manager):
    """All folders that describe kernels, with the kernels' names: those of the user first."""
    for above in manager.kernel_dirs:
        if os.path.isdir(above):
            for name in sorted(os.listdir(above)):
                if usual_is_kernel_dir(folder := os.path.join(above, name)):
                    yield name.lower(), folder


def faulty(manager, taken=()):
    """What kernels that do not start are shown as, with their names, folders and faults. A name that another kernel has is left to that."""
    found = {}
    for name, folder in described(manager):
        if (why := fault(folder)) is None:
            continue
        shown = f"{name}-broken" if name in taken else name
        found.setdefault(shown, (name, folder, why))
        if folder not in told:
            told.add(folder)
            manager.log.warning("%s", words(name, folder, why))
    return found


usual_is_kernel_dir = kernelspec._is_kernel_dir
usual_all = kernelspec.KernelSpecManager.get_all_specs
usual_one = kernelspec.KernelSpecManager.get_kernel_spec
usual_start = MappingKernelManager.start_kernel


def is_kernel_dir(path):
    return usual_is_kernel_dir(path) and fault(path) is None


def get_all_specs(self):
    """Those that do not start are shown as such: who looks for one finds out why."""
    specs = usual_all(self)
    for shown, (name, folder, _) in faulty(self, specs).items():
        title = description(folder)[0].get("display_name")
        spec = kernelspec.KernelSpec(resource_dir=folder, display_name=f"{title or name} (does not start)")
        specs[shown] = {"resource_dir": folder, "spec": spec.to_dict()}
    return specs


def get_kernel_spec(self, kernel_name):
    try:
        return usual_one(self, kernel_name)
    except kernelspec.NoSuchKernel:
        wanted = kernel_name.lower()
        found = faulty(self)
        found = found.get(wanted) or found.get(wanted.removesuffix("-broken"))
        if found is None:
            raise
        raise NoStart(words(*found)) from None


async def has_program(command, env):
    """Report whether a Python finds the module that a kernel's command runs. What is no such command is not looked at."""
    if not os.path.isabs(command[0]) or not os.path.basename(command[0]).startswith("python"):
        return True
    place = next((n for n, word in enumerate(command[1:-1], 1) if word == "-m" or not word.startswith("-")), 0)
    if not place or command[place] != "-m":
        return True
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.DEVNULL)
    process = await asyncio.create_subprocess_exec(*command[:place], "-c", look, command[place + 1], env=env, cwd="/", **quiet)
    try:
        return await asyncio.wait_for(process.wait(), LOOK) == 0
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        return True


async def look(manager, name):
    """Find out of each kernel of the user's own that has a name whether it would end at once."""
    for each, folder in list(described(manager)):
        if each not in (name.lower(), name.lower().removesuffix("-broken")) or not is_own(folder):
            continue
        lacking.pop(folder, None)
        spec, _ = description(folder)
        if fault(folder) is not None or not is_local(spec):
            continue
        more = spec.get("env") or {}
        env = os.environ | {key: os.path.expandvars(value) for key, value in more.items() if isinstance(value, str)}
        try:
            good = await has_program([program(spec, folder), *spec["argv"][1:]], env)
        except OSError as error:
            lacking[folder] = f"{spec['argv'][0]} cannot run: {error.strerror}"
            continue
        if not good:
            lacking[folder] = f"{spec['argv'][0]} does not run, or lacks the kernel's program (ipykernel)"


async def start_kernel(self, **options):
    name = options.get("kernel_name") or self.default_kernel_name
    if options.get("kernel_id") not in self and hasattr(self.kernel_spec_manager, "kernel_dirs"):
        await look(self.kernel_spec_manager, name)
        with contextlib.suppress(kernelspec.NoSuchKernel):
            self.kernel_spec_manager.get_kernel_spec(name)  # what it raises is told in few words here, and with pages of traceback further down
    return await usual_start(self, **options)


kernelspec._is_kernel_dir = is_kernel_dir
kernelspec.KernelSpecManager.get_all_specs = get_all_specs
kernelspec.KernelSpecManager.get_kernel_spec = get_kernel_spec
MappingKernelManager.start_kernel = start_kernel

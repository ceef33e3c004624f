"""Config of every single-user server, also of one with its user's own extensions: what links may do, what counts as use, what visitors
trust, and how soon a session ends."""

import asyncio
import contextlib
import errno
import importlib.util
import inspect
import os
import re
import shutil
import signal
import site
import subprocess
import threading
import time
from datetime import datetime, timezone

from jupyterhub.services.auth import HubAuth
from tornado import web

try:
    from jupyter_client.manager import KernelManager
    from jupyter_server.serverapp import ServerWebApplication
    from jupyter_server.services.config.handlers import ConfigHandler
    from jupyter_server.services.contents import filemanager
    from jupyter_server.services.contents.handlers import ContentsHandler
except ImportError:
    ServerWebApplication = ContentsHandler = ConfigHandler = KernelManager = filemanager = None
try:
    from nbgitpuller import pull as puller_module
    from nbgitpuller.handlers import SyncHandler
    from nbgitpuller.pull import GitPuller
except ImportError:
    SyncHandler = None
try:
    from jupyterlab_server.settings_handler import SettingsHandler
    from jupyterlab_server.workspaces_handler import WorkspacesHandler, WorkspacesManager
except ImportError:
    SettingsHandler = WorkspacesHandler = None

# Folders of a home that programs look into by themselves: shells for programs, R for its packages, Node for modules.
READ_BY_PROGRAMS = ("bin", "R", "node_modules")


def is_plain_folder(path):
    """Report whether a path is a folder below the working directory that no program looks into by itself: neither it nor one above it is hidden."""
    parts = os.path.normpath(path).split(os.sep)
    return not os.path.isabs(path) and not any(part.startswith(".") for part in parts) and parts[0] not in READ_BY_PROGRAMS


def refusal(folder):
    """Why a link may not fill a folder; None if it may. What an earlier link brought may hold links that lead elsewhere, and folders that git takes for a
    repository and whose settings it obeys."""
    above = os.path.abspath(folder)
    while above != os.path.dirname(above):
        # Links that root made, for a home on another disk, are no author's.
        if os.path.islink(above) and os.lstat(above).st_uid == os.getuid():
            return f"{above} leads to another place"
        if any(os.path.lexists(os.path.join(above, mark)) for mark in ("pyvenv.cfg", "conda-meta")):
            return f"{above} is an environment of Python's"
        above = os.path.dirname(above)
    git = os.path.join(folder, ".git")
    if os.path.lexists(folder) and (os.path.islink(git) or not os.path.isdir(git)):
        return f"{folder} is there already and is no repository of its own"
    return None


# The ways in which a repository may be fetched. Others are programs of git's.
FETCHED = re.compile(r"(https?|git|ssh|file)://|[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:")


def cut_links(folder):
    """Delete links that lead out of a folder which others filled: Jupyter's own files, such as checkpoints, would be written to where they lead."""
    inside, cut = os.path.realpath(folder) + os.sep, []
    for above, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(above, name)
            if os.path.islink(path) and not os.path.realpath(path).startswith(inside):
                os.remove(path)
                cut.append(os.path.relpath(path, folder))
    return cut


# Files that kernels run or load when they start in the folder of a notebook, before anybody runs a cell of it: R, Octave, MATLAB, Stata, Ruby, Haskell.
READ_AT_START = {".Rprofile", ".Renviron", ".RData", ".octaverc", "startup.m", "profile.do", "sysprofile.do", ".irbrc", ".pryrc", ".ghci"}


def drop_what_kernels_read(folder):
    """Delete what kernels would run or load by themselves from a folder that others filled; the names are returned."""
    dropped = []
    for above, _, files in os.walk(folder):
        for name in READ_AT_START.intersection(files):
            os.remove(os.path.join(above, name))
            dropped.append(os.path.relpath(os.path.join(above, name), folder))
    return sorted(dropped)


def is_module(name):
    try:
        return name.isidentifier() and importlib.util.find_spec(name) is not None
    except ValueError:  # one that says nothing of where it is from
        return True


def make_no_module(folder):
    """Keep a folder that was filled by others from being what `import` finds in place of a module that has its name: Python takes what lies beside a
    notebook first, but only if the folder has a file `__init__`. Those files are deleted; their names are returned."""
    name = os.path.basename(os.path.normpath(folder))
    if not os.path.isdir(folder) or not is_module(name):
        return []
    deleted = []
    for entry in sorted(os.listdir(folder)):
        if entry.split(".")[0] == "__init__":
            os.remove(os.path.join(folder, entry))
            deleted.append(entry)
    return deleted


# How long the place that a link names may take to say what it holds, and to hand it over, in seconds; and how much it may say.
ANSWER, TRANSFER = 30, 1800
LONGEST_ANSWER = 16 << 20

# What git said of a repository, by its address, while a link to it is followed.
said = {}


def end_group(pid):
    """End git with the programs that it has started for the transfer."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


async def ask(address, limit=ANSWER):
    """What git lists of a repository, as of a command that has ended. ValueError if there is no answer in time. Only git is waited for: nbgitpuller itself asks
    on the thread that serves all requests."""
    command = ["git", "ls-remote", "--symref", "--", address, "HEAD", "refs/heads/*", "refs/tags/*"]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=asyncio.subprocess.PIPE, stderr=quiet, start_new_session=True)
    try:
        text = await asyncio.wait_for(_read(process), limit)
    except asyncio.TimeoutError:
        raise ValueError(f"{address} did not answer for {limit} seconds. Check the link, or try again later.") from None
    finally:
        if process.returncode is None:
            end_group(process.pid)
        code = await process.wait()
    return subprocess.CompletedProcess(command, code, text.decode(errors="replace"))


async def _read(process):
    text = b""
    while chunk := await process.stdout.read(1 << 16):
        text += chunk
        if len(text) > LONGEST_ANSWER:
            raise ValueError("The repository of this link has too many branches.")
    await process.wait()
    return text


def recall(command):
    """What `git ls-remote` would print, from what is known; None if nothing is."""
    known = next((said[word] for word in command if word in said), None) if command[:2] == ["git", "ls-remote"] else None
    if known is None:
        return None
    if isinstance(known, Exception):
        raise known
    if known.returncode != 0:
        raise subprocess.CalledProcessError(known.returncode, command)
    kind = "refs/heads/" if "--heads" in command else "refs/tags/" if "--tags" in command else "HEAD"
    lines = [line for line in known.stdout.splitlines() if ("\t" + kind) in line and (kind == "HEAD" or not line.startswith("ref:"))]
    return subprocess.CompletedProcess(command, 0, "".join(line + "\n" for line in lines), "")


class Limited(subprocess.Popen):
    """A command of git that is ended when it takes too long. nbgitpuller would follow no other link until then."""

    limit = TRANSFER

    def __init__(self, command, **options):
        super().__init__(command, start_new_session=True, **options)
        self.late = False
        self.timer = threading.Timer(self.limit, self._end)
        self.timer.daemon = True
        self.timer.start()

    def _end(self):
        if self.poll() is None:
            self.late = True
            end_group(self.pid)

    def wait(self, timeout=None):
        code = super().wait(timeout)
        self.timer.cancel()
        if self.late:
            raise ValueError(f"The repository was not fetched within {self.limit // 60} minutes. Try again later.")
        return code


class Listed(bytes):
    """What git lists: names of files, which may be no valid text."""

    def decode(self, *_encoding):
        return os.fsdecode(bytes(self))


class Programs:
    """The module subprocess as nbgitpuller has it."""

    Popen = Limited

    @staticmethod
    def check_output(*arguments, **options):
        return Listed(subprocess.check_output(*arguments, **options))

    def __getattr__(self, name):
        return getattr(subprocess, name)

    @staticmethod
    def run(command, **options):
        return recall(command) or subprocess.run(command, check=options.pop("check", False), **options)


# A link makes nbgitpuller write what its author likes, without a question, into a folder that the link names. Programs run what lies in some folders: hidden
# ones hold settings of shells, IPython's start, packages for Python; one beside a notebook can stand in for a package that the notebook imports. A link to
# such a folder would be a way into the account of the user who opens it, an admin's too.
if SyncHandler is not None:
    _get_link, _puller, _pull = SyncHandler.get, GitPuller.__init__, GitPuller.pull

    @web.authenticated
    async def _get(self):
        folder = self.get_argument("targetpath", self.get_argument("repo", "").split("/")[-1])
        if not is_plain_folder(folder):
            raise web.HTTPError(
                400, f"This link would fill the folder {folder!r}, which programs read, or which is not in your home. Ask its author for another link."
            )
        if not FETCHED.match(self.get_argument("repo", "")):
            raise web.HTTPError(400, "This link names no repository that can be fetched. Ask its author for another link.")
        address = self.get_argument("repo")
        try:
            said[address] = await ask(address)
        except (OSError, ValueError) as error:
            said[address] = error  # raised where nbgitpuller asks, which shows it
        try:
            await _get_link(self)
        finally:
            said.pop(address, None)

    def _look_first(folder):
        if shutil.which("git") is None:
            raise ValueError("There is no git on this server, which such links need. Please ask an admin to install it: sudo apt install git")
        if why := refusal(folder):
            raise ValueError(f"{why}. Rename or remove it, or ask the link's author for another folder.")

    def _make_puller(self, git_url, repo_dir, **options):
        _look_first(repo_dir)
        if "backup" in options:
            options["backup"] = False  # it would put a repository of somebody else in the place of one's own
        _puller(self, git_url, repo_dir, **options)

    def _pull_no_module(self):
        _look_first(self.repo_dir)  # again: asking the repository took time, in which another link may have filled the folder
        try:
            yield from _pull(self)
        finally:
            for name in cut_links(self.repo_dir):
                yield f"{name} was left out: it is a link that leads out of the folder\n"
            for name in drop_what_kernels_read(self.repo_dir):
                yield f"{name} was left out: a kernel would run it as soon as a notebook next to it is opened\n"
            for name in make_no_module(self.repo_dir):
                yield f"{name} was left out: the folder has the name of a Python package, and would take its place\n"

    def _changed(self, kind):
        """The files that are not as the author's. nbgitpuller reads git's list as lines, in which a name with other letters than English ones is quoted, and
        takes a file that was renamed for none that is new: a file of the student's in its place would then keep all of the author's changes out, for good."""
        command = ["git", "diff", "--name-status", "--no-renames", "-z", f"..origin/{self.branch_name}"]
        words = iter(os.fsdecode(subprocess.run(command, cwd=self.repo_dir, check=True, stdout=subprocess.PIPE).stdout).split("\0"))
        return [name for status in words if (name := next(words, None)) and status.startswith(kind)]

    puller_module.subprocess = Programs()
    GitPuller.find_upstream_changed = _changed
    SyncHandler.get = _get
    GitPuller.__init__ = _make_puller
    GitPuller.pull = _pull_no_module


# `python -m` looks for the kernel's program in the folder of the notebook first, where the author of the notebook may have put one of that name. IPython adds
# that folder itself, for what the notebook imports; before its extensions, its start files and completion import what they need. So it is added when the first
# cell runs.
START_KERNEL = """
import sys
sys.path[:1] = [path for path in sys.path[:1] if path]
del sys.argv[0]
try:
    from IPython.core.shellapp import InteractiveShellApp as App
    add_folder, load_extensions = App.init_path, App.init_extensions
except (ImportError, AttributeError):
    App = None

def wait_for_a_cell(self):
    def add_once():
        self.shell.events.unregister("pre_execute", add_once)
        add_folder(self)
    self.shell.events.register("pre_execute", add_once)
    load_extensions(self)

if App is not None:
    App.init_path, App.init_extensions = (lambda self: None), wait_for_a_cell
import runpy
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def elsewhere(command):
    """A kernel's command that runs a module, such that it is not looked for in the working directory."""
    for place, word in enumerate(command[1:-1], 1):
        if word == "-m":
            return [*command[:place], "-c", START_KERNEL, *command[place + 1 :]]
        if not word.startswith("-"):
            break
    return command


if KernelManager is not None:
    _format_kernel_cmd = KernelManager.format_kernel_cmd

    def _format_elsewhere(self, *arguments, **options):
        return elsewhere(_format_kernel_cmd(self, *arguments, **options))

    KernelManager.format_kernel_cmd = _format_elsewhere


# Whoever opens the server of somebody else is not to run what that user trusts: a signed notebook's scripts would act in the visitor's name.
def is_visitor(user):
    name = getattr(user, "username", None)
    return name != os.environ.get("JUPYTERHUB_USER")


def distrust(model):
    if model.get("type") == "notebook":
        for cell in (model.get("content") or {}).get("cells", []):
            cell.setdefault("metadata", {})["trusted"] = False


if ContentsHandler is not None:
    _finish_model = ContentsHandler._finish_model

    def _finish_for(self, model, location=True):
        if is_visitor(self.current_user):
            distrust(model)
        return _finish_model(self, model, location)

    ContentsHandler._finish_model = _finish_for


# JupyterLab's settings and workspaces of a user say what keys do and which pages open, and what pages keep by /api/config, which scripts the classic notebook
# loads: a visitor gets the defaults, and leaves nothing there.
NOWHERE = "/nonexistent"


def data_of_a_visitor(handler):
    handler.settings_dir = NOWHERE
    if WorkspacesHandler is not None and isinstance(handler, WorkspacesHandler):
        handler.manager = WorkspacesManager(NOWHERE)


def for_the_owner(handler):
    """Let a handler of JupyterLab's data keep and show it to the server's own user only."""
    for name in ("get", "put", "patch", "delete"):
        if (usual := getattr(handler, name, None)) is not None and name in vars(handler):
            setattr(handler, name, _own_data(name, usual))


def _own_data(name, usual):
    def answer(self, *arguments, **options):
        if self.current_user is None or not is_visitor(self.current_user):
            return usual(self, *arguments, **options)
        if name == "get":
            data_of_a_visitor(self)
            return usual(self, *arguments, **options)
        if name == "patch":
            return self.finish({})  # what there is now
        self.set_status(204)
        return self.finish()

    return answer


class Others:
    """What there is of a server's config_manager for a visitor: what lies outside of the home."""

    def __init__(self, manager):
        home = os.path.realpath(os.path.expanduser("~"))
        folders = [folder for folder in manager.read_config_path if not (os.path.realpath(folder) + os.sep).startswith(home + os.sep)]
        self.manager = type(manager)(read_config_path=folders, write_config_dir=NOWHERE)

    def get(self, section):
        return self.manager.get(section)


def config_for(handler):
    manager = handler.settings["config_manager"]
    return Others(manager) if is_visitor(handler.current_user) else manager


if ConfigHandler is not None:
    ConfigHandler.config_manager = property(config_for)

for _handler in (SettingsHandler, WorkspacesHandler, ConfigHandler):
    if _handler is not None:
        for_the_owner(_handler)


# A cell that runs through the night and prints nothing is use, also when its page is closed: the hub would stop the server otherwise.
def is_busy(kernels):
    return any(getattr(kernels.get_kernel(kernel), "execution_state", None) == "busy" for kernel in kernels.list_kernel_ids())


# So is a command in a terminal, with what it started. One that waits for a key, such as an editor, takes no processor time and is no use.
def processor_times(root="/proc"):
    """The session and the clock ticks of each process that can be seen."""
    for entry in os.listdir(root):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"{root}/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
                yield int(fields[3]), int(entry), int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])


class Terminals:
    """Tells whether commands in terminals have worked since it was asked last."""

    def __init__(self, times=processor_times):
        self.times, self.seen = times, {}

    def worked(self, shells):
        """Of the sessions of these shells. A shell itself works when somebody types, which Jupyter counts already."""
        shells = set(shells)
        now = {process: ticks for session, process, ticks in self.times() if session in shells and process not in shells}
        before, self.seen = self.seen, now
        return any(ticks > before.get(process, 0) for process, ticks in now.items())


def shells_of(settings):
    terminals = getattr(settings.get("terminal_manager"), "terminals", None) or {}
    return [terminal.ptyproc.pid for terminal in list(terminals.values()) if getattr(terminal, "ptyproc", None) is not None]


if ServerWebApplication is not None:
    _last_activity = ServerWebApplication.last_activity
    in_terminals = Terminals()

    def _last_use(self):
        now = datetime.now(timezone.utc)
        worked = False
        with contextlib.suppress(Exception):  # however terminals are kept, the server's use is told
            worked = in_terminals.worked(shells_of(self.settings))
        return now if worked or is_busy(self.settings["kernel_manager"]) else _last_activity(self)

    ServerWebApplication.last_activity = _last_use


# JupyterHub goes by what the hub said of a session for five minutes, so that who logged out, or whose password was changed, could go on for so long. The hub is
# asked again after a moment; while it does not answer, as during an upgrade, what it said last holds as ever.
FRESH, PATIENCE = 20.0, 2.0  # seconds


def asking_again(check):
    async def ask(self, url, api_token, cache_key=None, use_cache=True):
        known = use_cache and cache_key is not None and cache_key in self.cache
        if not known or time.monotonic() - self.cache.timestamps[cache_key] < FRESH:
            return await check(self, url, api_token, cache_key=cache_key, use_cache=use_cache)
        before = self.cache[cache_key]
        try:
            self.cache[cache_key] = await asyncio.wait_for(check(self, url, api_token, use_cache=False), PATIENCE)
        except (web.HTTPError, OSError, asyncio.TimeoutError):
            return before
        return self.cache[cache_key]

    return ask


if inspect.iscoroutinefunction(HubAuth._check_hub_authorization):
    HubAuth._check_hub_authorization = asking_again(HubAuth._check_hub_authorization)


# What is deleted is moved to the trash, which a full home or quota does not take.
def told_when_full(trash):
    def move(path):
        try:
            return trash(path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                "your home folder is full, and the trash takes nothing more. Make room in a terminal. To empty the trash: rm -r ~/.local/share/Trash. "
                "To find what is large: du -ah ~ | sort -h | tail"
            ) from error

    return move


if filemanager is not None and hasattr(filemanager, "send2trash"):
    filemanager.send2trash = told_when_full(filemanager.send2trash)


if KernelManager is not None:
    here = os.path.dirname(os.path.abspath(__file__))
    c = get_config()  # noqa: F821

    # Shells that a user's own files end, or keep from showing a prompt.
    c.ServerApp.terminado_settings = {"shell_command": ["/bin/sh", os.path.join(here, "terminal.sh")]}

    # Python looks into ~/.local only if the folder was there when it started: without it, a first `%pip install` would be found after a restart of the kernel.
    # Shells likewise add ~/.local/bin to PATH only if it is there.
    for folder in (site.getusersitepackages(), os.path.join(site.getuserbase(), "bin")):
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)


# Secrets in the journal, words where Jupyter has none, moved files, apps behind ports, kernels that know no unix sockets, and kernels of the user's own
# that stand in the way of everybody's.
KERNELS = ("own_kernels",) if KernelManager is not None else ()
for _name in ("own_masks", "own_words", "own_files", "own_apps", "transports", *KERNELS):
    _spec = importlib.util.spec_from_file_location(f"tljh_{_name}", os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{_name}.py"))
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))

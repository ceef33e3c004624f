"""Users' servers: each a transient unit of systemd that listens on a socket file of its own.

With a TCP port, a student's program could take the port of a server that has just ended and be handed the visitors, and their
tokens, that were meant for it. A socket lies in a folder that belongs to that server alone:

    /run/tljh/sockets/UNIT/server.sock

While the server starts, the folder is the user's, for Jupyter makes the socket itself: a small file system of its own, which is all that a user can fill.
Once it answers, the folder is root's and holds the socket alone: nothing can be put in the socket's place.

The server itself runs trusted code only (singleuser/start.py), unless the config says otherwise; kernels and terminals are processes of their own, and do as
they always do. One that does not start all the same is started in another way (tljh.rescue), and people are told.
"""

import asyncio
import contextlib
import glob
import grp
import json
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import aiohttp
import jupyterhub
from jupyterhub.httpclient import fetch
from jupyterhub.spawner import Spawner
from jupyterhub.utils import maybe_future, url_escape_path, url_path_join
from systemdspawner import SystemdSpawner
from systemdspawner.systemd import get_systemd_version
from traitlets import Any, Bool, Dict, Integer, List, Unicode, Union

from tljh import accounts, devices, failures, files, machine, paths, plugins, readonly, rescue, shared, systemd
from tljh.failures import SpawnFailure, Story
from tljh.names import unit_name
from tljh.rescue import Way

PROXY_GROUP = "tljh-proxy"
SLICE = "tljh-users.slice"
SCHEME = "http+unix"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# jupyter_server opens no port when it has a socket, and refuses to start unless its port is the one that nobody chose.
DEFAULT_PORT = 8888

# Seconds that a kernel may take until it speaks. When a whole class starts its kernels at once, Jupyter's own 60 are too few, and it then
# breaks the connection.
KERNEL_PATIENCE = 300

# What the folder of a socket can hold. The note of a start that was not as usual lies there as well.
SOCKET_ROOM = "128k"
SOCKET_FILES = 32

# Beside the homes: temporary files of servers, where the machine's lie in memory. tljh-install uninstall removes it.
TMP = ".tljh-tmp"

# Where a server keeps what belongs to its kernels: in the /tmp that the unit has for itself, as paths of sockets must be short.
RUNTIME = "/tmp/jupyter"  # noqa: S108

# For everybody. The preflight of tljh-install reads COMMON and CONFINED, to try them: one name with a text a line.
COMMON = {
    "OOMPolicy": "continue",  # a kernel that takes too much memory is ended, the server lives on
    "OOMScoreAdjust": "200",
    "TasksMax": "2048",
    "TimeoutStopSec": "15",
    "LogRateLimitIntervalSec": "60s",  # who floods the journal pushes out what others wrote
    "LogRateLimitBurst": "600",
}

# Before a server starts, its ports are closed to other machines. Where that cannot be done it starts all the same.
FIREWALL = {"Wants": "tljh-firewall.service", "After": "tljh-firewall.service"}

# For those who may not become root: most of these take sudo away (they imply NoNewPrivileges for a unit with a user). A line a reason.
CONFINED = {
    "NoNewPrivileges": "yes",  # no sudo, no programs that are set-uid
    "CapabilityBoundingSet": "",  # none of root's rights, whatever else fails
    # On the system's bus, logind starts a user manager for any user that asks, and nothing here confines what that manager starts.
    "InaccessiblePaths": "-/run/dbus/system_bus_socket",
    "LockPersonality": "yes",
    "PrivateDevices": "yes",  # no disks; where there are devices for the user, devices.properties() stands in its place
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectSystem": "full",  # /usr, /boot and /etc; not "strict": shared folders may lie anywhere
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",  # kinds of sockets that few programs use and many faults of kernels were in
    "RestrictNamespaces": "yes",  # root in a namespace of one's own is where most faults of kernels begin
    "RestrictRealtime": "yes",  # real time can stop a machine
    "RestrictSUIDSGID": "yes",  # no programs that run with one's account for whoever starts them
    # A list of what is forbidden, so that calls of tomorrow work. Not in it, as work needs it: ptrace and perf (@debug), chown to one's own groups
    # (@privileged), processor affinity (@resources).
    "SystemCallFilter": "~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap",
    "SystemCallErrorNumber": "EPERM",
}

# What makes namespaces of one's own (podman, bubblewrap, the sandbox of Chromium) needs these lines otherwise.
WITH_NAMESPACES = {"RestrictNamespaces": None, "SystemCallFilter": "~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap"}

# A capability that the kernel has no use for. A process without it may not trace one that has it, which is how a server is closed to the user's other
# processes until it closes itself (singleuser/start.py).
GUARD = "CAP_NET_BROADCAST"
_GUARD_BIT = 11

# The program that a server starts through. It runs on the Python of the user environment.
START = Path(__file__).parent / "singleuser" / "start.py"


class UserSpawner(SystemdSpawner):
    """Starts a user's server in the user's own Linux account."""

    extra_user_groups = Dict(value_trait=List(Unicode()), config=True, help="Linux groups and the hub users who belong to them.")

    user_limits = Any(config=True, help="tljh.settings.Limits: what each user may take.")
    shared_folders = Dict(config=True, help="tljh.settings.SharedFolder by name.")
    variables = Dict(value_trait=Unicode(), config=True, help="Environment variables of every server.")
    own_extensions = Bool(False, config=True, help="Whether a server loads Jupyter's config, extensions and templates from its user's home.")
    allow_namespaces = Bool(False, config=True, help="Whether users who are no admins may make namespaces.")
    allow_setgid = Bool(False, config=True, help="Whether users who are no admins may set the bits set-user-ID and set-group-ID.")
    allow_devices = Union(
        [List(Unicode()), Unicode()],
        default_value=devices.AUTO,
        config=True,
        help="Devices that servers of users who are no admins see: auto, none, or a list of paths and patterns.",
    )
    isolate_tmp = Bool(True, config=True, help="Whether each server has a /tmp of its own.")
    isolate_devices = Bool(None, allow_none=True, config=True, help="Whether servers see no devices; None: those of users who are no admins.")
    activity_interval = Integer(300, config=True, help="Seconds between two times that a server tells the hub whether it is in use.")
    rescue_environment = Unicode(config=True, help="The environment that servers start from while the one that all users share is broken.")

    _account: accounts.Account | None = None
    _tmp: Path | None = None
    _words = "Waiting for its turn"
    _end_watcher: asyncio.Task | None = None
    _removals: ClassVar[dict[Path, subprocess.Popen]] = {}  # what removes temporary files of servers that have ended

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.user is not None and self.orm_spawner is not None:
            self.unit_name = unit_name(self.user.name, self.name)
        if self.user is not None:
            self._limit()

    def _groups(self) -> list[str]:
        return [group for group, members in self.extra_user_groups.items() if self.user.name in members]

    def _limit(self) -> None:
        """Set limits that this user has apart from others. Once, so that a hook of an admin's own may set others."""
        if self.user_limits is None:
            return
        for resource, option in (("memory", "mem_limit"), ("cpu", "cpu_limit")):
            found = self.user_limits.special(resource, self.user.name, self._groups())
            if found:
                setattr(self, option, found[0])

    def _expand_user_vars(self, string):
        """{USERNAME} is the Linux account here, as it stands in paths."""
        return string.format(USERNAME=accounts.system_name(self.user.name), USERID=self.user.id)

    # Where the server is: JupyterHub's database holds scheme, host and port. A port behind the socket's path would lead elsewhere,
    # so the address is always made anew, also when a hub finds the server of the one before it.

    @property
    def server(self):
        server = Spawner.server.fget(self)
        if server is not None and server.proto == SCHEME:
            address = f"{SCHEME}://{server.ip}{server.base_url}"
            if server.connect_url != address:
                server.connect_url = address
        return server

    @server.setter
    def server(self, server):
        Spawner.server.fset(self, server)

    @property
    def socket_folder(self) -> Path:
        return paths.SOCKETS / self.unit_name.removesuffix(".service")

    @property
    def socket_path(self) -> Path:
        return self.socket_folder / "server.sock"

    @property
    def socket_url(self) -> str:
        return f"{SCHEME}://{quote(str(self.socket_path), safe='')}"

    async def run_pre_spawn_hook(self):
        """Run an admin's hook, which finds the user's account and home. What it leaves there as root becomes the user's.

        One that writes where the hub may not is told to the user and in the log, with the key that permits it.
        """
        if not self.pre_spawn_hook:
            return None
        account = self._account = await self._prepare()
        begun = time.time()
        try:
            done = await maybe_future(super().run_pre_spawn_hook())
        except Exception as error:
            if (story := readonly.story(error)) is None:
                raise
            raise SpawnFailure(story) from error
        if given := await asyncio.to_thread(accounts.hand_over, account, begun):
            self.log.info("pre_spawn_hook: what it left in %s belongs to %s now (%d files and folders)", account.home, account.name, given)
        return done

    async def start(self):
        begun = time.monotonic()
        try:
            # JupyterHub's own limit would leave no words.
            async with asyncio.timeout(max(self.start_timeout - 2, 1)):
                await self._start()
        except TimeoutError:
            lines = await self._last_lines()
            raise SpawnFailure(
                Story(
                    "timeout",
                    f"Your server did not answer within {time.monotonic() - begun:.0f} seconds.",
                    f"The machine may be very busy: try again in a few minutes. Admins find more with: journalctl -u {self.unit_name}",
                    lines[-6:],
                )
            ) from None
        except systemd.UnitError as error:
            raise SpawnFailure(Story("system", f"The system did not start your server: {error}.")) from None
        self.log.info("Server %s answers after %.1f s", self.unit_name, time.monotonic() - begun)
        return self.socket_url

    async def _start(self):
        begun = time.time()
        self._words = "Looking after your account and home"
        account = self._account = await self._prepare()
        await self._link(account)
        self._words = "Starting your server"
        await self._clear()
        way = await self._find_way(account)
        if way.rescue:
            return
        try:
            if await asyncio.to_thread(rescue.forget, self._told, begun):
                self.log.warning("Servers start from the environment that all users share again")
        except OSError as error:
            self.log.error("Cannot remove %s: %s", self._told, error)

    async def _find_way(self, account: accounts.Account) -> Way:
        """Start the server as usual, or else in the way that helps against why it did not; returns the way that worked."""
        way, stories = rescue.USUAL, []
        while True:
            try:
                await self._attempt(account, way, stories)
                break
            except SpawnFailure as failure:
                stories.append(failure.story)
            if stories[-1].kind == "environment":
                await self._tell_admins(stories[-1])
            other = rescue.after(way, stories[-1].kind, self._rescue_there())
            if other is None:
                raise SpawnFailure(rescue.telling(stories))
            self.log.warning("%s did not start (%s); trying it %s", self.unit_name, stories[-1].kind, rescue.describe(other))
            way = other
            await systemd.stop(self.unit_name)
        if way.rescue:
            await self._tell_admins(rescue.cause(stories))
        return way

    async def _tell_admins(self, story: Story) -> None:
        try:
            if not await asyncio.to_thread(rescue.tell, self._told, story):
                return
        except OSError as error:  # a disk that is full keeps nobody from the rescue
            self.log.error("Cannot write %s: %s", self._told, error)
        self.log.critical("=" * 72)
        for line in (story.what, *story.lines):
            self.log.critical("USER ENVIRONMENT BROKEN: %s", line)
        self.log.critical("Servers start from the rescue environment until it is repaired: %s", rescue.REPAIR)
        self.log.critical("=" * 72)

    @property
    def _told(self) -> Path:
        return paths.Paths.here().rescue_told

    @property
    def _rescue_python(self) -> str:
        return f"{self.rescue_environment}/bin/python"

    def _rescue_there(self) -> bool:
        return bool(self.rescue_environment) and os.access(self._rescue_python, os.X_OK)

    async def _attempt(self, account: accounts.Account, way: Way, stories: list[Story]) -> None:
        """Start the server in one way. Stories are those of the ways before."""
        if not way.rescue and (missing := self._missing()):
            raise SpawnFailure(failures.environment_missing(missing))
        self._words = rescue.progress(way)
        note = rescue.note(way, stories) if way != rescue.USUAL else ""
        await self._make_folder(account, note)
        environment = await asyncio.to_thread(systemd.write_environment, paths.ENVIRONMENTS, self.unit_name, self._environment(way))
        try:
            extra = await asyncio.to_thread(self._way_properties, account, way)
            properties = [*await asyncio.to_thread(self._properties, account, way), *extra, ("EnvironmentFile", str(environment))]
            await systemd.start(self.unit_name, [*self._command(way), *self._arguments()], properties)
        except systemd.UnitError as error:
            if (story := await self._refusal(way)) is not None:
                raise SpawnFailure(story) from error
            raise
        finally:
            environment.unlink(missing_ok=True)
        if way == rescue.USUAL:
            self._words = "Waiting for your server to answer"
        await self._wait_patiently(account, way)
        await asyncio.to_thread(self._seal_folder, account)
        await self._check_listener()

    async def _wait_patiently(self, account: accounts.Account, way: Way) -> None:
        """Where a user's own settings may be why a server does not answer, time is left to try it without them."""
        patience = None
        if way == rescue.USUAL and self.own_extensions and await asyncio.to_thread(rescue.has_settings, account.home):
            patience = self.start_timeout * rescue.PATIENCE
        try:
            async with asyncio.timeout(patience):
                await self._wait(way)
        except TimeoutError:
            raise SpawnFailure(failures.hung(self.unit_name, patience or 0, (await self._last_lines())[-6:])) from None

    def _command(self, way: Way) -> list[str]:
        """-s: without what the user installed in .local, be it for the start of the server alone. -I: nor what any variable names."""
        start = [str(START)] if self._is_trusted(way) else []
        if way.rescue:
            return [self._rescue_python, "-I", *(start or ["-m"]), "jupyterhub.singleuser"]
        command = list(self._program)
        if self._is_python():
            # Of the generation that is live now: a server must not slip into the next while it runs.
            folder = os.path.realpath(os.path.dirname(self._program[0]))
            command = [f"{folder}/python", "-s", *start, f"{folder}/jupyterhub-singleuser", *self._program[1:]]
        return [*self._starter(), *command] if way == rescue.USUAL else command

    def _is_trusted(self, way: Way) -> bool:
        """Report whether a server runs trusted code only, as a safe start always does. What a command of an admin's own runs is the admin's business."""
        return (way.safe or not self.own_extensions) and (way.rescue or self._is_python())

    @property
    def _program(self) -> list[str]:
        """The command of a server. Without a path, it is the user environment's, or the system's."""
        name, *arguments = self.cmd
        if os.path.isabs(name):
            return list(self.cmd)
        own = str(paths.Paths.here().user_bin / name)
        return [own if os.path.exists(own) else shutil.which(name, path=SYSTEM_PATH) or own, *arguments]

    def _python(self) -> str:
        return f"{os.path.dirname(self._program[0])}/python"

    def _is_python(self) -> bool:
        """A command of an admin's own may be anything."""
        return os.path.isabs(self._program[0]) and os.path.basename(self._program[0]) == "jupyterhub-singleuser"

    def _environment(self, way: Way) -> dict[str, str]:
        env = self.get_env()
        if not self._is_trusted(way):
            env.setdefault("JUPYTER_CONFIG_PATH", str(START.parent / "always"))  # which start.py adds to the others otherwise
        if way.safe:
            rescue.without_own(env, f"/run/{self._safe_folder}")
        if way.rescue:
            env["PATH"] = f"{self.rescue_environment}/bin:{env.get('PATH', SYSTEM_PATH)}"
            env.pop("JUPYTERHUB_SINGLEUSER_APP", None)  # it may name what the rescue environment has not
        if way != rescue.USUAL:
            env["JUPYTERHUB_DEFAULT_URL"] = rescue.first_page(env.get("JUPYTERHUB_DEFAULT_URL", ""), way, note=not self.notebook_dir)
        return env

    @property
    def _safe_folder(self) -> str:
        return f"tljh-safe-{self.unit_name.removesuffix('.service')}"

    def _way_properties(self, account: accounts.Account, way: Way) -> list[tuple[str, str]]:
        """The note is the user's own business: put into the home, and taken away, by the unit as the user. That it can't be is no reason to start no server."""
        note = os.path.join(self._working_folder(account), rescue.NOTE)
        chosen = []
        if way != rescue.USUAL:
            copy = ["/bin/cp", "--remove-destination", "--no-target-directory", str(self._note_path), note]
            chosen.append(("ExecStartPre", "-" + " ".join(systemd.word(each) for each in copy)))
        elif os.path.lexists(note):
            chosen.append(("ExecStartPre", f"-/bin/rm -f {systemd.word(note)}"))
        if way.safe:
            chosen += [("RuntimeDirectory", self._safe_folder), ("RuntimeDirectoryMode", "0700")]
        return chosen

    async def _prepare(self) -> accounts.Account:
        if missing := await asyncio.to_thread(machine.no_memory):
            raise SpawnFailure(
                Story("memory", f"Your server cannot start: {missing}", "Try again when others have stopped their servers, or tell an admin of this hub.")
            )
        # Before the account: useradd on a full disk leaves half an account.
        if missing := await asyncio.to_thread(machine.no_room, str(accounts.HOMES)):
            raise SpawnFailure(Story("disk", f"Your server cannot start: {missing}"))
        try:
            account = await asyncio.to_thread(
                accounts.ensure, self.user.name, self.user.admin, self.extra_user_groups, shared.memberships(self.shared_folders, self.user.name)
            )
        except accounts.AccountError as error:
            raise SpawnFailure(Story("account", f"Your server cannot start. {error}", "")) from error
        if account.made:
            await self._tell_plugins(account)
        if missing := await asyncio.to_thread(machine.no_room, account.home):
            raise SpawnFailure(Story("disk", f"Your server cannot start: {missing}"))
        return account

    async def _tell_plugins(self, account: accounts.Account) -> None:
        """Plugins hear of a new account; what they leave in its home belongs to it."""
        begun = time.time()
        if await asyncio.to_thread(plugins.new_account, account.name):
            await asyncio.to_thread(accounts.hand_over, account, begun)

    async def _link(self, account: accounts.Account) -> None:
        """Shared folders are found in the home. That they are not is no reason to start no server."""
        names = shared.visible(self.shared_folders, self.user.name, self.user.admin, self._groups())
        try:
            problems = await asyncio.to_thread(shared.link, account, names)
        except (OSError, subprocess.SubprocessError) as error:
            problems = [str(error)]
        for problem in problems:
            self.log.warning("Shared folders of %s: %s", account.name, problem)

    def _missing(self) -> str | None:
        """What of the environment is not there, and without which the server does not start as usual, or shows no page or runs no kernel."""
        needed = [self._python(), self._program[0]] if self._is_python() else [self._program[0]]
        program = next((program for program in needed if os.path.isabs(program) and not os.access(program, os.X_OK)), None)
        own = paths.Paths.here().user_bin.parent
        if program is not None or not self._rescue_there() or not self._is_python() or self._environment_folder() != own:
            return program
        pages = [rescue.PAGE] if (self.default_url or "/lab").startswith("/lab") else []
        module = rescue.missing_module(own, [*rescue.VITAL, *pages])
        return str(module) if module else None

    async def _clear(self):
        """End what runs under our name although the hub knows nothing of it, and what failed before."""
        if (await systemd.state(self.unit_name)).known:
            self.log.warning("%s is there although the hub does not know it; ending it", self.unit_name)
            await systemd.stop(self.unit_name)

    @property
    def _note_path(self) -> Path:
        return self.socket_folder / "note.md"

    def _make_tmp(self, account: accounts.Account) -> None:
        """Make what the server has for /tmp where the machine's is in memory: that holds half of it for all, and one who fills it keeps everybody from
        starting. It lies on the disk of the homes, which a user can fill anyway. Where it cannot be made, the server has a part of the machine's."""
        self._tmp = None
        if not self._own_tmp() or not machine.is_in_memory("/tmp"):  # noqa: S108
            return
        folder = self._tmp_place(account)
        try:
            if os.lstat(folder.parent.parent).st_uid != 0:
                return
            with contextlib.suppress(FileExistsError):
                folder.parent.mkdir(mode=0o700)
            made = os.lstat(folder.parent)
            if not stat.S_ISDIR(made.st_mode) or made.st_uid != 0:
                return
            folder.mkdir(exist_ok=True)
            os.chmod(folder, 0o1777)
        except OSError as error:
            self.log.warning("%s: temporary files are in memory: %s", self.unit_name, error)
            return
        self._tmp = folder

    def _tmp_place(self, account: accounts.Account) -> Path:
        return Path(account.home).parent / TMP / self.unit_name

    def _remove_tmp(self) -> None:
        if self._account is None:  # a server that the hub before this one started: its files go when the next is started
            return
        place = self._tmp_place(self._account)
        with contextlib.suppress(OSError):
            made = os.lstat(place.parent)
            if not stat.S_ISDIR(made.st_mode) or made.st_uid != 0:
                return
            os.rename(place, place.with_name(f"{place.name}.{time.time_ns()}"))
        # By a program of its own: for each level of folders, Python takes a descriptor, of which a user could use up the hub's.
        # A name with a dot may begin like another's: what follows is a time, and nothing else.
        for old in [old for old in place.parent.glob(f"{glob.escape(place.name)}.*") if old.name.removeprefix(f"{place.name}.").isdigit()]:
            self._removals[old] = self._removals.get(old) or subprocess.Popen(
                ["/usr/bin/nice", "/bin/rm", "-rf", "--one-file-system", str(old)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        for old in [old for old, program in self._removals.items() if program.poll() is not None]:
            del self._removals[old]

    async def _make_folder(self, account: accounts.Account, note: str = "") -> None:
        await self._remove_folder()
        await asyncio.to_thread(self._make_tmp, account)
        self.socket_folder.mkdir(mode=0o700)
        try:
            await systemd.mount_tmpfs(self.socket_folder, SOCKET_ROOM, SOCKET_FILES)
        except systemd.UnitError as error:  # where nothing can be mounted, as in some containers
            self.log.warning("%s has no file system of its own, so its user could fill /run: %s", self.socket_folder, error)
        await asyncio.to_thread(self._open_folder, account, note)

    async def _remove_folder(self) -> None:
        try:
            if os.path.ismount(self.socket_folder):
                await systemd.unmount(self.socket_folder)
        except systemd.UnitError as error:
            self.log.warning("Cannot unmount %s: %s", self.socket_folder, error)
        await asyncio.to_thread(shutil.rmtree, self.socket_folder, ignore_errors=True)
        await asyncio.to_thread(self._remove_tmp)

    def _open_folder(self, account: accounts.Account, note: str = "") -> None:
        """The user's, for now; the proxy may pass (its group is inherited by the socket), nobody else."""
        folder = self.socket_folder
        if note:  # while the folder is nobody else's
            self._note_path.write_text(note, encoding="utf-8")
            os.chmod(self._note_path, 0o644)
        os.chown(folder, account.uid, grp.getgrnam(PROXY_GROUP).gr_gid)
        os.chmod(folder, 0o2710)

    def _seal_folder(self, account: accounts.Account) -> None:
        folder = self.socket_folder
        os.chown(folder, 0, -1)
        os.chmod(folder, 0o2710)
        for other in folder.iterdir():
            if other == self.socket_path:
                continue
            if other.is_dir() and not other.is_symlink():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink(missing_ok=True)
        status = os.lstat(self.socket_path)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != account.uid:
            raise SpawnFailure(Story("socket", "Your server did not make its socket."))

    async def _check_listener(self) -> None:
        """Another process of the user's may have put a socket of its own into the folder while that was the user's."""
        pid = await asyncio.to_thread(machine.listener, self.socket_path)
        if pid != (await systemd.state(self.unit_name)).pid and not machine.is_of_unit(pid, self.unit_name):
            raise SpawnFailure(
                Story("socket", "The socket of your server belongs to another process.", "End your other processes, then start your server again.")
            )

    def get_env(self):
        env = super().get_env()
        own = {name.lower() for name in (*self.environment, *self.variables)}
        env |= {name: value for name, value in self._network().items() if name.lower() not in own}
        env |= {name: value for name, value in self.variables.items() if name not in self.environment}
        for extra in reversed(self.extra_paths):
            env["PATH"] = f"{self._expand_user_vars(extra)}:{env.get('PATH', SYSTEM_PATH)}"
        if self._account is not None:  # last: what the user installed takes the place of no other program
            env["PATH"] = f"{env.get('PATH', SYSTEM_PATH)}:{self._account.home}/.local/bin"
        if "SHELL" not in self.environment:
            env["SHELL"] = self.default_shell
        # What conda's commands mean when nothing was activated.
        if (prefix := self._conda_prefix()) is not None:
            env.setdefault("CONDA_PREFIX", prefix)
        if folders := self._kernel_folders():
            env["JUPYTER_PATH"] = ":".join([*folders, *filter(None, [env.get("JUPYTER_PATH")])])
        if self._own_tmp():
            env["JUPYTER_RUNTIME_DIR"] = RUNTIME
        env.setdefault("JUPYTERHUB_ACTIVITY_INTERVAL", str(self.activity_interval))
        # Without a port, jupyterhub-singleuser leaves the choice to its arguments.
        env["JUPYTERHUB_SERVICE_URL"] = self.socket_url + (self.server.base_url if self.server else "/")
        return env

    def _network(self) -> dict[str, str]:
        """The network's proxy and package sources, as the installer wrote them down last. Without them, a server starts all the same."""
        try:
            found = json.loads(files.read_secret(paths.Paths.here().servers_env) or "{}")
            return {str(name): str(value) for name, value in found.items()}
        except (OSError, ValueError, AttributeError) as error:
            self.log.error("Cannot read the network's variables for servers: %s", error)
            return {}

    def _environment_folder(self) -> Path:
        """The users' environment."""
        return Path(self._program[0]).parent.parent if self._is_python() else paths.Paths.here().user_bin.parent

    def _starter(self) -> list[str]:
        """The program that the environment brings to start servers through: the start of what repo2docker knows."""
        start = self._environment_folder() / "etc/tljh/start"
        return [str(start)] if os.access(start, os.X_OK) else []

    def _kernel_folders(self) -> list[str]:
        """Where Jupyter finds the extra kernels: those for everybody, and those of groups that the user belongs to."""
        root = self._environment_folder().parent / "kernels"
        return [str(root / name) for name in ("all", *(f"group-{group}" for group in self._groups())) if (root / name / "kernels").is_dir()]

    def _conda_prefix(self) -> str | None:
        """The users' environment, if conda made it."""
        prefix = self._environment_folder()
        return str(prefix) if (prefix / "conda-meta/history").exists() else None

    def _arguments(self) -> list[str]:
        own = [f"--ServerApp.sock={self.socket_path}", "--ServerApp.sock_mode=0660", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={DEFAULT_PORT}"]
        kernels = [f"--MappingKernelManager.kernel_info_timeout={KERNEL_PATIENCE}"]
        if self._own_tmp():
            # Anybody on the machine may listen to what a kernel says on a TCP port, and two kernels that start at once may choose the same.
            kernels.append("--KernelManager.transport=ipc")
        return [*kernels, *self.get_args(), *own]

    def _own_tmp(self) -> bool:
        return str(self.unit_extra_properties.get("PrivateTmp", self.isolate_tmp)).lower() in ("yes", "true", "on", "1", "disconnected")

    def _properties(self, account: accounts.Account, way: Way = rescue.USUAL) -> list[tuple[str, str]]:
        chosen = {
            "Description": f"Jupyter server of {account.name}",
            # Started means that the program itself runs: a missing one is told at once.
            "Type": "exec",
            "User": str(account.uid),
            "Group": str(account.gid),
            "WorkingDirectory": self._working_folder(account),
            "Slice": self.slice or SLICE,
            **COMMON,
            **FIREWALL,
            **self._confinement(),
            **self._devices(account),
            **self._limits(),
            **self._shared_memory(),
            **self._guard(way),
        }
        if self.isolate_devices is not None:
            chosen["PrivateDevices"] = "yes" if self.isolate_devices else "no"
        chosen["PrivateTmp"] = "yes" if self.isolate_tmp else "no"
        if self._tmp is not None:
            chosen["BindPaths"] = f"{self._tmp}:/tmp"
        if self.readonly_paths:
            chosen["ReadOnlyPaths"] = [self._expand_user_vars(path) for path in self.readonly_paths]
        if self.readwrite_paths:
            chosen["ReadWritePaths"] = [self._expand_user_vars(path) for path in self.readwrite_paths]
        for key, value in self.unit_extra_properties.items():
            values = value if isinstance(value, list) else [value]
            chosen[key] = [self._expand_user_vars(str(each)) for each in values]
        return [(key, each) for key, value in chosen.items() for each in (value if isinstance(value, list) else [value])]

    def _working_folder(self, account: accounts.Account) -> str:
        return account.home if self.user_workingdir is None else self._expand_user_vars(self.user_workingdir)

    def _confinement(self) -> dict[str, str]:
        version = get_systemd_version() or 0
        chosen = {}
        if self._is_confined():
            chosen = CONFINED | (WITH_NAMESPACES if self.allow_namespaces else {})
            chosen |= {"RestrictSUIDSGID": None} if self.allow_setgid else {}
            chosen = {key: value for key, value in chosen.items() if value is not None}
        if version >= 247:
            # Other users' processes, and what they were started with, are out of sight.
            chosen["ProtectProc"] = "invisible"
        return chosen

    def _devices(self, account: accounts.Account) -> dict[str, str | list[str]]:
        if not self._is_confined() or self.isolate_devices is not None:
            return {}
        person = devices.Person(account.uid, frozenset(os.getgrouplist(account.name, account.gid)))
        choice = devices.choose(self.allow_devices, self.allow_namespaces, person, devices.SHOWN)
        for path in choice.closed:
            self.log.warning(
                "%s may not open %s, which users.devices names: its group is %s; put users into it by users.extra_user_groups",
                account.name, path, machine.group_of(os.path.join(devices.SHOWN, path.lstrip("/"))),
            )  # fmt: skip
        return devices.properties(choice.seen)

    def _is_confined(self) -> bool:
        return self.disable_user_sudo and not self.user.admin

    def _shared_memory(self) -> dict[str, str]:
        """What lies in /dev/shm is memory: each server has one of its own, which counts for its limit and ends with it.

        It holds half of the limit, as the system's holds half of the machine: nobody would be left to end when files in it had taken all of it.
        """
        size = "50%" if self.mem_limit is None else str(self.mem_limit // 2)
        chosen = {"TemporaryFileSystem": f"/dev/shm:rw,nosuid,nodev,mode=1777,size={size}"}  # noqa: S108
        if (get_systemd_version() or 0) >= 248:
            chosen["PrivateIPC"] = "yes"
        return chosen

    def _guard(self, way: Way) -> dict[str, str]:
        """What closes a server to the user's other processes while it starts. A container may not have it to give."""
        if not self._is_trusted(way) or not machine.has_capability(_GUARD_BIT):
            return {}
        return {"AmbientCapabilities": GUARD, **({"CapabilityBoundingSet": GUARD} if self._is_confined() else {})}

    def _limits(self) -> dict[str, str]:
        chosen = {}
        if self.mem_limit is not None:
            chosen |= {"MemoryAccounting": "yes", "MemoryMax": str(self.mem_limit), "MemorySwapMax": "0"}
        if self.mem_guarantee is not None:
            chosen |= {"MemoryAccounting": "yes", "MemoryLow": str(self.mem_guarantee)}
        if self.cpu_limit is not None:
            chosen |= {"CPUAccounting": "yes", "CPUQuota": f"{max(round(self.cpu_limit * 100), 1)}%"}
        return chosen

    async def _wait(self, way: Way):
        """Return when the server answers; tell its story as soon as it has ended instead."""
        pid = (await systemd.state(self.unit_name)).pid
        answer = asyncio.create_task(self._answer())
        end = asyncio.create_task(systemd.ended(pid) if pid else asyncio.sleep(0))
        try:
            await asyncio.wait([answer, end], return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            end.result()
            raise SpawnFailure(await self._story(way))
        finally:
            for task in (answer, end):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _answer(self):
        url = f"{self.socket_url}{self.server.base_url}api"
        while True:
            # A link is not followed: whatever else root could reach is not for the user to ask.
            with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
                if stat.S_ISSOCK(os.lstat(self.socket_path).st_mode):
                    reply = await fetch(url, raise_for_status=False, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=30))
                    if reply.status < 500:
                        return
            await asyncio.sleep(0.1)

    async def _last_lines(self) -> list[str]:
        try:
            state = await systemd.state(self.unit_name)
            return await systemd.journal(self.unit_name, state.invocation)
        except systemd.UnitError, OSError:
            return []

    async def _story(self, way: Way) -> Story:
        state = await systemd.state(self.unit_name)
        while state.active in ("active", "deactivating"):  # its last processes are still going
            await asyncio.sleep(0.1)
            state = await systemd.state(self.unit_name)
        lines = await systemd.journal(self.unit_name, state.invocation)
        story = failures.ended_early(self.unit_name, state, lines)
        # Once is enough: by then it is known to be good, or not used.
        if story.kind != "exited" or way != rescue.USUAL:
            return story
        return await self._environment_story() or story

    async def _refusal(self, way: Way) -> Story | None:
        """The story of a unit that systemd could not even begin with; None leaves it to systemd's own words."""
        if not way.rescue:
            if missing := self._missing():
                return failures.environment_missing(missing)
            if story := await self._environment_story():
                return story
        state = await systemd.state(self.unit_name)
        return failures.ended_early(self.unit_name, state, []) if state.known else None

    async def _environment_story(self) -> Story | None:
        """Whether the users' environment is to blame. It is looked at as somebody who has nothing of his own."""
        wanted = jupyterhub.__version__
        ask = "from importlib.metadata import version; print(version('jupyterhub'))"
        code, out, _ = await self._as_nobody(self._python(), "-c", ask)
        if code == 0 and out.strip() != wanted:
            return failures.environment_version(out.strip(), wanted)
        code, out, err = await self._as_nobody(*self._command(rescue.USUAL), "--version")
        if code != 0:
            return failures.environment_broken((err or out).splitlines())
        return None

    @staticmethod
    async def _as_nobody(program: str, *arguments: str) -> tuple[int, str, str]:
        """Run something of the users' environment without any rights. What can't be tried is taken as good."""
        env = {"PATH": f"{os.path.dirname(program)}:{SYSTEM_PATH}", "HOME": "/nonexistent", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            return await systemd.run_alone(env, program, *arguments)
        except systemd.UnitError, OSError:
            return 0, jupyterhub.__version__, ""

    async def get_url(self):
        """Where the server is. A hub that was stopped while it waited for a server left no record of that, but the socket is where it is."""
        server = self.server
        if server.proto != SCHEME and self.socket_folder.is_dir():
            server.proto, server.ip, server.port = SCHEME, quote(str(self.socket_path), safe=""), 80
        return self.server.url

    async def poll(self):
        """None while the server runs, else its exit status."""
        try:
            state = await systemd.state(self.unit_name)
        except (systemd.UnitError, OSError) as error:
            # A server must not be ended because systemd was busy for a moment.
            self.log.warning("Cannot find out whether %s runs, assuming that it does: %s", self.unit_name, error)
            return None
        if state.running and (elsewhere := self._elsewhere()):
            self.log.warning("Ending %s: it serves %s, and the hub's base_url is another now", self.unit_name, elsewhere)
            await systemd.stop(self.unit_name)
            return 0
        return None if state.running else state.status

    def _elsewhere(self) -> str:
        """The path that a server was started for, if nobody reaches it there any more; "" otherwise."""
        server = Spawner.server.fget(self)
        mine = url_path_join(self.user.base_url, url_escape_path(self.name), "/")
        return server.base_url if server is not None and server.base_url != mine else ""

    def start_polling(self):
        """JupyterHub asks every half minute; that a server has ended is noticed at once all the same."""
        super().start_polling()
        self._end_watcher = asyncio.get_running_loop().create_task(self._tell_end())

    def stop_polling(self):
        super().stop_polling()
        watcher, self._end_watcher = self._end_watcher, None
        if watcher is not None and watcher is not asyncio.current_task():
            watcher.cancel()

    async def _tell_end(self):
        try:
            state = await systemd.state(self.unit_name)
            if state.pid:
                await systemd.ended(state.pid)
            while (await systemd.state(self.unit_name)).running:
                await asyncio.sleep(0.5)
            await self._remove_folder()  # before the hub knows of the end and may start the next
            await self.poll_and_notify()
        except (systemd.UnitError, OSError) as error:
            self.log.warning("Cannot watch %s: %s", self.unit_name, error)

    async def stop(self, now=False):
        await systemd.stop(self.unit_name)
        await self._remove_folder()

    async def progress(self):
        """What is being done, for the page that waits."""
        shown, part = "", 5
        while True:
            if self._words != shown:
                shown, part = self._words, min(part + 20, 90)
                yield {"progress": part, "message": shown}
            await asyncio.sleep(0.2)

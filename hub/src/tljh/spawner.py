"""Users' servers: each a transient unit of systemd that listens on a socket file of its own.

With a TCP port, a student's program could take the port of a server that has just ended and be handed the visitors, and their
tokens, that were meant for it. A socket lies in a folder that belongs to that server alone:

    /run/tljh/users/UNIT/server.sock

While the server starts, the folder is the user's, for Jupyter makes the socket itself. Once it answers, the folder is root's:
nothing can be put in the socket's place.

The server itself never imports what its user installed (python -s); kernels and terminals do as Python does. One that does not start all the same is
started in another way (tljh.rescue), and people are told.
"""

import asyncio
import contextlib
import grp
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import aiohttp
import jupyterhub
from jupyterhub.httpclient import fetch
from jupyterhub.spawner import Spawner
from systemdspawner import SystemdSpawner
from systemdspawner.systemd import get_systemd_version
from traitlets import Any, Dict, List, Unicode

from tljh import accounts, failures, machine, paths, rescue, shared, systemd
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

# Where a server keeps what belongs to its kernels: in the /tmp that the unit has for itself, as paths of sockets must be short.
RUNTIME = "/tmp/jupyter"  # noqa: S108

# For everybody. A kernel that takes too much memory is ended, the server lives on.
COMMON = {"OOMPolicy": "continue", "OOMScoreAdjust": "200", "TasksMax": "2048", "TimeoutStopSec": "15", "PrivateTmp": "yes"}

# For those who may not become root: all of these take sudo away (they imply NoNewPrivileges for a unit with a user).
CONFINED = {
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
}


class UserSpawner(SystemdSpawner):
    """Starts a user's server in the user's own Linux account."""

    extra_user_groups = Dict(value_trait=List(Unicode()), config=True, help="Linux groups and the hub users who belong to them.")

    user_limits = Any(config=True, help="tljh.settings.Limits: what each user may take.")
    shared_folders = Dict(config=True, help="tljh.settings.SharedFolder by name.")
    variables = Dict(value_trait=Unicode(), config=True, help="Environment variables of every server.")
    rescue_environment = Unicode(config=True, help="The environment that servers start from while the one that all users share is broken.")

    _account: accounts.Account | None = None
    _words = "Waiting for its turn"
    _end_watcher: asyncio.Task | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.user is not None and self.orm_spawner is not None:
            self.unit_name = unit_name(self.user.name, self.name)

    def _groups(self) -> list[str]:
        return [group for group, members in self.extra_user_groups.items() if self.user.name in members]

    def _limit(self) -> None:
        """Set this user's limits, before anything looks at them."""
        limits = self.user_limits
        if limits is not None and (limits.groups or limits.users):
            self.mem_limit = limits.of("memory", self.user.name, self._groups())
            self.cpu_limit = limits.of("cpu", self.user.name, self._groups())

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
        self._limit()
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
        await asyncio.to_thread(self._make_folder, account, note)
        environment = await asyncio.to_thread(systemd.write_environment, paths.ENVIRONMENTS, self.unit_name, self._environment(way))
        try:
            extra = await asyncio.to_thread(self._way_properties, account, way)
            properties = [*self._properties(account), *extra, ("EnvironmentFile", str(environment))]
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

    async def _wait_patiently(self, account: accounts.Account, way: Way) -> None:
        """Where a user's own settings may be why a server does not answer, time is left to try it without them."""
        patience = None
        if way == rescue.USUAL and await asyncio.to_thread(rescue.has_settings, account.home):
            patience = self.start_timeout * rescue.PATIENCE
        try:
            async with asyncio.timeout(patience):
                await self._wait(way)
        except TimeoutError:
            raise SpawnFailure(failures.hung(self.unit_name, patience or 0, (await self._last_lines())[-6:])) from None

    def _command(self, way: Way) -> list[str]:
        """-s: without what the user installed in .local, be it for the start of the server alone. -I: nor what any variable names."""
        if way.rescue:
            return [self._rescue_python, "-I", "-m", "jupyterhub.singleuser"]
        command = list(self.cmd)
        if self._is_python():
            # Of the generation that is live now: a server must not slip into the next while it runs.
            folder = os.path.realpath(os.path.dirname(self.cmd[0]))
            command = [f"{folder}/python", "-s", f"{folder}/jupyterhub-singleuser", *self.cmd[1:]]
        return [*self._starter(), *command] if way == rescue.USUAL else command

    def _python(self) -> str:
        return f"{os.path.dirname(self.cmd[0])}/python"

    def _is_python(self) -> bool:
        """A command of an admin's own may be anything."""
        return os.path.isabs(self.cmd[0]) and os.path.basename(self.cmd[0]) == "jupyterhub-singleuser"

    def _environment(self, way: Way) -> dict[str, str]:
        env = self.get_env()
        if way.safe:
            rescue.without_own(env, f"/run/{self._safe_folder}")
        if way.rescue:
            env["PATH"] = f"{self.rescue_environment}/bin:{env['PATH']}"
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
        if missing := await asyncio.to_thread(machine.no_room, account.home):
            raise SpawnFailure(Story("disk", f"Your server cannot start: {missing}"))
        return account

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
        """The program without which the server does not start as usual."""
        needed = [self._python(), self.cmd[0]] if self._is_python() else [self.cmd[0]]
        return next((program for program in needed if os.path.isabs(program) and not os.access(program, os.X_OK)), None)

    async def _clear(self):
        """End what runs under our name although the hub knows nothing of it, and what failed before."""
        if (await systemd.state(self.unit_name)).known:
            self.log.warning("%s is there although the hub does not know it; ending it", self.unit_name)
            await systemd.stop(self.unit_name)

    @property
    def _note_path(self) -> Path:
        return self.socket_folder / "note.md"

    def _make_folder(self, account: accounts.Account, note: str = ""):
        """The user's, for now; the proxy may pass (its group is inherited by the socket), nobody else."""
        folder = self.socket_folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        if note:  # while the folder is nobody else's
            self._note_path.write_text(note, encoding="utf-8")
            os.chmod(self._note_path, 0o644)
        os.chown(folder, account.uid, grp.getgrnam(PROXY_GROUP).gr_gid)
        os.chmod(folder, 0o2710)

    def _seal_folder(self, account: accounts.Account):
        folder = self.socket_folder
        os.chown(folder, 0, -1)
        os.chmod(folder, 0o2710)
        status = os.lstat(self.socket_path)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != account.uid:
            raise SpawnFailure(Story("socket", "Your server did not make its socket."))

    def get_env(self):
        env = {**self.variables, **super().get_env()}
        for extra in reversed(self.extra_paths):
            env["PATH"] = f"{self._expand_user_vars(extra)}:{env.get('PATH', SYSTEM_PATH)}"
        env["SHELL"] = self.default_shell
        # What conda's commands mean when nothing was activated.
        if (prefix := self._conda_prefix()) is not None:
            env.setdefault("CONDA_PREFIX", prefix)
        if folders := self._kernel_folders():
            env["JUPYTER_PATH"] = ":".join([*folders, *filter(None, [env.get("JUPYTER_PATH")])])
        if self._own_tmp():
            env["JUPYTER_RUNTIME_DIR"] = RUNTIME
        # Without a port, jupyterhub-singleuser leaves the choice to its arguments.
        env["JUPYTERHUB_SERVICE_URL"] = self.socket_url + (self.server.base_url if self.server else "/")
        return env

    def _environment_folder(self) -> Path:
        """The users' environment."""
        return Path(self.cmd[0]).parent.parent

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
        return str(self.unit_extra_properties.get("PrivateTmp", "yes")).lower() in ("yes", "true", "on", "1", "disconnected")

    def _properties(self, account: accounts.Account) -> list[tuple[str, str]]:
        chosen = {
            "Description": f"Jupyter server of {account.name}",
            # Started means that the program itself runs: a missing one is told at once.
            "Type": "exec",
            "User": str(account.uid),
            "Group": str(account.gid),
            "WorkingDirectory": self._working_folder(account),
            "Slice": self.slice or SLICE,
            **COMMON,
            **self._confinement(),
            **self._limits(),
        }
        if self.isolate_devices:
            chosen["PrivateDevices"] = "yes"
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
        chosen = {} if self.user.admin or not self.disable_user_sudo else dict(CONFINED)
        if version >= 247:
            # Other users' processes, and what they were started with, are out of sight.
            chosen["ProtectProc"] = "invisible"
        return chosen

    def _limits(self) -> dict[str, str]:
        chosen = {}
        if self.mem_limit is not None:
            chosen |= {"MemoryAccounting": "yes", "MemoryMax": str(self.mem_limit), "MemorySwapMax": "0"}
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
        clean = ["env", "-i", f"PATH={os.path.dirname(program)}:{SYSTEM_PATH}", "HOME=/nonexistent", "PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1"]
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
        try:
            return await systemd.run(*clean, *nobody, program, *arguments)
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
            self.log.warning("Cannot tell whether %s runs, taking it that it does: %s", self.unit_name, error)
            return None
        return None if state.running else state.status

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
            await self.poll_and_notify()
        except (systemd.UnitError, OSError) as error:
            self.log.warning("Cannot watch %s: %s", self.unit_name, error)

    async def stop(self, now=False):
        await systemd.stop(self.unit_name)
        await asyncio.to_thread(shutil.rmtree, self.socket_folder, ignore_errors=True)

    async def progress(self):
        """What is being done, for the page that waits."""
        shown, part = "", 5
        while True:
            if self._words != shown:
                shown, part = self._words, min(part + 20, 90)
                yield {"progress": part, "message": shown}
            await asyncio.sleep(0.2)

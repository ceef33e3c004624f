"""Users' servers: one transient systemd unit each, listening on a socket of its own.

The socket is a file in a folder that only the user and the proxy can reach. With a TCP port, a student's program could take the
port of a server that has just ended, and be handed the visitors (and their tokens) that were meant for it.
"""

import asyncio
import grp
import os
import shlex
import shutil
import socket
import stat
from pathlib import Path
from urllib.parse import quote

from jupyterhub.spawner import SpawnException
from systemdspawner import SystemdSpawner, systemd
from traitlets import Dict

from . import accounts, paths
from .names import system_name
from .store import Store

# jupyter_server takes a socket only where the port is its default one; none is opened.
_UNUSED_PORT = 8888

_ENV_FILES = Path("/run/tljh/env")

# What a server must not do to the machine. Each of these keeps sudo from working, so admins' servers go without.
_STUDENTS = {
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictRealtime": "yes",
    "LockPersonality": "yes",
}

_MEBIBYTE = 1 << 20


class SpawnProblem(SpawnException):
    """Why a server does not start, in words for its user."""

    def __init__(self, message):
        super().__init__(message, reason="tljh", status_code=503)


class UserSpawner(SystemdSpawner):
    extra_user_groups = Dict(config=True, help="Group → hub users who are to be in it.")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.store = Store()

    def _expand_user_vars(self, string):
        account = system_name(self.user.name) if self.user else ""
        return string.format(USERNAME=account, USERID=self.user.id if self.user else "")

    @property
    def unit_stem(self):
        return self.unit_name.removesuffix(".service")

    @property
    def socket_folder(self):
        return paths.SOCKETS / self.unit_stem

    @property
    def socket_path(self):
        return self.socket_folder / "server.sock"

    def load_state(self, state):
        super().load_state(state)
        self._connect_by_socket()

    def _connect_by_socket(self):
        # The database keeps host and port only; with a port behind it, the path of the socket would be another.
        if self.server is not None:
            self.server.proto = "http+unix"
            self.server.connect_url = self._url()

    def _url(self):
        return "http+unix://" + quote(str(self.socket_path), safe="")

    async def start(self):
        loop = asyncio.get_running_loop()
        try:
            entry = await loop.run_in_executor(None, self._prepare)
        except accounts.AccountProblem as problem:
            raise SpawnProblem(str(problem)) from problem
        await self._clear_unit()
        await loop.run_in_executor(None, self._make_socket_folder, entry)
        self.port = _UNUSED_PORT
        self.ip = "127.0.0.1"
        self._connect_by_socket()
        properties = self._properties()
        properties["EnvironmentFile"] = str(self._write_env())
        code = await systemd.start_transient_service(
            self.unit_name,
            cmd=list(self.cmd),
            args=[*self.get_args(), f"--ServerApp.sock={self.socket_path}", "--ServerApp.sock_mode=0660"],
            working_dir=entry.pw_dir,
            properties=properties,
            uid=entry.pw_uid,
            gid=entry.pw_gid,
            slice=self.slice,
        )
        if code != 0:
            raise SpawnProblem(f"systemd did not start your server (systemd-run: exit code {code}). An admin finds the reason with: journalctl -u jupyterhub")
        await self._wait_until_up()
        return self._url() + "/"

    async def stop(self, now=False):
        await super().stop(now)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, shutil.rmtree, self.socket_folder, True)
        (_ENV_FILES / f"{self.unit_stem}.env").unlink(missing_ok=True)

    def _prepare(self):
        """Account, groups, room and environment: what must be there before a server can start."""
        self._check_environment()
        entry = accounts.ensure(self.user.name, self.store)
        accounts.close_home(entry)
        accounts.set_groups(entry.pw_name, self.user.name, self.user.admin, self.extra_user_groups)
        check_room(entry.pw_dir)
        check_memory()
        return entry

    def _check_environment(self):
        program = self.cmd[0]
        if not os.access(program, os.X_OK):
            raise SpawnProblem(
                f"The environment that all users share is broken: {program} is missing. "
                "An admin repairs it on the server with: sudo tljh-install install"
            )

    async def _clear_unit(self):
        """End what a hub before us may have left."""
        if await systemd.service_running(self.unit_name):
            self.log.warning("%s runs unknown to the hub; ending it", self.unit_name)
            await systemd.stop_service(self.unit_name)
        if await systemd.service_failed(self.unit_name):
            await systemd.reset_service(self.unit_name)

    def _make_socket_folder(self, entry):
        """The user may make files in it, the proxy may pass, nobody else gets in."""
        shutil.rmtree(self.socket_folder, ignore_errors=True)
        self.socket_folder.mkdir(mode=0o700)
        os.chown(self.socket_folder, entry.pw_uid, grp.getgrnam(paths.PROXY_GROUP).gr_gid)
        self.socket_folder.chmod(0o2710)

    def _write_env(self):
        _ENV_FILES.mkdir(mode=0o700, exist_ok=True)
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in sorted(self.get_env().items())]
        path = _ENV_FILES / f"{self.unit_stem}.env"
        paths.write_durably(path, "".join(lines).encode(), 0o400)
        return path

    def get_env(self):
        env = super().get_env()
        env["PATH"] = f"{paths.USER_ENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env["SHELL"] = self.default_shell
        # Connections to kernels are files; they work on a full disk, too, where they lie in memory.
        env["JUPYTER_RUNTIME_DIR"] = f"/run/{self.unit_stem}/jupyter"
        return env

    def _properties(self):
        properties = {"RuntimeDirectory": self.unit_stem, "PrivateTmp": "yes", "TasksMax": "2048", "UMask": "0027"}
        if self.mem_limit is not None:
            properties |= {"MemoryAccounting": "yes", "MemoryMax": str(self.mem_limit), "MemorySwapMax": "0"}
        if self.cpu_limit is not None:
            properties |= {"CPUAccounting": "yes", "CPUQuota": f"{max(1, int(self.cpu_limit * 100))}%"}
        if not self.user.admin:
            properties |= _STUDENTS
            if (systemd.get_systemd_version() or 0) >= 247:
                properties["ProtectProc"] = "invisible"
        return properties | self.unit_extra_properties

    async def _wait_until_up(self):
        """Wait until the server takes connections; a unit that ends first is explained at once."""
        loop = asyncio.get_running_loop()
        looks = 0
        while not await loop.run_in_executor(None, answers, self.socket_path):
            if looks % 5 == 0 and not await systemd.service_running(self.unit_name):
                raise SpawnProblem(await self._last_words())
            looks += 1
            await asyncio.sleep(0.1)

    async def _last_words(self):
        result = (await output("systemctl", "show", "--property=Result", "--value", self.unit_name)).strip()
        said = (await output("journalctl", "--unit", self.unit_name, "--lines=8", "--output=cat", "--no-pager")).strip()
        find = f"An admin finds more with: journalctl -u {self.unit_stem}"
        if result in ("oom-kill", "signal"):
            return f"Your server was ended while it started: there is not enough memory for it. {find}"
        lines = [line for line in said.splitlines() if line.strip()]
        last = f" Its last words: {lines[-1][:300]}" if lines else ""
        return f"Your server ended while it started ({result or 'unknown reason'}).{last} {find}"


def answers(path):
    """Whether something takes connections on a socket. A link there is not followed: the folder is the user's."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(1)
            sock.connect(str(path))
    except OSError:
        return False
    return True


async def output(*argv):
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    out, _ = await process.communicate()
    return out.decode(errors="replace")


def check_room(home):
    """A server can't start in a home where no file can be written."""
    status = os.statvfs(home)
    if status.f_bavail * status.f_frsize < _MEBIBYTE:
        raise SpawnProblem("The disk with your home folder is full, so your server cannot start. An admin of the server has to make room.")
    if status.f_files and status.f_favail < 16:
        raise SpawnProblem("The disk with your home folder holds as many files as it can, so your server cannot start. An admin of the server has to make room.")


def check_memory():
    """A server needs about 100 MB to start."""
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:") and int(line.split()[1]) < 100 * 1024:
                raise SpawnProblem("The machine has no memory left for another server. Try again when others have stopped theirs, or tell an admin.")

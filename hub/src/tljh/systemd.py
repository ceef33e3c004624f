"""Transient units of systemd: start, look, stop, read the journal. By its own programs; nothing here knows JupyterHub."""

import asyncio
import ctypes
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_LIMIT = 60  # seconds that any of these programs may take
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}


class UnitError(Exception):
    """What systemd said against it."""


@dataclass(frozen=True)
class State:
    """A unit at one moment. One that systemd does not know (any more) is `inactive`."""

    active: str
    result: str
    code: str  # exited, killed, dumped
    status: int  # the exit status, or the signal
    pid: int
    invocation: str

    @property
    def running(self) -> bool:
        return self.active in ("active", "activating", "reloading", "deactivating", "refreshing")

    @property
    def known(self) -> bool:
        return self.running or self.active == "failed"


async def run(*argv: str, limit: float = _LIMIT) -> tuple[int, str, str]:
    """A program's exit code and what it wrote; one that hangs is ended."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=_ENV
    )
    try:
        async with asyncio.timeout(limit):
            out, err = await process.communicate()
    except BaseException as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(error, TimeoutError):
            raise UnitError(f"{argv[0]} did not answer for {limit:.0f} s") from error
        raise
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")


# What runs code of others, or holds a token, and needs nothing of the machine. Each gets an account that exists only while it runs.
ALONE = (
    "DynamicUser=yes",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectProc=invisible",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictRealtime=yes",
    "RestrictNamespaces=yes",
    "LockPersonality=yes",
    "LimitCORE=0",
    "KillSignal=SIGKILL",
)


def alone(properties: tuple[str, ...], env: dict[str, str], *command: str) -> list[str]:
    """The command line that runs a command in a unit of its own, connected to the caller's streams. `env` holds no secrets."""
    argv = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--no-ask-password", "--service-type=exec"]
    argv += [f"--property={each}" for each in (*ALONE, *properties)]
    argv += [f"--setenv={key}={value}" for key, value in env.items()]
    return [*argv, "--", *(each.replace("$", "$$") for each in command)]


async def run_alone(env: dict[str, str], *command: str) -> tuple[int, str, str]:
    """As `run`, without any rights. UnitError when systemd refuses."""
    limit = _LIMIT // 2
    code, out, err = await run(*alone(("PrivateNetwork=yes", f"RuntimeMaxSec={limit}"), env, *command))
    if code != 0 and err.startswith("Failed to "):
        raise UnitError(" ".join(err.split()))
    return code, out, err


async def state(unit: str) -> State:
    wanted = ("ActiveState", "Result", "ExecMainCode", "ExecMainStatus", "MainPID", "InvocationID")
    code, out, err = await run("systemctl", "show", "--property=" + ",".join(wanted), unit)
    if code != 0:
        raise UnitError(f"cannot ask systemd about {unit}: {err.strip() or code}")
    got = dict(line.partition("=")[::2] for line in out.splitlines())
    # CLD_EXITED and its like of waitid(2).
    reason = {"1": "exited", "2": "killed", "3": "dumped"}.get(got.get("ExecMainCode", ""), "")
    return State(
        active=got.get("ActiveState", "inactive"),
        result=got.get("Result", ""),
        code=reason,
        status=_number(got.get("ExecMainStatus")),
        pid=_number(got.get("MainPID")),
        invocation=got.get("InvocationID", ""),
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


async def start(unit: str, command: list[str], properties: list[tuple[str, str]]) -> None:
    """Start a command as a unit; returns when the program itself runs. UnitError holds what systemd said."""
    argv = ["systemd-run", "--quiet", f"--unit={unit}", "--no-ask-password"]
    argv += [f"--property={key}={value}" for key, value in properties]
    code, out, err = await run(*argv, "--", *command)
    if code != 0:
        raise UnitError(" ".join((err or out).split()) or f"systemd-run: exit code {code}")


def word(text: str) -> str:
    """An argument as it stands in a property that holds a command."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text).replace("$", "$$") + '"'


async def stop(unit: str, limit: float = 120) -> None:
    """End a unit and forget its failure, if there is one."""
    code, _, err = await run("systemctl", "stop", unit, limit=limit)
    if code != 0 and "not loaded" not in err:
        raise UnitError(f"cannot stop {unit}: {' '.join(err.split()) or code}")
    await run("systemctl", "reset-failed", unit)


def path_unit(path: Path | str, kind: str) -> str:
    """The name of the unit that systemd has for a path, as systemd-escape(1) makes it."""
    inner = str(path).strip("/")
    escaped = "".join(
        "-"
        if letter == "/"
        else letter
        if re.fullmatch(r"[A-Za-z0-9:_.]", letter) and not (place == 0 and letter == ".")
        else "".join(f"\\x{byte:02x}" for byte in letter.encode())
        for place, letter in enumerate(inner)
    )
    return f"{escaped}.{kind}"


async def mount_tmpfs(folder: Path, size: str, files: int) -> None:
    """Mount a file system of its own over a folder of root's: what is put there can fill that alone."""
    options = f"size={size},nr_inodes={files},mode=0700,nosuid,nodev,noexec"
    argv = ["systemd-mount", "--quiet", "--no-ask-password", "--type=tmpfs", f"--options={options}", "--property=LazyUnmount=yes"]
    code, out, err = await run(*argv, "tmpfs", str(folder))
    if code != 0:
        raise UnitError(" ".join((err or out).split()) or f"systemd-mount: exit code {code}")


async def unmount(folder: Path) -> None:
    await stop(path_unit(folder, "mount"))


async def journal(unit: str, invocation: str, lines: int = 20) -> list[str]:
    """The last lines that a unit wrote in one run."""
    match = [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else [f"--unit={unit}"]
    code, out, _ = await run("journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={lines}", *match)
    return [line.rstrip() for line in out.splitlines() if line.strip()] if code == 0 else []


def environment_text(env: dict[str, str]) -> str:
    """Variables as systemd reads them from a file (EnvironmentFile=): quoted, so that values may hold anything but NUL."""
    lines = []
    for key, value in sorted(env.items()):
        if not _NAME.fullmatch(key) or "\0" in value:
            raise ValueError(f"not a variable for an environment: {key}")
        lines.append(f'{key}="{re.sub(r"""(["\\$`])""", r"\\\1", value)}"\n')
    return "".join(lines)


def write_environment(folder: Path, unit: str, env: dict[str, str]) -> Path:
    """Put variables, a token among them, where systemd alone finds them: properties on its bus are for everybody to see."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{unit}.env"
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(environment_text(env))
    return path


async def ended(pid: int) -> None:
    """Return when a process that is not our child ends."""
    try:
        handle = _pidfd(pid)
    except ProcessLookupError:
        return
    except OSError:  # a kernel or a filter that has no such call
        while os.path.exists(f"/proc/{pid}"):
            await asyncio.sleep(0.2)
        return
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


_SYS_PIDFD_OPEN = 434  # on every architecture


def _pidfd(pid: int) -> int:
    """pidfd_open(2), which the carried Python's `os` lacks: it is built for a C library older than the call."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.syscall(ctypes.c_long(_SYS_PIDFD_OPEN), ctypes.c_long(pid), ctypes.c_long(0))
    if handle < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return handle


# What plugins of the older TLJH call, from code that does not wait for events.


def _control(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True, env=_ENV, timeout=_LIMIT)


def install_unit(name: str, unit: str, path: str = "/etc/systemd/system") -> None:
    """Write a unit."""
    Path(path, name).write_text(unit, encoding="utf-8")


def uninstall_unit(name: str, path: str = "/etc/systemd/system") -> None:
    """Remove a unit."""
    Path(path, name).unlink(missing_ok=True)


def reload_daemon() -> None:
    _control("daemon-reload")


def start_service(name: str) -> None:
    _control("start", name)


def stop_service(name: str) -> None:
    _control("stop", name)


def restart_service(name: str) -> None:
    _control("restart", name)


def enable_service(name: str) -> None:
    _control("enable", name)


def disable_service(name: str) -> None:
    _control("disable", name)


def check_service_enabled(name: str) -> bool:
    return subprocess.run(["systemctl", "is-enabled", "--quiet", name], check=False, env=_ENV, timeout=_LIMIT).returncode == 0


def check_service_active(name: str) -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", name], check=False, env=_ENV, timeout=_LIMIT).returncode == 0

"""Kernels that know no unix sockets.

A server talks to its kernels over sockets in a /tmp of its own, as everybody on the machine may listen to what a kernel says on a TCP port. Kernels that run on
the JVM or on Node often know TCP alone: they end, or never answer. Such a kernel is started again over TCP, on random ports of the loopback interface, and
what helped is remembered for its description in the home.
"""

import asyncio
import contextlib
import json
import os
import time

from tornado import web

try:
    from jupyter_core.paths import jupyter_data_dir
    from jupyter_server.services.kernels.kernelmanager import ServerKernelManager as Manager
except ImportError:
    Manager = None

# Seconds that a kernel has for its first answer over unix sockets. One that is slow to start loses nothing but its place off the network.
PATIENCE = 60

ENDED = "The kernel {name} ended when it was started ({program}). What it said is in the journal of this server: ask an admin, or install the kernel anew"

LARGEST = 64 << 10

CHANNELS = ("shell", "iopub", "stdin", "hb", "control")

# Of /proc/net/tcp: the state of a socket that listens.
LISTENS = "0A"

# How often a kernel is started on other ports.
TRIES = 3


def place():
    return os.path.join(jupyter_data_dir(), "tljh-transports.json")


def remembered(path):
    """What each kernel's start was: {name: {"argv": [...], "transport": "ipc" or "tcp"}}. It is the user's own file, so anything may be in it."""
    try:
        # Neither a pipe that never ends nor a file that fills the memory.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            found = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def transport_of(path, name, argv):
    """How a kernel is started; None if that is not known yet. A description that has changed is a new one."""
    known = remembered(path).get(name)
    if isinstance(known, dict) and known.get("argv") == argv and known.get("transport") in ("ipc", "tcp"):
        return known["transport"]
    return None


def remember(path, name, argv, transport):
    found = {**remembered(path), name: {"argv": argv, "transport": transport}}
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.replace(path + ".new", path)
    except OSError:  # it is found out again the next time
        pass


def is_ipykernel(argv):
    return any(word.startswith(("ipykernel", "xpython")) for word in argv)


def over_tcp(kernel):
    kernel.transport, kernel.ip, kernel.cache_ports = "tcp", "127.0.0.1", False
    for name in CHANNELS:
        setattr(kernel, name + "_port", 0)  # a free one


async def answers(kernel, patience):
    """Report whether a kernel that was started answers. One that ends does not."""
    client = kernel.client()
    client.start_channels(iopub=False, stdin=False, hb=False, control=False)
    end = time.monotonic() + patience
    try:
        client.kernel_info()
        while time.monotonic() < end and await kernel.is_alive():
            if await client.shell_channel.socket.poll(500):
                return True
        return False
    finally:
        client.stop_channels()


def strangers(ports, uid, tables=("/proc/net/tcp", "/proc/net/tcp6")):
    """The ports on which a program of another account listens."""
    found = set()
    for table in tables:
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            for fields in (line.split() for line in list(file)[1:]):
                port = int(fields[1].rpartition(":")[2], 16)
                if fields[3] == LISTENS and port in ports and int(fields[7]) != uid:
                    found.add(port)
    return sorted(found)


async def start_over_tcp(kernel, plain, **options):
    """Start a kernel on free ports, and report what the start returns and whether the kernel answers. Between the choice of a port and the kernel's start,
    another user's program may take it, and it would get what its user types: such a start is done again."""
    for _ in range(TRIES):
        over_tcp(kernel)
        result = await plain(kernel, **options)
        answered = await answers(kernel, PATIENCE)
        ports = {getattr(kernel, name + "_port") for name in CHANNELS}
        if not (taken := await asyncio.to_thread(strangers, ports, os.getuid())):
            return result, answered
        kernel.log.warning("Kernel %s: another user's program listens on ports %s; starting it on others", kernel.kernel_name, taken)
        await kernel.shutdown_kernel(now=True)
    raise refused(kernel, "The kernel's ports were taken by programs of another user. Please tell an admin of this hub.")


def refused(kernel, words):
    """Return an error that reaches the one who started the kernel.

    Jupyter keeps what start_kernel raises to its log, and asks the kernel's future instead. To that, the start was fine.
    """
    error = web.HTTPError(500, words)
    kernel._ready = asyncio.get_running_loop().create_future()
    kernel._ready.set_exception(error)
    return error


async def start(kernel, plain, **options):
    """Start a kernel in the way that works for it."""
    path, argv = place(), []
    with contextlib.suppress(Exception):  # the start below says what is wrong with a description
        argv = list(kernel.kernel_spec.argv)
    if kernel.transport != "ipc" or not argv or is_ipykernel(argv):
        return await plain(kernel, **options)
    known = await asyncio.to_thread(transport_of, path, kernel.kernel_name, argv)
    if known == "tcp":
        return (await start_over_tcp(kernel, plain, **options))[0]
    result = await plain(kernel, **options)
    if known is not None:
        return result
    if await answers(kernel, PATIENCE):
        await asyncio.to_thread(remember, path, kernel.kernel_name, argv, "ipc")
        return result
    await kernel.shutdown_kernel(now=True)
    kernel.log.warning("Kernel %s does not answer over unix sockets; starting it over TCP on 127.0.0.1", kernel.kernel_name)
    result, answered = await start_over_tcp(kernel, plain, **options)
    if answered:
        kernel.log.warning("Kernel %s answers over TCP, and is started so from now on (%s)", kernel.kernel_name, path)
        await asyncio.to_thread(remember, path, kernel.kernel_name, argv, "tcp")
    elif not await kernel.is_alive():
        # Jupyter would start it again and again, and the notebook would wait without a word.
        await kernel.shutdown_kernel(now=True)
        raise refused(kernel, ENDED.format(name=kernel.kernel_name, program=argv[0]))
    return result


if hasattr(Manager, "start_kernel"):
    _start = Manager.start_kernel

    async def _start_answering(self, **options):
        return await start(self, _start, **options)

    Manager.start_kernel = _start_answering

"""What a student tries from a notebook. Each attempt ends in "denied", or in what it got instead."""

import ctypes
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.request

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def attempt(action, *args):
    """Say how an action ends; only being forbidden counts as denied, so that a path that is not there is noticed."""
    try:
        return f"succeeded: {action(*args)!r:.80}"
    except (OSError, subprocess.SubprocessError) as error:
        return "denied" if getattr(error, "errno", None) in DENIED else f"odd: {error!r}"


def read(path):
    if os.path.isdir(path):
        return os.listdir(path)
    with open(path, "rb") as file:
        return file.read(10)


def write(folder):
    path = os.path.join(folder, "written-by-a-student")
    with open(path, "w") as file:
        file.write("x")
    return path


def run(argv):
    """A command is denied when it fails."""
    result = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    if result.returncode != 0:
        raise PermissionError(errno.EACCES, result.stderr)
    return result.stdout


def connect(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
    return path


def bind(port):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", port))
    return port


def look(path):
    """Other users' processes may also be hidden altogether; that this one runs is known."""
    try:
        return read(path)
    except FileNotFoundError:
        raise PermissionError(errno.EACCES, "hidden") from None


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    return pid


def ask(url, token):
    """An answer of 401, 403 or 404 is a denial; the hub says 404 of what one may not know of."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.read(80)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):
            raise PermissionError(errno.EACCES, "denied") from None
        raise OSError(errno.EIO, f"status {error.code}") from None


LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
CALLS = {
    "mount": (b"none", b"/mnt", b"tmpfs", 0, None),
    "umount": (b"/proc",),
    "pivot_root": (b"/", b"/"),
    "chroot": (b"/",),
    "unshare": (CLONE_NEWUSER,),
    "unshare ": (CLONE_NEWNET,),
    "sethostname": (b"mine", 4),
    "swapon": (b"/etc/passwd", 0),
    "acct": (b"/tmp/acct",),
    "stime": (ctypes.byref(ctypes.c_long(0)),),
    "iopl": (3,),
    "setuid": (0,),
    "syscall": ({"x86_64": 175, "aarch64": 105}[os.uname().machine], None, 0, b""),  # init_module
}


def system_call(name, arguments):
    """Calls that the C library or the kernel does not have are denied, too."""
    function = getattr(LIBC, name.strip(), None)
    if function is None:
        raise PermissionError(errno.EACCES, "there is none")
    if function(*arguments) != -1:
        return name
    number = ctypes.get_errno()
    raise OSError(errno.EACCES if number == errno.ENOSYS else number, name)


def rights():
    """The rights of this process; none is a denial."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    held = {name: fields[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(fields[name], 16)}
    held |= {name: fields[name].strip() for name, wanted in (("NoNewPrivs", 1), ("Seccomp", 2)) if int(fields[name]) != wanted}
    if not held:
        raise PermissionError(errno.EACCES, "none")
    return held


def devices():
    """Devices that are more than pseudo ones; none is a denial."""
    harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}
    found = []
    for name in os.listdir("/dev"):
        mode = os.stat(f"/dev/{name}").st_mode if os.path.exists(f"/dev/{name}") else 0
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and name not in harmless):
            found.append(name)
    if not found:
        raise PermissionError(errno.EACCES, "none")
    return found


def others():
    """Processes of other accounts that can be seen; none is a denial."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid != os.getuid():
                found.append(name)
        except OSError:
            pass  # it has ended
    if not found:
        raise PermissionError(errno.EACCES, "none")
    return found


def raw_packets():
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError as error:
        raise PermissionError(errno.EACCES, str(error)) from None


def attempt_all(task):
    results = {
        name: attempt(action)
        for name, action in (("have rights", rights), ("have devices", devices), ("see others", others), ("send raw packets", raw_packets))
    }
    for name, arguments in CALLS.items():
        results[f"call {name}{arguments!r:.20}"] = attempt(system_call, name, arguments)
    for path in task["read"]:
        results[f"read {path}"] = attempt(read, path)
    for folder in task["write"]:
        results[f"write to {folder}"] = attempt(write, folder)
    for argv in task["run"]:
        results[f"run {' '.join(argv)}"] = attempt(run, argv)
    for unit, pid in task["processes"].items():
        for part in ("environ", "mem", "maps"):
            results[f"read {part} of {unit}"] = attempt(look, f"/proc/{pid}/{part}")
        results[f"list files of {unit}"] = attempt(look, f"/proc/{pid}/fd")
        results[f"kill {unit}"] = attempt(kill, int(pid))
    for path in task["sockets"]:
        results[f"connect to {path}"] = attempt(connect, path)
        results[f"remove {path}"] = attempt(os.unlink, path)
        results[f"list {os.path.dirname(path)}"] = attempt(os.listdir, os.path.dirname(path))
    for port in task["ports"]:
        results[f"listen on port {port}"] = attempt(bind, port)
    token, hub = os.environ["JUPYTERHUB_API_TOKEN"], os.environ["JUPYTERHUB_API_URL"]
    for name in ("users", "users/carol", "users/alice", "proxy", "groups", "services"):
        results[f"ask the hub for {name}"] = attempt(ask, f"{hub}/{name}", token)
    for bearer in ("", token):
        results[f"ask the proxy for its routes with {len(bearer)} letters of token"] = attempt(ask, "http://127.0.0.1:973/api/routes", bearer)
    for user in ("carol", "alice"):
        results[f"ask for files of {user}"] = attempt(ask, f"http://127.0.0.1/user/{user}/api/contents", token)
    return results


def listen_to_kernels(seconds):
    """Subscribe to whatever listens on the machine's ports, as kernels publish all output to anybody who asks; count the messages."""
    import zmq

    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file][1:]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    poller, heard, end = zmq.Poller(), 0, time.monotonic() + seconds
    for port in sorted(ports):
        ear = zmq.Context.instance().socket(zmq.SUB)
        ear.linger = 0
        ear.subscribe(b"")
        ear.connect(f"tcp://127.0.0.1:{port}")
        poller.register(ear, zmq.POLLIN)
    while time.monotonic() < end:
        for ear, _ in poller.poll(100):
            ear.recv_multipart()
            heard += 1
    return heard


def keep_trying_ports(ports, stop):
    """Try to take ports again and again in the background until a file appears; "away" says that a round was made while they were free."""
    counts = {"denied": 0, "taken": 0}

    def free(port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    def work():
        while not os.path.exists(stop):
            away = all(free(port) for port in ports)
            for port in ports:
                counts["denied" if attempt(bind, port) == "denied" else "taken"] += 1
            with open("/home/jupyter-bob/tried", "w") as file:
                json.dump(counts, file)
            if away:
                with open("/home/jupyter-bob/away", "w") as file:
                    file.write("x")
            time.sleep(0.02)

    threading.Thread(target=work, daemon=True).start()

"""What a student tries from a terminal of their own, against others and against root.

Each try comes with a control: the same code against something of the student's own, which must work. So a try that fails does so because it is refused,
and not because the code is wrong. Facts about the victims come as JSON on standard input, results go out as JSON.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pty
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import urllib.error
import urllib.request

FACTS = json.load(sys.stdin)
HOME = os.path.expanduser("~")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.process_vm_readv.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
libc.shmat.restype = ctypes.c_void_p

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
PIDFD_SEND_SIGNAL, PIDFD_OPEN = 424, 434
AT_FDCWD = -100

REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
GONE = {errno.ENOENT, errno.ESRCH}  # other users' processes may be out of sight
TRIES = []


class Denied(Exception):
    """What is refused by words instead of an errno."""


def attempt(what, *also, control):
    """Register a try. also are further errnos that refuse it."""
    return lambda attack: TRIES.append((what, attack, control, REFUSED.union(also)))


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def outcome(action, refused):
    try:
        return f"got through: {action()!r:.200}"
    except Denied:
        return "refused"
    except OSError as error:
        return "refused" if error.errno in refused else f"odd: {error!r}"
    except Exception as error:
        return f"odd: {error!r}"


def works(action):
    try:
        action()
        return "works"
    except Exception as error:
        return repr(error)


class Child:
    """A process of the student's own, to which everything may be done."""

    def __init__(self):
        self.process = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        self.pid = self.process.pid


OWN = Child()
CAROL, HUB, EDGE = FACTS["carol"], FACTS["hub"], FACTS["edge"]


# Processes of others.


def on_process(what, pid, *also):
    """A try at a process: the same is done to a process of one's own."""
    return lambda action: attempt(what, *also, control=lambda: action(OWN.pid))(lambda: action(pid))


@on_process("stop another student's server by a signal", CAROL, *GONE)
def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)


@on_process("signal the hub by a handle of its process", HUB, *GONE)
def by_handle(pid):
    handle = checked(libc.syscall(PIDFD_OPEN, pid, 0))
    checked(libc.syscall(PIDFD_SEND_SIGNAL, handle, signal.SIGCONT, None, 0))


@on_process("trace another student's server", CAROL, *GONE)
def seize(pid):
    checked(libc.ptrace(PTRACE_SEIZE, pid, None, None))
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, 0x40000000 | os.WUNTRACED)
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    os.kill(pid, signal.SIGCONT)


@on_process("lower the limits of another student's server", CAROL, *GONE)
def limits(pid):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (100, 100))


@on_process("slow the edge down by its priority", EDGE, *GONE)
def priority(pid):
    os.setpriority(os.PRIO_PROCESS, pid, 19)


@on_process("bind the hub to one processor", HUB, *GONE)
def affinity(pid):
    os.sched_setaffinity(pid, os.sched_getaffinity(0))


@on_process("enter the file system of another student's server by /proc", CAROL, *GONE)
def root_of(pid):
    return os.listdir(f"/proc/{pid}/root/{HOME if pid == OWN.pid else '/home/jupyter-carol'}")


@on_process("read the hub's environment by /proc", HUB, *GONE)
def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read(100)


@on_process("join the namespaces of the first process", 1, *GONE)
def join(pid):
    with open(f"/proc/{pid}/ns/mnt") as file:
        if pid != OWN.pid:
            checked(libc.setns(file.fileno(), 0))


@attempt("attach shared memory that another student opened to all", errno.ENOENT, errno.EINVAL, control=lambda: attach(checked(libc.shmget(77, 4096, 0o1666))))
def _():
    return attach(checked(libc.shmget(FACTS["shm"], 0, 0)))


def attach(number):
    address = libc.shmat(number, None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(address, 20)


# Sockets.


def connect(address):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(3)
        connection.connect(address)


def unix_sockets():
    with open("/proc/net/unix") as file:
        rows = [line.split() for line in file][1:]
    return {row[7] for row in rows if len(row) > 7 and row[5] == "01"}  # streams that listen


@contextlib.contextmanager
def listening(address):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        yield


def own_abstract():
    with listening("\0student"):
        assert "@student" in unix_sockets()
        connect("\0student")


def try_all(addresses):
    """Connect to each, and return those that answer."""
    opened = []
    for address in addresses:
        with contextlib.suppress(OSError):
            connect(address)
            opened.append(address)
    if not opened:
        raise Denied
    return opened


@attempt("connect to an abstract socket of a service", control=own_abstract)
def _():
    return try_all("\0" + name[1:] for name in unix_sockets() if name[0] == "@")


# What systemd offers to every program of a machine.
OF_ALL = ("/run/systemd/", "/run/dbus/", "/run/user/", "/run/udev/", "/var/run/", "/tmp/")  # noqa: S108 - the server's own /tmp


def own_path():
    address = f"{HOME}/own.sock"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    with listening(address):
        assert address in unix_sockets()
        connect(address)


@attempt("connect to a socket of a service or of another user", control=own_path)
def _():
    return try_all(name for name in unix_sockets() if name[0] == "/" and not name.startswith(OF_ALL))


def is_there():
    assert FACTS["socket"] in unix_sockets()


@attempt("put a socket of one's own in the place of the server's", control=is_there)
def _():
    os.rename(FACTS["socket"], FACTS["socket"] + ".old")


@attempt("put a link beside the socket of one's own server", control=lambda: os.symlink("/", f"{HOME}/link"))
def _():
    os.symlink("/", os.path.join(os.path.dirname(FACTS["socket"]), "link"))


def bind(port, address=""):
    with socket.socket() as server:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            server.setsockopt(socket.SOL_SOCKET, option, 1)
        server.bind((address, port))
        server.listen()


@attempt("share the edge's port at the machine's own address", control=lambda: bind(18080, FACTS["address"]))
def _():
    bind(80, FACTS["address"])


@attempt("listen to the packets of all", errno.EAFNOSUPPORT, control=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close())
def _():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))


SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914


def interface(request):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, request, struct.pack("16sH14x", b"lo", 0))


@attempt("take the loopback interface down", control=lambda: interface(SIOCGIFFLAGS))
def _():
    interface(SIOCSIFFLAGS)


# Files.


def reached(accessible, start):
    """Paths below start that access() allows, links aside."""
    for folder, folders, files in os.walk(start):
        for name in folders + files:
            path = os.path.join(folder, name)
            if not os.path.islink(path) and os.access(path, accessible):
                yield path


PLACES = ["/boot", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/usr", "/var"]
OWN_PLACES = (HOME, "/run/lock", "/run/user", "/var/lock", "/var/tmp", "/run/systemd", "/run/dbus")  # noqa: S108


@attempt("find a file or folder of others that one can write", control=lambda: next(reached(os.W_OK, FACTS["open"])))
def _():
    found = [path for place in PLACES for path in reached(os.W_OK, place) if not path.startswith((*OWN_PLACES, FACTS["open"])) and not os.path.ismount(path)]
    if not found:
        raise Denied
    return found[:9]


def holding(secrets, place):
    """Files with one of these secrets in them."""
    for path in reached(os.R_OK, place):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.stat(path).st_mode) and os.path.getsize(path) < 4 << 20:
                with open(path, "rb") as file:
                    text = file.read()
                if any(secret.encode() in text for secret in secrets):
                    yield path


@attempt("find a secret of the hub in a file that one can read", control=lambda: next(holding(["a-canary"], FACTS["open"])))
def _():
    places = ["/boot", "/etc", "/opt/tljh/bin", "/opt/tljh/config", "/opt/tljh/state", "/run", "/srv", "/var", "/home"]
    found = [path for place in [*places, *FACTS["more"]] for path in holding(FACTS["secrets"], place)]
    if not found:
        raise Denied
    return found[:9]


def second_name():
    mode(f"{HOME}/first", 0o644)
    os.link(f"{HOME}/first", f"{HOME}/second")


@attempt("make a second name for a file of the user environment", errno.EXDEV, control=second_name)
def _():
    os.link("/opt/tljh/user/bin/jupyterhub-singleuser", f"{HOME}/stolen")


def mode(path, bits):
    with open(path, "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, bits)


@attempt("make a program that runs with the rights of its owner", control=lambda: mode(f"{HOME}/plain", 0o755))
def _():
    mode(f"{HOME}/setuid", 0o4755)


@attempt("make the device of a disk", control=lambda: os.mknod(f"{HOME}/fifo", stat.S_IFIFO | 0o600))
def _():
    os.mknod(f"{HOME}/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_char * 128)]


def name_to_handle(path):
    handle, mount = Handle(128), ctypes.c_int()
    checked(libc.name_to_handle_at(AT_FDCWD, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0))
    return handle


@attempt("open a file by its handle, past the folders above it", control=lambda: name_to_handle("/dev/shm"))  # noqa: S108
def _():
    folder = os.open("/dev/shm", os.O_RDONLY)  # noqa: S108
    return checked(libc.open_by_handle_at(folder, ctypes.byref(name_to_handle("/dev/shm")), os.O_RDONLY))  # noqa: S108


def own_terminal():
    _, inner = pty.openpty()
    with open(os.ttyname(inner), "w") as file:
        file.write("x")


@attempt("write to another student's terminal", *GONE, control=own_terminal)
def _():
    with open(FACTS["terminal"], "w") as file:
        file.write("echo hello\n")


def cgroup(name):
    """A file of the control group of one's own server."""
    with open("/proc/self/cgroup") as file:
        groups = [line.strip().split(":", 2) for line in file]
    for _, controllers, path in groups:
        for root in ("/sys/fs/cgroup", f"/sys/fs/cgroup/{controllers}", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"):
            if os.path.exists(found := f"{root}{path}/{name}"):
                return found
    raise FileNotFoundError(errno.ENOENT, name)


def limit_file():
    with contextlib.suppress(FileNotFoundError):
        return cgroup("memory.max")
    return cgroup("memory.limit_in_bytes")


@attempt("raise the memory limit of one's own server", control=lambda: open(limit_file()).close())
def _():
    with open(limit_file(), "w") as file:
        file.write(str(64 << 30))


@attempt("leave the control group of one's own server", control=lambda: open(cgroup("cgroup.procs")).close())
def _():
    with open(os.path.join(os.path.dirname(os.path.dirname(cgroup("cgroup.procs"))), "cgroup.procs"), "w") as file:
        file.write(str(OWN.pid))


@attempt("have the kernel start a program when another one crashes", control=lambda: open("/proc/sys/kernel/core_pattern").close())
def _():
    with open("/proc/sys/kernel/core_pattern", "w") as file:
        file.write(f"|{HOME}/plain")


# Programs that are there for everybody.


def says(*argv, **options):
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, **options)
    if done.returncode != 0:
        raise Denied(done.stderr)
    return done.stdout


@attempt("run a program that is set-uid root as root", control=lambda: says(FACTS["setuid"], "-c", "true"))
def _():
    if (user := says(FACTS["setuid"], "-p", "-c", "id -u")).strip() != "0":
        raise Denied
    return user


CALL = ("busctl", "call", "--allow-interactive-authorization=no")
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


@attempt("have systemd start a program as root over D-Bus", control=lambda: says("busctl", "--version"))
def _():
    program = ["ExecStart", "a(sasb)", "1", "/usr/bin/touch", "2", "/usr/bin/touch", "/root/started-by-a-student", "false"]
    unit = ["ssa(sv)a(sa(sv))", "evil.service", "fail", "1", *program, "0"]
    return says(*CALL, *MANAGER, "StartTransientUnit", *unit)


@attempt("have systemd load a unit from the home", control=lambda: says("busctl", "--version"))
def _():
    mode(f"{HOME}/evil.service", 0o644)
    return says(*CALL, *MANAGER, "LinkUnitFiles", "asbb", "1", f"{HOME}/evil.service", "true", "true")


@attempt("give the hub's unit another environment", control=lambda: says("busctl", "--version"))
def _():
    return says(*CALL, *MANAGER, "SetEnvironment", "as", "1", "PYTHONPATH=/home/jupyter-bob")


LOGIN = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


@attempt("have logind start a systemd of the user's own, which nothing confines", control=lambda: says("busctl", "--version"))
def _():
    return says(*CALL, *LOGIN, "SetUserLinger", "ubb", str(os.getuid()), "true", "false")


@attempt("talk to the services of the machine over the system's bus", control=own_path)
def _():
    connect("/run/dbus/system_bus_socket")


@attempt("find a token of another student in what systemd shows of units", control=lambda: shown("a-canary"))
def _():
    return shown(*FACTS["secrets"])


def shown(*secrets):
    text = says("sh", "-c", "systemctl show --all '*'; systemctl cat '*.service'; cat /run/systemd/transient/* /etc/systemd/system/*.service 2>/dev/null; true")
    if not any(secret in text for secret in secrets):
        raise Denied
    return True


@attempt("have a service of the user's own outlive the server", control=lambda: says("id"))
def _():
    return says("systemd-run", "--user", "--no-ask-password", "sleep", "1")


@attempt("turn the packet filter off", control=lambda: says("tljh-install", "version"))
def _():
    return says("tljh-install", "firewall", "remove")


@attempt("take somebody's password by root's program", control=lambda: says("tljh-install", "version"))
def _():
    return says("tljh-install", "password", "--generate", "alice")


# Lies that are sent and not answered: whether they are believed is looked at from outside.


def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("/run/systemd/notify")
        out.send(text.encode())


def journal(**fields):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("/run/systemd/journal/socket")
        out.send("".join(f"{key}={value}\n" for key, value in fields.items()).encode())


def lie():
    notify("STATUS=a student's words\nMAINPID=1\nRELOADING=1")
    hub = "jupyterhub.service"
    line = "WARNING JupyterHub: login refused: address=203.0.113.77 reason=password name='spoofed'"
    journal(MESSAGE=line, _SYSTEMD_UNIT=hub, UNIT=hub, OBJECT_SYSTEMD_UNIT=hub, COREDUMP_UNIT=hub, _PID=HUB, OBJECT_PID=HUB, _UID=0, SYSLOG_IDENTIFIER="tljh")


# The hub's API and the proxy's, at their own ports.

TOKEN, API = os.environ["JUPYTERHUB_API_TOKEN"], os.environ["JUPYTERHUB_API_URL"]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(method, url, body=None, **headers):
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)  # noqa: S310
    try:
        with OPENER.open(request, timeout=20) as answer:
            return answer.read(4000).decode()
    except urllib.error.HTTPError as error:
        if error.code in (400, 401, 403, 404, 405):
            raise Denied(error.code) from None
        raise


def with_token(method, path, body=None):
    return ask(method, f"{API}/{path}", body, Authorization=f"token {TOKEN}")


for what, method, path, body in (
    ("make oneself an admin by the token of one's server", "PATCH", "users/bob", {"admin": True}),
    ("make a token with an admin's scopes by that of one's server", "POST", "users/bob/tokens", {"scopes": ["admin:users"]}),
    ("make a token with an admin's role by that of one's server", "POST", "users/bob/tokens", {"roles": ["admin"]}),
    ("take another's name by the token of one's server", "PATCH", "users/bob", {"name": "carol"}),
    ("keep another's server awake by the token of one's server", "POST", "users/carol/activity", {"servers": {"": {"last_activity": "2030-01-01T00:00:00Z"}}}),
    ("stop another's server by the token of one's server", "DELETE", "users/carol/server", None),
    ("share another's server with oneself", "POST", "shares/carol/", {"user": "bob"}),
    ("list one's own tokens by that of one's server", "GET", "users/bob/tokens", None),
    ("join a group by the token of one's server", "POST", "groups/admins/users", {"users": ["bob"]}),
    ("get a token of the installer's by its name", "POST", "oauth2/token", {"grant_type": "client_credentials", "client_id": "service-tljh-installer"}),
):
    attempt(what, control=lambda: with_token("GET", "user"))(lambda method=method, path=path, body=body: with_token(method, path, body))

PROXY = "http://127.0.0.1:973/api/routes"


@attempt("lead another's visitors to oneself, by the proxy's API", control=lambda: ask("GET", f"{API}/"))
def _():
    return ask("POST", f"{PROXY}/user/carol", {"target": "http://127.0.0.1:18080"}, Authorization=f"token {TOKEN}")


@attempt("the same with the token that the proxy takes when it has none", control=lambda: ask("GET", f"{API}/"))
def _():
    return ask("GET", PROXY, Authorization="token ")


def logs_in(port, name, forwarded):
    """One attempt with a wrong password, at a port that only the machine reaches. The journal says which address it came from."""
    headers = {"X-Forwarded-For": forwarded, "X-Real-Ip": forwarded, "X-Forwarded-Proto": "http", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
    url = f"http://127.0.0.1:{port}/hub/login"
    with OPENER.open(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        cookies = dict(line.split(";")[0].split("=", 1) for line in answer.headers.get_all("Set-Cookie", []))
    form = f"username={name}&password=wrong-password&_xsrf={cookies['_xsrf']}".encode()
    with contextlib.suppress(Denied):
        ask("POST", url, form, **headers, Cookie="; ".join(f"{k}={v}" for k, v in cookies.items()), **{"Content-Type": "application/x-www-form-urlencoded"})


def main():
    lie()
    for port in (971, 972):
        logs_in(port, f"from{port}", "203.0.113.66")
    results = {}
    for what, attack, control, refused in TRIES:
        results[what] = {"control": works(control), "outcome": outcome(attack, refused)}
    OWN.process.kill()
    print(json.dumps(results))


if __name__ == "__main__":
    main()

"""What a student's program tries against the student's own server: to read it, to trace it, to take its files.

Prints a JSON object: "denied", or what it got.
"""

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys

PTRACE_PEEKDATA, PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 2, 16, 17, 0x4206
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD, SYS_KCMP = 434, 438, 312
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = libc.syscall.restype = ctypes.c_long
libc.process_vm_readv.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]


class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def attempt(action, *args):
    try:
        return f"succeeded: {action(*args)!r:.80}"
    except OSError as error:
        return "denied" if error.errno in (errno.EACCES, errno.EPERM) else f"odd: {error!r}"


def read(path):
    with open(path, "rb") as file:
        return file.read(16)


def trace(pid, kind):
    checked(libc.ptrace(kind, pid, None, None))
    if kind == PTRACE_ATTACH:
        os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return "traced"


def copy_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    here, there = Span(ctypes.addressof(buffer), 8), Span(id(None), 8)
    return checked(libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))


def take_file(pid):
    handle = checked(libc.syscall(SYS_PIDFD_OPEN, pid, 0))
    return checked(libc.syscall(SYS_PIDFD_GETFD, handle, 3, 0))


def against(pid):
    found = {f"read {name}": attempt(read, f"/proc/{pid}/{name}") for name in ("environ", "mem", "maps", "auxv", "io")}
    found["list files"] = attempt(os.listdir, f"/proc/{pid}/fd")
    found["open a file"] = attempt(read, f"/proc/{pid}/fd/1")
    found["enter the working directory"] = attempt(os.listdir, f"/proc/{pid}/cwd/")
    found["attach"] = attempt(trace, pid, PTRACE_ATTACH)
    found["seize"] = attempt(trace, pid, PTRACE_SEIZE)
    found["copy memory"] = attempt(copy_memory, pid)
    found["take a socket"] = attempt(take_file, pid)
    return found


def against_own_child():
    """The same must work with a program of one's own."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        return {"read": attempt(read, f"/proc/{child.pid}/environ"), "attach": attempt(trace, child.pid, PTRACE_ATTACH), "take": attempt(take_file, child.pid)}
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def watch(unit, stop):
    """Try to open every process of a unit from its first moment on, until a file appears; print how often that was tried, and which were opened."""
    tried, seen, opened = 0, set(), {}
    while not os.path.exists(stop):
        for name in os.listdir("/proc"):
            if not name.isdigit() or name in opened:
                continue
            try:
                with open(f"/proc/{name}/cgroup") as file:
                    if unit not in file.read():
                        continue
            except OSError:
                continue
            seen.add(name)
            tried += 1
            for part in ("mem", "environ"):
                try:
                    with open(f"/proc/{name}/{part}", "rb"):
                        opened[name] = part
                except OSError:
                    pass
    print(json.dumps({"tried": tried, "seen": sorted(seen), "opened": opened}))


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch(sys.argv[2], sys.argv[3])
    else:
        print(json.dumps({"server": against(int(sys.argv[1])), "child": against_own_child()}))

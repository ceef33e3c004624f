"""What lies in a student's home breaks no work, and the student reads what to change. With a real Jupyter server."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from jupyter import python, serving

from tljh.spawner import START


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="j", dir="/tmp") as folder:
        yield Path(folder)


def describe(home, name, spec):
    folder = home / ".local/share/jupyter/kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return folder


def launching(program, **more):
    return {"argv": [str(program), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Mine", "language": "python"} | more


PREFIX = "__import__('sys').prefix"


def bare_python(folder):
    """A Python without the kernel's program."""
    subprocess.run([python(), "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin/python"


def broken_kernels(home):
    """What is wrong with a kernel by its name, and how it is described."""
    return {
        "gone": ("/nosuch/bin/python does not exist", launching("/nosuch/bin/python")),
        "tilde": ("gone/bin/python does not exist", launching("~/gone/bin/python")),
        "nowhere": ("there is no program nosuchprogram", launching("nosuchprogram")),
        "bare": ("lacks the kernel's program (ipykernel)", launching(bare_python(home / "env"))),
        "half": ("kernel.json is not valid JSON", "{"),
        "empty": ("kernel.json is not valid JSON", ""),
        "list": ("names no command", "[]"),
        "wordless": ("names no command", {"argv": []}),
        "wrong": ("kernel.json is not valid", launching("python", display_name=5)),
    }


def test_a_kernel_that_does_not_start_hides_none_and_says_what_to_remove(place):
    home = place / "home"
    home.mkdir()
    broken = broken_kernels(home)
    for name, (_, spec) in broken.items():
        describe(home, name, spec)
    with serving(home, place / "run") as server:
        specs = server.api("GET", "kernelspecs")[1]["kernelspecs"]
        for name, (cause, spec) in broken.items():
            mine = describe(home, "python3", spec)
            answers = [server.api("POST", "kernels", {"name": name})]
            status, session = server.api("POST", "sessions", {"path": f"{name}.ipynb", "type": "notebook", "name": "", "kernel": {"name": "python3"}})
            assert status == 201, session
            assert server.ask(session["kernel"]["id"], PREFIX) == repr(str(Path(python()).parent.parent))
            server.api("DELETE", f"sessions/{session['id']}")
            answers.append(server.api("POST", "sessions", {"path": name, "type": "notebook", "name": "", "kernel": {"name": "python3-broken"}}))
            for (status, answer), folder in zip(answers, (mine.with_name(name), mine), strict=True):
                assert status in (500, 501)
                for words in (cause, f"rm -r {folder}"):
                    assert words in answer["message"]
            after = server.api("GET", "kernelspecs")[1]
            assert after["default"] == "python3"
            assert after["kernelspecs"]["python3"]["spec"]["display_name"] == "Python 3 (ipykernel)"
            for shown in (name, "python3-broken"):
                assert after["kernelspecs"][shown]["spec"]["display_name"].endswith("(does not start)")
            assert specs[name]["spec"]["display_name"].endswith("(does not start)") or name == "bare"
        (mine / "kernel.json").unlink()
        assert "python3-broken" not in server.api("GET", "kernelspecs")[1]["kernelspecs"]
        log = server.words()
        assert all(cause in log for cause, _ in broken.values())
        assert "Traceback" not in log


def test_a_kernel_that_works_comes_first(place):
    home = place / "home"
    describe(home, "python3", launching(python(), env={"MINE": "yes", "ALSO": "${HOME}/x"}))
    describe(home, "elsewhere", launching("ssh", metadata={"kernel_provisioner": {"provisioner_name": "remote"}}))
    with serving(home, place / "run") as server:
        kernel = server.start_kernel("python3")
        assert server.ask(kernel, "__import__('os').environ['MINE']") == "'yes'"
        assert server.ask(kernel, "__import__('os').environ['ALSO']") == f"'{home}/x'"
        assert server.api("GET", "kernelspecs")[1]["kernelspecs"]["python3"]["spec"]["display_name"] == "Mine"
        assert server.api("POST", "kernels", {"name": "nosuch"})[0] == 500


def test_a_kernel_that_was_mended_starts(place):
    home = place / "home"
    home.mkdir()
    program = bare_python(home / "env")
    describe(home, "mine", launching(program))
    with serving(home, place / "run") as server:
        assert "lacks the kernel's program" in server.api("POST", "kernels", {"name": "mine"})[1]["message"]
        site = next((home / "env/lib").glob("python3*")) / "site-packages"
        (site / "there.pth").write_text(f"{next(Path(python()).parent.parent.glob('lib/python3*'))}/site-packages\n")
        assert server.ask(server.start_kernel("mine"), PREFIX) == repr(str(home / "env"))


def test_the_first_package_of_ones_own_is_found_at_once(place):
    home = place / "home"
    home.mkdir()
    # One that finds what lies in ~/.local, as the environment of the users does.
    subprocess.run([python(), "-m", "venv", "--without-pip", "--system-site-packages", place / "open"], check=True)
    there = next(Path(python()).parent.parent.glob("lib/python3*/site-packages"))
    next((place / "open/lib").glob("python3*/site-packages")).joinpath("there.pth").write_text(f"{there}\n")
    describe(home, "open", launching(place / "open/bin/python"))
    with serving(home, place / "run") as server:
        kernel = server.start_kernel("open")
        site = Path(server.ask(kernel, "__import__('site').getusersitepackages()").strip("'"))
        assert site.is_relative_to(home)
        (site / "mypackage.py").write_text("x = 42\n")
        assert server.ask(kernel, "__import__('mypackage').x") == "42"
        assert (home / ".local/bin").is_dir()


@pytest.mark.parametrize("in_the_way", ["file", "closed"])
def test_a_home_that_takes_no_packages_keeps_nobody_out(place, in_the_way):
    home = place / "home"
    home.mkdir()
    if in_the_way == "file":
        (home / ".local").write_text("in the way")
    else:
        (home / ".local").symlink_to("/proc")
    with serving(home, place / "run", JUPYTER_DATA_DIR=str(place / "data")) as server:
        assert server.ask(server.start_kernel("python3"), "6 * 7") == "42"


READS = "\x1b[?2004h"  # what bash sends when it reads a line
TERMINAL = START.parent / "always" / "terminal.sh"


class Terminal:
    """What a user sees of a terminal, and types into it."""

    def __init__(self, home, shell, patience=100):
        env = {"HOME": str(home), "SHELL": shell, "PATH": "/usr/bin:/bin", "TERM": "xterm", "TLJH_PROMPT_PATIENCE": str(patience)}
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background has it ignored
            os.chdir(home)
            os.execve("/bin/sh", ["/bin/sh", str(TERMINAL)], env)
        self.seen = ""

    def until(self, words, seconds=60):
        deadline = time.monotonic() + seconds
        while words not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.end], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.end, 4096).decode()
                except OSError:  # the other end is closed
                    assert words in self.seen, self.seen
        return self.seen

    def type(self, text):
        self.seen = ""
        os.write(self.end, text.encode())

    def ended(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.end], [], [], 0.05)[0]:  # a shell waits until what it wrote was read
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.end, 4096).decode()
        raise AssertionError(self.seen)

    def close(self):
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.end)


@pytest.fixture
def terminal(place):
    opened = []

    def open_one(shell="/bin/bash", files=(), **options):
        for name, text in dict(files).items():
            (place / name).write_text(text)
        opened.append(Terminal(place, shell, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def test_a_terminal_is_the_users_own_shell(terminal):
    it = terminal(files={".profile": "MINE=profile\n"})
    it.until(READS)
    time.sleep(1)  # nobody types as fast as a test
    it.type("echo $MINE-$((6*7))-$(shopt -q login_shell && echo login)\n")
    it.until("profile-42-login")
    # Jobs are stopped and ended as in any shell.
    it.type("sleep 1000\n")
    it.until("sleep 1000")
    time.sleep(0.5)
    it.type("\x03")
    it.until(READS)
    it.type("exit 7\n")
    assert it.ended() == 7
    assert "***" not in it.seen


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({".profile": "exit 3\n"}, "~/.profile"),
        ({".profile": ". ~/.bashrc\n", ".bashrc": "exit\n"}, "~/.bashrc"),
        ({".bash_profile": "exec false\n"}, "~/.bash_profile"),
    ],
)
def test_a_shell_that_its_own_files_end(terminal, files, named):
    it = terminal(files=files)
    it.until("open a new terminal")
    assert "ended before it showed a prompt" in it.seen
    assert named in it.seen
    it.type("echo $((6*7))-$((6*9))\n")
    it.until("42-54")


@pytest.mark.parametrize("line", ["while :; do :; done", "sleep 1000", "while :; do sleep 1; done"])
def test_a_profile_that_never_ends(terminal, line):
    it = terminal(files={".profile": f"echo begun\n{line}\n"}, patience=5)
    it.until("Ctrl+C")
    assert "has not finished its own start files: ~/.profile" in it.seen
    it.type("\x03")
    it.until(READS)
    it.type("echo $((6*7))-$((6*9))\n")
    it.until("42-54")


def test_other_shells_are_started_as_they_are(terminal):
    it = terminal(shell="/bin/sh", patience=5)
    time.sleep(1)
    it.type("echo $((6*7))-$((6*9))\n")
    it.until("42-54")
    assert "***" not in it.seen

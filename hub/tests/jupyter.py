"""A real Jupyter server, started as a user's is, in the environment that a hub's users have."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tljh.spawner import START

# Works out an expression in a kernel. The answer comes with the reply, as what is printed is lost to who listens too late.
ASK = """
import sys
from jupyter_client import BlockingKernelClient
client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels(iopub=False, hb=False)
client.execute("0", user_expressions={"it": sys.argv[2]})
answer = client.get_shell_msg(timeout=60)["content"]["user_expressions"]["it"]
print(answer["data"]["text/plain"] if answer["status"] == "ok" else answer["evalue"])
"""


def python() -> str:
    """The Python of the users' environment, as its lock has it; `make test-python` makes it and says where it is."""
    folder = os.environ.get("TLJH_USER_ENVIRONMENT")
    if not folder:
        pytest.skip("needs TLJH_USER_ENVIRONMENT, the folder that `go run ./internal/dist/devenv user` prints")
    return f"{folder}/bin/python"


# Asks a kernel how a word goes on, as a page does while somebody types.
COMPLETE = """
import sys
from jupyter_client import BlockingKernelClient
client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels(iopub=False, hb=False)
print(client.complete(sys.argv[2], reply=True, timeout=60)["content"]["matches"])
"""


class OverSocket(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Server:
    def __init__(self, home: Path, folder: Path, log: Path):
        self.home, self.folder, self.log = home, folder, log
        self.socket, self.runtime = folder / "s", folder / "runtime"

    def api(self, method: str, path: str, body=None, timeout=60):
        """The answer to a request: its status, and what it holds."""
        connection = OverSocket(self.socket, timeout)
        with contextlib.closing(connection):
            connection.request(method, f"/api/{path}", None if body is None else json.dumps(body), {"Authorization": "token secret"})
            reply = connection.getresponse()
            text = reply.read()
        return reply.status, json.loads(text) if text else None

    def stream(self, path: str, timeout=120) -> str:
        """All that an address sends until it is done."""
        with contextlib.closing(OverSocket(self.socket, timeout)) as connection:
            connection.request("GET", path, headers={"Authorization": "token secret"})
            return connection.getresponse().read().decode()

    def send(self, method: str, path: str, body, status: int) -> None:
        with contextlib.closing(OverSocket(self.socket, 60)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), {"Authorization": "token secret"})
            reply = connection.getresponse()
            assert reply.status == status, reply.read()

    def lab(self, path: str):
        """What JupyterLab keeps of its user."""
        return json.loads(self.stream(f"/lab/api/{path}"))

    def start_kernel(self, name: str) -> str:
        status, kernel = self.api("POST", "kernels", {"name": name})
        assert status == 201, kernel
        return kernel["id"]

    def ask(self, kernel: str, expression: str) -> str:
        """The value of an expression in a kernel, as Python writes it."""
        return self._at(kernel, ASK, expression)

    def complete(self, kernel: str, word: str) -> str:
        return self._at(kernel, COMPLETE, word)

    def _at(self, kernel: str, program: str, text: str) -> str:
        file = self.runtime / f"kernel-{kernel}.json"
        done = subprocess.run([python(), "-c", program, file, text], check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def words(self) -> str:
        return self.log.read_text()


@contextlib.contextmanager
def serving(home: Path, folder: Path, **env):
    """Start a server in a home and wait until it answers. `folder` has to have a short path, as sockets lie in it."""
    home.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    server = Server(home, folder, folder / "log")
    own = {
        "HOME": str(home),
        "PATH": f"{os.path.dirname(python())}:/usr/local/bin:/usr/bin:/bin",
        "SHELL": "/bin/bash",
        "JUPYTER_RUNTIME_DIR": str(server.runtime),
        "JUPYTER_TOKEN": "secret",
        "PYTHONDONTWRITEBYTECODE": "1",
        "JUPYTER_PREFER_ENV_PATH": "no",  # as for who does not own the environment
    }
    options = [f"--ServerApp.sock={server.socket}", "--KernelManager.transport=ipc", "--allow-root", f"--ServerApp.root_dir={home}", "--no-browser"]
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [python(), "-s", START, "jupyter_server", *options],
            env=own | env,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if server.api("GET", "status")[0] == 200:
                    break
            assert process.poll() is None and time.monotonic() < deadline, server.words()
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

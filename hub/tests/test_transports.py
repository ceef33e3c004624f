"""How kernels are started. Jupyter is not here: a stand-in has what is asked of it."""

import asyncio
import importlib.util
import json
import os
import socket
from types import SimpleNamespace

import pytest

from tljh.spawner import START

JAVA = ["java", "-jar", "kernel.jar", "{connection_file}"]


@pytest.fixture
def transports(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("transports", START.parent / "always" / "transports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "place", lambda: str(tmp_path / "data/tljh-transports.json"))
    return module


class Kernel(SimpleNamespace):
    """A kernel that answers over some transports."""

    def __init__(self, knows, argv=JAVA):
        super().__init__(transport="ipc", ip="", kernel_name="java", kernel_spec=SimpleNamespace(argv=argv), log=SimpleNamespace(warning=self.warn))
        self.knows, self.done, self.told = knows, [], []

    def warn(self, text, *values):
        self.told.append(text % values)

    async def shutdown_kernel(self, now):
        self.done.append("end")

    async def is_alive(self):
        return self.knows is not None


def begin(transports, monkeypatch, kernel):
    async def plain(kernel, **_):
        kernel.done.append(kernel.transport)

    async def answers(kernel, patience):
        kernel.done.append("asked")
        return kernel.transport in (kernel.knows or ())

    monkeypatch.setattr(transports, "answers", answers)
    asyncio.run(transports.start(kernel, plain))
    return kernel.done


def test_what_worked_is_remembered_until_the_description_changes(transports, monkeypatch):
    first = Kernel({"tcp"})
    assert begin(transports, monkeypatch, first) == ["ipc", "asked", "end", "tcp", "asked"]
    assert (first.ip, first.shell_port, first.control_port) == ("127.0.0.1", 0, 0)
    assert "over TCP on 127.0.0.1" in first.told[0]
    assert begin(transports, monkeypatch, Kernel({"tcp"})) == ["tcp", "asked"]
    assert begin(transports, monkeypatch, Kernel({"ipc"}, [*JAVA, "--new"])) == ["ipc", "asked"]
    assert begin(transports, monkeypatch, Kernel({"ipc"}, [*JAVA, "--new"])) == ["ipc"]


def test_a_port_that_another_user_took_is_not_used(transports, monkeypatch):
    seen = iter([[40001], []])
    monkeypatch.setattr(transports, "strangers", lambda ports, uid: next(seen))
    kernel = Kernel({"tcp"})
    assert begin(transports, monkeypatch, kernel) == ["ipc", "asked", "end", "tcp", "asked", "end", "tcp", "asked"]
    assert any("another user's program listens on ports [40001]" in told for told in kernel.told)
    monkeypatch.setattr(transports, "strangers", lambda ports, uid: [40001])
    with pytest.raises(Exception, match="taken by programs of another user"):
        begin(transports, monkeypatch, Kernel({"tcp"}))


def test_who_listens_is_known(transports):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert transports.strangers({port}, os.getuid()) == []
        assert transports.strangers({port}, os.getuid() + 1) == [port]
        assert transports.strangers({port + 1}, os.getuid() + 1) == []


def test_one_that_never_answers_is_tried_again_the_next_time(transports, monkeypatch):
    for _ in range(2):
        assert begin(transports, monkeypatch, Kernel(set())) == ["ipc", "asked", "end", "tcp", "asked"]


def test_one_that_ends_over_both_is_not_started_again_and_says_so(transports, monkeypatch):
    kernel = Kernel(None)
    with pytest.raises(Exception, match=r"kernel java ended when it was started \(java\)"):
        begin(transports, monkeypatch, kernel)
    assert kernel.done == ["ipc", "asked", "end", "tcp", "asked", "end"]
    assert "ended when it was started" in str(kernel._ready.exception()), "what Jupyter asks"


@pytest.mark.parametrize(
    "argv", [["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], ["python", "-Xfrozen_modules=off", "-m", "ipykernel_launcher"], []]
)
def test_kernels_of_python_are_not_waited_for(transports, monkeypatch, argv):
    assert begin(transports, monkeypatch, Kernel({"ipc"}, argv)) == ["ipc"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"java": 1}', '{"java": {"argv": "x"}}', '{"java": {"argv": ["java"], "transport": "inproc"}}', '"' + "x" * 100_000 + '"', "[" * 60_000],
)
def test_whatever_is_in_the_users_file_does_no_harm(transports, text):
    os.makedirs(os.path.dirname(transports.place()))
    with open(transports.place(), "w", encoding="utf-8") as file:
        file.write(text)
    assert transports.transport_of(transports.place(), "java", ["java"]) is None
    transports.remember(transports.place(), "java", ["java"], "tcp")
    assert transports.transport_of(transports.place(), "java", ["java"]) == "tcp"


def test_a_pipe_in_its_place_holds_nobody_up(transports, tmp_path):
    os.makedirs(os.path.dirname(transports.place()))
    os.mkfifo(transports.place())
    assert transports.remembered(transports.place()) == {}
    assert transports.remembered(str(tmp_path / "none")) == {}
    transports.remember("/proc/none/x", "java", JAVA, "tcp")  # where nothing can be written
    assert json.dumps(transports.remembered("/dev/zero")) == "{}"

"""Words of a single-user server. That pages get them, the tests in guests show: Jupyter's server is not here."""

import errno
import importlib.util

import pytest

from tljh.spawner import START

EVENTS = "low 0\nhigh 0\nmax 9\noom 3\noom_kill {}\noom_group_kill 0\n"
GIB = 1 << 30


@pytest.fixture
def words(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("own_words", START.parent / "always" / "own_words.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "GROUPS", str(tmp_path))
    group = tmp_path / "tljh.slice/jupyter-bob.service"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{GIB}\n")
    (group / "memory.events").write_text(EVENTS.format(2))
    read = module.read
    monkeypatch.setattr(module, "read", lambda path: "0::/tljh.slice/jupyter-bob.service\n" if path.startswith("/proc") else read(path))
    module.group = group
    return module


@pytest.mark.parametrize(
    ("count", "exit_code", "limit", "says"),
    [
        (3, -9, GIB, "its limit is 1.0 GiB"),
        (3, 137, GIB, "its limit is 1.0 GiB"),  # a kernel that a shell started
        (3, None, "max", "none left"),
        (3, -11, GIB, None),  # it crashed by itself
        (2, -9, GIB, None),  # ended by its user, and what ran out of memory did so before
    ],
)
def test_a_kernel_that_ended_for_want_of_memory(words, count, exit_code, limit, says):
    watch = words.Watch()
    (words.group / "memory.events").write_text(EVENTS.format(count))
    (words.group / "memory.max").write_text(f"{limit}\n")
    got = watch.cause(exit_code)
    assert (says in got and "ran out of memory" in got and "higher limit" in got) if says else got == ""
    assert watch.cause(-9) == "", "it is told once"


def test_without_control_groups_nothing_is_claimed(words):
    for name in ("memory.events", "memory.max"):
        (words.group / name).unlink()
    assert words.memory() == (0, None)
    assert words.Watch().cause(-9) == ""


def test_both_versions_of_control_groups(words, tmp_path):
    old = tmp_path / "memory/a"
    old.mkdir(parents=True)
    assert list(words.own_groups("5:cpu,memory:/a\n1:name=systemd:/b\n0::/c\n")) == [
        (str(old), "memory.oom_control", "memory.limit_in_bytes"),
        (str(tmp_path / "c"), "memory.events", "memory.max"),
    ]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "/gone/python"), "FileNotFoundError: [Errno 2] No such file: '/gone/python'. Try again."),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full. Delete files"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Your files take all the room"),
        (RuntimeError(""), "RuntimeError. Try again."),
        (ValueError("x" * 1000), "xxx. Try again."),
        (type("NoSuchKernel", (KeyError,), {"__str__": lambda self: "No such kernel named r"})(), "No such kernel named r. Choose another kernel"),
    ],
)  # fmt: skip
def test_an_error_that_nobody_expected_has_words(words, error, says):
    got = words.explain(error)
    assert says in got
    assert len(got) < 500
    assert "Unhandled" not in got

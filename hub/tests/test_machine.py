import os
from types import SimpleNamespace

import pytest

from tljh import machine

GROUP = "/tljh.slice/tljh-users.slice"
MIB = 1 << 20


def disk(monkeypatch, free, files, all_files=1000):
    status = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_favail=files, f_files=all_files)
    monkeypatch.setattr(os, "statvfs", lambda path: status)


@pytest.mark.parametrize(
    ("free", "files", "all_files", "words"),
    [(0, 500, 1000, "is full"), (MIB, 500, 1000, "is full"), (50 * MIB, 3, 1000, "space for more files"), (50 * MIB, 500, 1000, None), (50 * MIB, 0, 0, None)],
)
def test_room(monkeypatch, free, files, all_files, words):
    disk(monkeypatch, free, files, all_files)
    said = machine.no_room("/home/x")
    assert (said is None) if words is None else (words in said)


def test_a_home_that_is_not_there_is_told(tmp_path):
    assert "cannot be read" in machine.no_room(str(tmp_path / "gone"))


def write(folder, **files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture
def proc(tmp_path):
    write(tmp_path / "proc", meminfo="MemTotal:       8000000 kB\nMemAvailable:   4000000 kB\nSwapFree:        0 kB\n")
    return tmp_path / "proc"


def memory(proc, cgroups):
    return machine.no_memory(GROUP, proc, cgroups)


def test_memory_of_the_machine(tmp_path, proc):
    assert memory(proc, tmp_path) is None
    (proc / "meminfo").write_text("MemAvailable: 50000 kB\nSwapFree: 0 kB\n")
    assert "machine" in memory(proc, tmp_path)
    (proc / "meminfo").write_text("MemAvailable: 50000 kB\nSwapFree: 900000 kB\n")
    assert memory(proc, tmp_path) is None


@pytest.mark.parametrize(
    ("most", "now", "cached", "full"),
    [(1000, 950, 0, True), (1000, 950, 500, False), (1000, 500, 0, False), ("max", 5000, 0, False), (1000, 1100, 0, True)],
)
def test_memory_of_all_users_with_cgroups_of_both_kinds(tmp_path, proc, most, now, cached, full):
    text = most if most == "max" else str(most * MIB)
    write(
        tmp_path / "v2/tljh.slice/tljh-users.slice",
        **{"memory.max": text + "\n", "memory.current": f"{now * MIB}\n", "memory.stat": f"anon 1\ninactive_file {cached * MIB}\nactive_file 0\n"},
    )
    assert (memory(proc, tmp_path / "v2") is not None) == full
    if most == "max":
        return
    write(
        tmp_path / "v1/memory/tljh.slice/tljh-users.slice",
        **{
            "memory.limit_in_bytes": text + "\n",
            "memory.usage_in_bytes": f"{now * MIB}\n",
            "memory.stat": f"cache 3\ntotal_inactive_file 0\ntotal_active_file {cached * MIB}\n",
        },
    )
    assert (memory(proc, tmp_path / "v1") is not None) == full


def test_records_that_cannot_be_read_refuse_nobody(tmp_path, proc):
    write(tmp_path / "cg/tljh.slice/tljh-users.slice", **{"memory.max": "?", "memory.current": "", "memory.stat": ""})
    assert memory(proc, tmp_path / "cg") is None
    assert memory(tmp_path / "no-proc", tmp_path / "none") is None


@pytest.mark.parametrize(("line", "has"), [("CapBnd:\t00000000fcecbfff", True), ("CapBnd:\t0000000000000000", False), ("Name: x", False)])
def test_a_capability(tmp_path, line, has):
    (tmp_path / "status").write_text(line + "\n")
    assert machine.has_capability(11, tmp_path / "status") is has
    assert not machine.has_capability(11, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("0::/tljh.slice/tljh-users.slice/jupyter-bob.service\n", True),
        ("1:name=systemd:/tljh.slice/jupyter-bob.service/inner\n", True),
        ("0::/user.slice/jupyter-bob.service-not\n", False),
        ("0::/system.slice/cron.service\n", False),
    ],
)
def test_the_unit_of_a_process(tmp_path, text, ours):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(text)
    assert machine.is_of_unit(7, "jupyter-bob.service", tmp_path) is ours
    assert not machine.is_of_unit(8, "jupyter-bob.service", tmp_path)


@pytest.mark.parametrize(
    ("lines", "memory"),
    [
        ("36 35 98:0 /systemd-private-x/tmp /tmp rw,nosuid shared:1 - tmpfs tmpfs rw,size=50%\n", True),
        ("36 35 98:0 / / rw - ext4 /dev/vda rw\n", False),
        ("36 35 98:0 / /tmp rw - ext4 /dev/vda rw\n", False),
        ("36 35 0:1 / /tmp rw - tmpfs tmpfs rw\n37 36 98:0 /x /tmp rw - ext4 /dev/vda rw\n", False),
        ("36 35 0:1 / /tmpx rw - tmpfs tmpfs rw\n\n", False),
    ],
)
def test_what_lies_in_memory(tmp_path, lines, memory):
    (tmp_path / "mounts").write_text(lines)
    assert machine.is_in_memory("/tmp", tmp_path / "mounts") is memory

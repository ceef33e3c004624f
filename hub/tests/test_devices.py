import os
import stat
from types import SimpleNamespace

import pytest

from tljh import devices
from tljh.devices import Person

BOB = Person(1001, frozenset({1001, 20}))  # 20: dialout


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "opens"),
    [
        (0o666, 0, 0, True),
        (0o660, 0, 44, False),
        (0o660, 0, 20, True),
        (0o640, 0, 20, False),  # half of it is of no use
        (0o606, 0, 20, False),  # the group's bits count for the group's members
        (0o060, 1001, 20, False),
        (0o600, 1001, 0, True),
        (0o000, 0, 0, False),
    ],
)
def test_mode_and_group_decide(mode, uid, gid, opens):
    assert BOB.may_open(SimpleNamespace(st_mode=stat.S_IFCHR | mode, st_uid=uid, st_gid=gid)) is opens


# A machine with an NVIDIA card, a screen, two serial ports and a camera.
MACHINE = {
    "null": (0o666, 0, 0),
    "nvidia0": (0o666, 0, 0),
    "nvidiactl": (0o666, 0, 0),
    "nvidia-caps/nvidia-cap1": (0o400, 0, 0),
    "nvidia-caps/nvidia-cap2": (0o666, 0, 0),
    "dri/card0": (0o660, 0, 44),
    "kfd": (0o660, 0, 109),
    "ttyUSB0": (0o660, 0, 20),
    "ttyACM0": (0o660, 0, 5),
    "fuse": (0o666, 0, 0),
    "video0": (0o660, 0, 44),
}
NVIDIA = ["/dev/nvidia-caps/nvidia-cap2", "/dev/nvidia0", "/dev/nvidiactl"]


@pytest.fixture
def machine(tmp_path):
    for name, (mode, uid, gid) in MACHINE.items():
        path = tmp_path / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.mknod(path, stat.S_IFCHR | mode, os.makedev(1, 3))
            os.chown(path, uid, gid)
        except PermissionError:
            pytest.skip("makes devices")
        path.chmod(mode)
    (tmp_path / "dev/sda").touch()  # in the place of a disk: no character device
    (tmp_path / "dev/arduino").symlink_to("ttyUSB0")
    (tmp_path / "dev/out").symlink_to(tmp_path / "elsewhere")
    os.mknod(tmp_path / "elsewhere", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "namespaces", "seen", "closed"),
    [
        ("auto", False, [*NVIDIA, "/dev/ttyUSB0"], []),
        ("auto", True, ["/dev/fuse", *NVIDIA, "/dev/ttyUSB0"], []),
        ("none", True, [], []),
        ([], False, [], []),
        (["/dev/nvidia*"], False, ["/dev/nvidia0", "/dev/nvidiactl"], []),
        (["/dev/arduino"], False, ["/dev/ttyUSB0"], []),
        (["/dev/video?", "/dev/none"], False, [], ["/dev/video0"]),
        (["/dev/sda", "/dev/out", "/dev/../elsewhere"], False, [], []),
    ],
)
def test_devices_of_a_machine(machine, wanted, namespaces, seen, closed):
    choice = devices.choose(wanted, namespaces, BOB, machine)
    assert (choice.seen, choice.closed) == (seen, closed)


def test_a_server_without_devices_has_a_dev_of_its_own():
    assert devices.properties([]) == {}
    assert devices.properties(["/dev/kfd"]) == {"PrivateDevices": "no", "DevicePolicy": "closed", "DeviceAllow": ["/dev/kfd rw"]}

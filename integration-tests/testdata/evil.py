"""A package whose build does what it should not: it is its own build backend. As a program, it packs itself as a source distribution."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile

PROJECT = """[project]
name = "evil"
version = "1"
[build-system]
requires = []
build-backend = "evil"
backend-path = ["."]
"""
FORBIDDEN = (
    "/etc/cron.d/evil",
    "/opt/tljh/evil",
    "/opt/tljh/bin/evil",
    "/opt/tljh/hub/evil",
    "/usr/local/bin/evil",
    "/run/systemd/system/evil.service",
)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with open("/proc/self/status") as file:
        rights = dict(line.split(":", 1) for line in file)["CapBnd"].strip()
    subprocess.Popen(["setsid", "bash", "-c", "trap '' TERM HUP; exec -a builder sleep 1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wrote = []
    for path in FORBIDDEN:
        try:
            with open(path, "w") as file:
                wrote.append(path)
        except OSError:
            pass
    name = "evil-1-py3-none-any.whl"
    files = {
        "evil_told.txt": f"account {os.getuid()}\nrights {rights}\nwrote {wrote}\n",
        "evil-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1\n",
        "evil-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: evil\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["evil-1.dist-info/RECORD"] = "".join(f"{path},,\n" for path in [*files, "evil-1.dist-info/RECORD"])
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name


def pack(target):
    with open(__file__, "rb") as file:
        me = file.read()
    with tarfile.open(target, "w:gz") as archive:
        for path, data in {
            "evil-1/pyproject.toml": PROJECT.encode(),
            "evil-1/evil.py": me,
            "evil-1/PKG-INFO": b"Metadata-Version: 2.1\nName: evil\nVersion: 1\n",
        }.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    pack(sys.argv[2])

"""The culler, in a unit of its own: the hub starts it as root with its token, and it runs as an account that nothing else has.

The token reaches it over a pipe: in no file, on no command line, and in no environment that another process could read."""

import json
import os
import runpy
import subprocess
import sys

from tljh import systemd

UNIT = "tljh-culler.service"
INSIDE = "--inside"
PROPERTIES = (
    # It ends with the hub that started it.
    "BindsTo=jupyterhub.service",
    "After=jupyterhub.service",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "IPAddressDeny=any",
    "IPAddressAllow=localhost",
)


def outside(arguments: list[str]) -> None:
    """Become the program that starts the unit and waits for it."""
    env = {key: value for key, value in os.environ.items() if key.startswith("JUPYTERHUB_")}
    subprocess.run(["systemctl", "stop", UNIT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    reader, writer = os.pipe()
    os.write(writer, json.dumps(env).encode() + b"\n")  # a pipe holds far more
    os.close(writer)
    os.dup2(reader, 0)
    command = [sys.executable, "-m", "tljh.culler", INSIDE, *arguments]
    argv = systemd.alone(("Description=Stops servers that are not used", *PROPERTIES), {"LANG": "C.UTF-8"}, *command)
    argv.insert(1, f"--unit={UNIT}")
    os.execvp(argv[0], argv)  # noqa: S606 - no shell is what is wanted


def inside(arguments: list[str]) -> None:
    line = sys.stdin.readline()
    if not line:
        sys.exit("the hub that started this has ended")
    os.environ.update(json.loads(line))
    sys.argv = ["jupyterhub_idle_culler", *arguments]
    runpy.run_module("jupyterhub_idle_culler", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        inside(sys.argv[2:])
    else:
        outside(sys.argv[1:])

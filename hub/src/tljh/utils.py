"""`from tljh import utils`, which plugins of the older TLJH run commands with."""

import subprocess
from typing import Any


def run_subprocess(cmd: list[str], *args: Any, **kwargs: Any) -> str:
    """Run a command and return what it wrote to standard output. CalledProcessError if it fails."""
    return subprocess.run(cmd, *args, check=True, text=True, stdout=subprocess.PIPE, **kwargs).stdout

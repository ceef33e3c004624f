"""Tells systemd how the hub is doing (sd_notify): `systemctl start` returns when the hub really answers."""

import os
import socket


def notify(state: str) -> bool:
    """Send a state such as READY=1 to the manager that started this process, if there is one that wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(5)
        try:
            sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return False
    return True

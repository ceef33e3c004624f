"""Begins many requests with large bodies, and ends none: large.py HOST PORT REQUESTS MEGABYTES. Says so, and holds them until standard input ends."""

import contextlib
import socket
import sys

host, port, requests, megabytes = sys.argv[1], *map(int, sys.argv[2:])
held = []
for _ in range(requests):
    connection = socket.create_connection((host, port), timeout=20)
    connection.settimeout(0.5)  # one that is refused is not read on
    held.append(connection)
    with contextlib.suppress(OSError):  # it is refused
        connection.sendall(f"POST /hub/login HTTP/1.1\r\nHost: hub\r\nContent-Length: {(megabytes + 1) << 20}\r\n\r\n".encode())
        for _ in range(megabytes):
            connection.sendall(bytes(1 << 20))
print("sent", flush=True)
sys.stdin.read()

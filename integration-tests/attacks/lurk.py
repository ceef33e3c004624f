"""Reads whatever appears in some folders, and what other processes are started with, until a file appears. Prints which secrets it saw."""

import contextlib
import json
import os
import sys

with open(sys.argv[1]) as file:
    SECRETS = json.load(file)
STOP, PLACES = sys.argv[2], sys.argv[3:]
seen, rounds = set(), 0


def look(path):
    with contextlib.suppress(OSError), open(path, "rb") as file:
        text = file.read(1 << 20)
        seen.update((name, path) for name, secret in SECRETS.items() if secret.encode() in text)


while not os.path.exists(STOP):
    rounds += 1
    for place in PLACES:
        for folder, _, files in os.walk(place):
            for name in files:
                look(os.path.join(folder, name))
    for name in os.listdir("/proc"):
        if name.isdigit():
            look(f"/proc/{name}/cmdline")
            look(f"/proc/{name}/environ")
print(json.dumps({"rounds": rounds, "seen": sorted(seen)}))

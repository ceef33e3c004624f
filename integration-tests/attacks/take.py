"""Takes a port of the machine, shared with whoever has it if that can be, and holds it."""

import socket
import sys
import time

address, port, said = sys.argv[1:]
taken = socket.socket()
for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    taken.setsockopt(socket.SOL_SOCKET, option, 1)
try:
    taken.bind((address, int(port)))
    taken.listen()
    outcome = "taken"
except OSError as error:
    outcome = error.strerror
with open(said, "w") as file:
    file.write(outcome)
if outcome == "taken":
    time.sleep(3600)

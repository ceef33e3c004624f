"""What a student's program does to fill what all need. Its first argument says what."""

import os
import sys
import time


def write(path):
    """Append to a file until nothing can be written; return how much was."""
    took = 0
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while took < 8 << 30:
                took += os.write(handle, bytes(64 << 10))
        finally:
            os.close(handle)
    except OSError:
        pass
    return took


def fill(folder, seconds):
    """Fill a folder with a big file and with small ones, again and again; print how much it took at first."""
    end = time.monotonic() + seconds
    took = write(f"{folder}/filler")
    number = 0
    while time.monotonic() < end:
        number += 1
        if not write(f"{folder}/filler-{number % 1000}"):
            time.sleep(0.02)
    print(took)


def shout(seconds):
    """Flood the journal, past the limit of one's own unit if that can be."""
    end = time.monotonic() + seconds
    with open(os.devnull) as _, os.popen("systemd-cat -t flood", "w") as journal:
        while time.monotonic() < end:
            for _ in range(1000):
                journal.write("flood " * 100 + "\n")
            journal.flush()


if __name__ == "__main__":
    if sys.argv[1] == "shout":
        shout(float(sys.argv[2]))
    else:
        fill(sys.argv[1], float(sys.argv[2]))

"""One job's real load, run as a program of its own: `python load.py KIND NUMBERS...`; it imports nothing that is slow.

Prints when it began and ended, on the clock that all processes of a machine share, and the CPU seconds that it used.
"""

from __future__ import annotations

import json
import os
import sys
import time

SLICE_S = 0.005
CHUNK = 8 << 20


def burn(cpu_s: float, share: float, copies: int) -> None:
    """Use `cpu_s` seconds of CPU in each of `copies` processes, each busy for this share of the time."""
    for _ in range(copies - 1):
        if os.fork() == 0:
            _spin(cpu_s, share)
            os._exit(0)
    _spin(cpu_s, share)
    for _ in range(copies - 1):
        os.wait()


def _spin(cpu_s: float, share: float) -> None:
    used = time.process_time()
    end = used + cpu_s
    while used < end:
        until = min(end, used + SLICE_S)
        while (now := time.process_time()) < until:
            pass
        if share < 1:
            time.sleep((now - used) * (1 / share - 1))
        used = now


def fill(bytes_wanted: int, bytes_per_s: float, hold_s: float) -> None:
    """Take memory at a steady rate, page by page, and hold all of it for a while."""
    begun, kept = time.monotonic(), []
    for taken in range(0, bytes_wanted, CHUNK):
        kept.append(bytearray(b"x") * min(CHUNK, bytes_wanted - taken))
        time.sleep(max(0.0, begun + taken / bytes_per_s - time.monotonic()))
    time.sleep(hold_s)


def write(path: str, total: int) -> None:
    """Write a file to its device, past the page cache's delay, and remove it."""
    block = os.urandom(1 << 20)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for written in range(0, total, len(block)):
            os.write(file, block)
            if written % (16 << 20) == 0:
                os.fdatasync(file)
        os.fdatasync(file)
    finally:
        os.close(file)
        os.unlink(path)


def main(kind: str, *numbers: str) -> None:
    began = time.monotonic() - time.process_time()  # the interpreter's own start is part of the job
    if kind == "burn":
        burn(float(numbers[0]), float(numbers[1]), int(numbers[2]))
    elif kind == "fill":
        fill(int(numbers[0]), float(numbers[1]), float(numbers[2]))
    else:
        write(numbers[0], int(numbers[1]))
    times = os.times()
    used = times.user + times.system + times.children_user + times.children_system
    print(json.dumps({"began": began, "ended": time.monotonic(), "cpu_s": used}))


if __name__ == "__main__":
    main(*sys.argv[1:])

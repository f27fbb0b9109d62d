"""Tasks that do harm to their own process, or come to harm. Imported by worker processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any

import penstock

__all__ = ["HARMS"]


def fine(number: int) -> int:
    return number


def raises(number: int) -> int:
    raise ValueError(f"on purpose {number}")


def leaves(number: int) -> int:
    os._exit(number % 200 + 1)


def crashes(number: int) -> int:
    ctypes.string_at(0)
    return number


def aborts(number: int) -> int:
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.abort()


def hangs(number: int) -> int:
    while True:
        signal.pause()


def closes_its_output(number: int) -> int:
    os.close(1)
    os.close(2)
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    return number


def closes_what_is_not_its_own(number: int) -> int:
    os.closerange(3, 256)
    return number


def hogs_memory(number: int) -> int:
    hoard = []
    while True:
        hoard.append(bytearray(32 << 20))


def forks_a_few(number: int) -> int:
    """Leave eight processes behind, some of a second and third generation."""
    for _ in range(3):
        if os.fork() == 0:
            if os.fork() == 0:
                os.fork()
            while True:
                time.sleep(1000)
    return number


def hangs_with_a_family(number: int) -> int:
    """Start a shell in a session of its own, which starts more that ignore SIGTERM, and hang."""
    line = "trap '' TERM; sleep 1000 & sleep 1000 & wait"
    subprocess.run(["/bin/sh", "-c", line], start_new_session=True, check=False)
    return number


def is_killed(number: int, times: int, fifo: str) -> int:
    """Be killed from outside in the first `times` attempts."""
    attempt = penstock.current().attempt
    if attempt > times:
        return number
    with open(fifo, "w") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        signal.pause()


HARMS: dict[str, Any] = {
    function.__name__: function
    for function in (
        fine,
        raises,
        leaves,
        crashes,
        aborts,
        hangs,
        closes_its_output,
        closes_what_is_not_its_own,
        hogs_memory,
        forks_a_few,
        hangs_with_a_family,
    )
}

"""What the system says that processes used, in one unit everywhere."""

from __future__ import annotations

import resource
import sys

__all__ = ["cpu_s", "io_bytes", "peak_bytes"]


def cpu_s() -> float:
    """Return the seconds of CPU time of this process and of its children that have ended and were waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def io_bytes(pid: int | str = "self") -> int | None:
    """Return the bytes that a process, and its children that have ended and were waited for, moved from and to devices.

    None where the system does not count them, or the process is gone. One that has ended but was not waited for still has
    them.
    """
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            counters = dict(line.split(":") for line in file.read().splitlines())
        return int(counters["read_bytes"]) + int(counters["write_bytes"])
    except (OSError, KeyError, ValueError):
        return None


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Return the peak resident memory in bytes; systems differ in the unit they give it in."""
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024

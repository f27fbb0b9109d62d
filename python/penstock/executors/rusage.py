"""What the system says that processes used, in one unit everywhere."""

from __future__ import annotations

import resource
import sys

__all__ = ["cpu_s", "peak_bytes"]


def cpu_s() -> float:
    """Return the seconds of CPU time of this process and of its children that have ended and were waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Return the peak resident memory in bytes; systems differ in the unit they give it in."""
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024

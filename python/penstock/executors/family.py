"""Finds the processes that a process started, those that left its process group and its session too.

A child carries a mark in its environment, and what it starts inherits that, so a process is found even when its
parents have ended and it has moved to a session of its own.
"""

from __future__ import annotations

import os
import time

__all__ = ["MARK", "family_of"]

MARK = "PENSTOCK_TREE"
"""The environment variable with the mark."""

_EXEC_S = 0.1
"""How long a process that is between two programs is waited for. An exec takes some microseconds, more on a busy machine."""

_KERNEL_THREAD = 0x00200000
"""The flag in /proc/PID/stat of what has no environment for good."""


def family_of(leader: int, mark: str) -> list[int]:
    """Return the live processes that `leader` started, directly or not, without itself.

    They descend from it, are in the session it leads, or have its mark. One read of /proc, some milliseconds on a busy
    machine; an empty list on systems that have none.

    Args:
        leader: process id of a session leader that has not been waited for.
        mark: the value of `MARK` in its environment.
    """
    relatives: dict[int, tuple[int, int]] = {}
    found = {leader}
    changing: list[int] = []
    wanted = f"\0{MARK}={mark}\0".encode()
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return []
    for pid in pids:
        fields = _fields(pid)
        if not fields:
            continue
        relatives[pid] = int(fields[1]), int(fields[3])
        environ = _read(pid, "environ")
        if int(fields[3]) == leader or (environ is not None and wanted in b"\0" + environ):
            found.add(pid)
        elif environ == b"" and not int(fields[6]) & _KERNEL_THREAD:
            changing.append(pid)
    until = time.monotonic() + _EXEC_S
    while changing and time.monotonic() < until:
        os.sched_yield()
        still = [pid for pid in changing if _between_programs(_fields(pid))]  # before the reads that this is to judge
        found |= {pid for pid in changing if wanted in b"\0" + (_read(pid, "environ") or b"")}
        changing = [pid for pid in still if pid not in found]
    while more := {pid for pid, (parent, _) in relatives.items() if parent in found} - found:
        found |= more
    return sorted(found - {leader})


def _fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third, the state, on; an empty list for what has ended."""
    # The command's name, in brackets, may hold anything, so the fields are counted behind its end.
    fields = (_read(pid, "stat") or b"").rpartition(b")")[2].split()
    return [] if len(fields) < 4 or fields[0] in (b"Z", b"X") else fields


def _between_programs(fields: list[bytes]) -> bool:
    """Whether these fields are of a process in the middle of an exec, whose environment reads empty.

    Its memory is new then, and the place of its environment, the 51st field of /proc/PID/stat, is not set yet.
    """
    return len(fields) > 48 and fields[48] == b"0"


def _read(pid: int, name: str) -> bytes | None:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:  # it has just ended, or is not ours to look into
        return None

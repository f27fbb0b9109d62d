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
        before = [_environment(pid) for pid in changing]
        found |= {pid for pid in changing if wanted in b"\0" + (_read(pid, "environ") or b"")}
        # What was read is to be believed when the environment was in one place before and after.
        believed = {pid for pid, place in zip(changing, before, strict=True) if _environment(pid) == place != b"0"}
        changing = [pid for pid in changing if pid not in found | believed]
    while more := {pid for pid, (parent, _) in relatives.items() if parent in found} - found:
        found |= more
    return sorted(found - {leader})


def _fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third, the state, on; an empty list for what has ended."""
    # The command's name, in brackets, may hold anything, so the fields are counted behind its end.
    fields = (_read(pid, "stat") or b"").rpartition(b")")[2].split()
    return [] if len(fields) < 4 or fields[0] in (b"Z", b"X") else fields


def _environment(pid: int) -> bytes:
    """Return the address of a process's environment: the 50th field of /proc/PID/stat, empty for what has ended.

    It is 0 in the middle of an exec, when the environment reads empty, and another one after it, where addresses are
    randomised.
    """
    fields = _fields(pid)
    return fields[47] if len(fields) > 47 else b""


def _read(pid: int, name: str) -> bytes | None:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:  # it has just ended, or is not ours to look into
        return None

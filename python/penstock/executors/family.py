"""Finds the processes that a process started, those that left its process group and its session too.

A child carries a mark in its environment, and what it starts inherits that, so a process is found even when its
parents have ended and it has moved to a session of its own.
"""

from __future__ import annotations

import os

__all__ = ["MARK", "family_of"]

MARK = "PENSTOCK_TREE"
"""The environment variable with the mark."""


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
    wanted = f"\0{MARK}={mark}\0".encode()
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return []
    for pid in pids:
        # The command's name, in brackets, may hold anything, so the fields are counted behind its end.
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        if len(fields) < 4 or fields[0] in (b"Z", b"X"):  # it has ended
            continue
        relatives[pid] = int(fields[1]), int(fields[3])
        if int(fields[3]) == leader or wanted in b"\0" + _read(pid, "environ"):
            found.add(pid)
    while more := {pid for pid, (parent, _) in relatives.items() if parent in found} - found:
        found |= more
    return sorted(found - {leader})


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:  # it has just ended, or is not ours to look into
        return b""

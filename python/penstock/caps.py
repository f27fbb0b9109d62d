"""How `memory_limit=` is enforced here: where control groups for single attempts can be made, if anywhere.

Where they can, the kernel holds all processes of an attempt together to the limit. Where they cannot, each process is
capped by itself (RLIMIT_DATA) and the memory guard looks at all of them together, four times a second. With groups those two
hold as well: the first gives a task a MemoryError that it can handle.
"""

from __future__ import annotations

import contextlib
import os
import re
from functools import partial
from pathlib import Path

from penstock.executors.memory_group import Place
from penstock.probes.cgroup import Group, Groups

__all__ = ["find_place"]

_NAME = re.compile(r"penstock-(\d+)-\d+")


def find_place(groups: Groups) -> tuple[Place | None, str]:
    """Return where groups for attempts can be made, or None and why not, as half a sentence.

    It is found out by making one and removing it.

    Args:
        groups: those of this process.
    """
    lineage = groups.memory
    if not lineage:
        return None, "this process is in no control group of memory"
    own = lineage[0]
    parents = [own]
    if own.version == 2 and len(lineage) > 1 and own.memory_limit() is None:
        parents.append(lineage[1])  # beside ours, which has no limit that they would get out of
    why = ""
    for parent in parents:
        _sweep(parent.directory)
        place = Place(parent.version, parent.directory, own.directory, partial(_oom_kills, parent.version))
        why = _why_not(place)
        if not why:
            return place, ""
    return None, why


def _why_not(place: Place) -> str:
    """Return what keeps us from making a group there, from entering it or from coming back; empty when nothing does."""
    try:
        directory = place.make(2**40)
    except FileNotFoundError:
        return f"groups made in {place.parent} have no memory controller"
    except OSError as error:
        return f"none can be made in {place.parent}: {error.strerror}"
    try:
        if place.oom_kills(directory) is None:
            return f"the kernel does not say in {place.parent} whom it killed for memory"
        for group in (directory, place.home):
            if not os.access(group / "cgroup.procs", os.W_OK):
                return f"processes may not be moved to {group}"
    finally:
        directory.rmdir()
    return ""


def _oom_kills(version: int, directory: Path) -> int | None:
    return Group(version, "", directory).oom_kills()


def _sweep(directory: Path) -> None:
    """Remove empty groups of processes of ours that were killed before they could."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            found = _NAME.fullmatch(entry.name)
            if found is not None and not _lives(int(found[1])):
                with contextlib.suppress(OSError):
                    os.rmdir(entry.path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

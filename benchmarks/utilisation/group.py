"""A memory control group of this process's own: a real bound, in which the kernel counts what it kills."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.measures import Absent
from penstock.probes.cgroup import find_groups

__all__ = ["memory_bound"]

FILES = {1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), 2: ("memory.max", "memory.swap.max")}


@contextmanager
def memory_bound(limit: int) -> Iterator[None]:
    """Move this process, with what it starts, into a group below its own that may hold `limit` bytes, without swap.

    Raises:
        Absent: no such group can be made here.
    """
    parent = next(iter(find_groups().memory), None)
    if parent is None:
        raise Absent("there is no memory control group here")
    made = parent.directory / f"utilisation-{os.getpid()}"
    memory, swap = FILES[parent.version]
    try:
        made.mkdir()
        (made / memory).write_text(str(limit))
        (made / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        with suppress(OSError):
            made.rmdir()
        raise Absent(
            f"no memory control group can be made here ({error.strerror}): it needs root and a free hand"
        ) from error
    with suppress(OSError):  # where the kernel counts no swap there is no such file
        (made / swap).write_text("0" if parent.version == 2 else str(limit))
    try:
        yield
    finally:
        (parent.directory / "cgroup.procs").write_text(str(os.getpid()))
        with suppress(OSError):  # a process that was killed may not be gone yet
            made.rmdir()

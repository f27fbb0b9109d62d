"""Memory: how many bytes there are for us, and how many are in use.

There are as many as the machine has, or as the tightest control group allows. What is free for us is the
least that the machine or any such group leaves. Page cache is not in use: the kernel gives it back.
"""

from __future__ import annotations

import os
from pathlib import Path

from penstock.probes.cgroup import Groups
from penstock.probes.files import numbers_of, read
from penstock.probes.reading import Reading

__all__ = ["MemoryProbe"]


class MemoryProbe:
    """Measures memory.

    Args:
        root: the directory that stands for `/`.
        groups: our control groups.
    """

    name = "memory"

    def __init__(self, root: Path = Path("/"), groups: Groups | None = None) -> None:
        self._groups = groups or Groups()
        self._meminfo = f"{root}/proc/meminfo"
        self._host_source = "/proc/meminfo" if os.path.exists(self._meminfo) else "psutil"

    def capacity(self) -> Reading:
        """Return how many bytes of memory there are for us."""
        total, _ = self._host()
        limit = self._groups.memory_limit()
        if limit is not None and (total is None or limit < total):
            return Reading.of(limit, "cgroup limit")
        if total is None:
            return Reading.unknown("the total is not given", self._host_source)
        return Reading.of(total, self._host_source)

    def read(self, now_ns: int) -> Reading:
        """Return how many bytes are not free for us."""
        total, available = self._host()
        bounds = self._groups.memory_bounds()
        frees: list[tuple[int, str]] = []
        if available is not None:
            frees.append((available, self._host_source))
        for group, limit in bounds:
            used = group.memory_used()
            if used is not None:
                frees.append((limit - used, f"cgroup v{group.version} {group.path}"))
        limits = [limit for _, limit in bounds]
        if total is not None:
            limits.append(total)
        if not frees or not limits:
            return Reading.unknown("neither a total nor what is available is given", self._host_source, now_ns)
        free, source = min(frees)
        capacity = min(limits)
        return Reading.of(min(capacity, max(0, capacity - free)), source, now_ns)

    def _host(self) -> tuple[int | None, int | None]:
        """Return (total, available) of the whole machine in bytes."""
        if self._host_source == "psutil":
            import psutil

            memory = psutil.virtual_memory()
            return memory.total, memory.available
        found = numbers_of(read(self._meminfo), "MemTotal", "MemAvailable")
        total, available = found.get("MemTotal"), found.get("MemAvailable")
        return None if total is None else total * 1024, None if available is None else available * 1024

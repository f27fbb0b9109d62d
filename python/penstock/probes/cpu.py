"""CPU: how many milli-cores there are for us, and how many are in use.

There are as many as the tightest bound allows: the CPUs that this process may run on, or a control group's
quota. Each bound has a counter of its own (/proc/stat for the CPUs, the group's usage for a quota), and what
is free for us is the least that any bound leaves. psutil's percentages are not used: they read 0.0 the
first time and know no quota.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from penstock.probes.cgroup import Groups
from penstock.probes.files import read
from penstock.probes.reading import Rate, Reading

__all__ = ["CpuProbe", "affinity"]

_BUSY = (1, 2, 3, 6, 7, 8)
"""Fields of a cpu line of /proc/stat that are time in use: user, nice, system, irq, softirq, steal.

Time stolen by other guests of the host cannot be had, so it is in use. Guest time is part of user time.
"""


def affinity() -> frozenset[int] | None:
    """Return the numbers of the CPUs that this process may run on; None where the system cannot say."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return None


@dataclass(slots=True)
class _Bound:
    """One bound on our CPU time: how many milli-cores, and the counter (ns) of what is used of them."""

    label: str
    limit: int
    used_ns: Callable[[], int | None]
    rate: Rate = field(default_factory=Rate)

    def used(self, now_ns: int) -> int | None:
        counter = self.used_ns()
        rate = None if counter is None else self.rate.step(counter, now_ns)
        return None if rate is None else rate // 1_000_000  # CPU-ns a second -> milli-cores


class CpuProbe:
    """Measures the CPU. Not thread-safe: one sampler calls it.

    Args:
        root: the directory that stands for `/`.
        groups: our control groups.
        cpus: numbers of the CPUs that we may run on; None for all.
    """

    name = "cpu"

    def __init__(
        self, root: Path = Path("/"), groups: Groups | None = None, cpus: frozenset[int] | None = None
    ) -> None:
        groups = groups or Groups()
        self._stat = f"{root}/proc/stat"
        self._cpus = cpus
        self._host = len(cpus) if cpus else os.cpu_count()
        self._bounds: list[_Bound] = []
        if self._host is not None:
            known = os.path.exists(self._stat)
            counter, source = (self._from_stat, "/proc/stat") if known else (self._from_psutil, "psutil")
            self._bounds.append(_Bound(source, self._host * 1000, counter))
        for group, quota in groups.cpu_bounds():
            self._bounds.append(_Bound(f"cgroup v{group.version} {group.path}", quota, group.cpu_used_ns))
        self._quota = groups.cpu_quota()

    def capacity(self) -> Reading:
        """Return how many milli-cores there are for us."""
        if self._host is None:
            if self._quota is None:
                return Reading.unknown("the system does not say how many CPUs there are", "os.cpu_count")
            return Reading.of(self._quota, "cgroup quota")
        if self._quota is not None and self._quota < self._host * 1000:
            return Reading.of(self._quota, "cgroup quota")
        return Reading.of(self._host * 1000, "CPU affinity" if self._cpus else "os.cpu_count")

    def read(self, now_ns: int) -> Reading:
        """Return how many milli-cores are not free for us, since the last call.

        A bound whose counter cannot be read is left out; unknown when none can be.
        """
        capacity = self.capacity().value
        tightest: tuple[int, str] | None = None
        for bound in self._bounds:
            used = bound.used(now_ns)
            if used is not None and (tightest is None or bound.limit - used < tightest[0]):
                tightest = (bound.limit - used, bound.label)
        source = " and ".join(bound.label for bound in self._bounds) or "os.cpu_count"
        if capacity is None or tightest is None:
            return Reading.unknown("a rate needs a second sample", source, now_ns)
        free, label = tightest
        return Reading.of(min(capacity, max(0, capacity - free)), label, now_ns)

    def _from_stat(self) -> int:
        """Return the busy time of the CPUs that we may run on, in ns."""
        ticks = 0
        text = read(self._stat)
        for line in text.partition("\nintr")[0].splitlines():  # cpu lines come first; that of the interrupts is long
            if not line.startswith("cpu"):
                break
            words = line.split()
            number = words[0][3:]  # empty on the first line, which is the sum of the others
            ours = number == "" if self._cpus is None else number != "" and int(number) in self._cpus
            if ours:
                ticks += sum(int(words[index]) for index in _BUSY if index < len(words))
        return ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))

    def _from_psutil(self) -> int:
        import psutil

        times = psutil.cpu_times()
        busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
        return int(busy * 1e9)

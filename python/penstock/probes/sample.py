"""One look at everything: what the whole machine uses and what of it is ours.

What others use, the outside load, is the difference. It is what admission subtracts from a limit besides
the tasks' own reservations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from penstock.probes.cpu import CpuProbe
from penstock.probes.disk import DiskProbe, DiskUse
from penstock.probes.gpu import GpuProbe, GpuUse
from penstock.probes.machine import Machine
from penstock.probes.memory import MemoryProbe
from penstock.probes.network import LinkUse, NetworkProbe
from penstock.probes.pressure import KINDS, PressureProbe
from penstock.probes.reading import Probe, Rate, Reading, attempt
from penstock.probes.tree import ProcessTree, TreeUse

__all__ = ["Collector", "Sample", "Use"]


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one resource is in use.

    Attributes:
        total: by everyone on the machine (or in our container).
        own: by our own process tree.
    """

    total: Reading
    own: Reading

    def outside(self, declared: int = 0) -> int | None:
        """Return how much others use, or None when that is unknown.

        Args:
            declared: what our running tasks declared; stands for our own use where that cannot be measured.
        """
        if self.total.value is None:
            return None
        own = declared if self.own.value is None else self.own.value
        return max(0, self.total.value - own)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was in use at one instant. Rates are over the window since the sample before.

    Attributes:
        at: the instant, nanoseconds of `time.monotonic_ns()`.
        uses: by resource: cpu (milli-cores), memory (bytes), disk, network (bytes per second), gpu
            (thousandths of a GPU, over all), gpu_memory (bytes, of the GPU that is fullest), and whatever
            plug-in probes measure.
        gpus: the same for each GPU by itself.
        pressure: thousandths of the time in which some task stalled, by kind: cpu, memory, io.
        disks: each disk by itself.
        links: each network link by itself.
        parts: what the process trees use that the collector was asked for, by their roots.
        gpu_parts: bytes that each of these trees uses of all GPUs together; None where that is unknown.
    """

    at: int
    uses: Mapping[str, Use]
    gpus: tuple[GpuUse, ...]
    pressure: Mapping[str, Reading]
    disks: tuple[DiskUse, ...] = ()
    links: tuple[LinkUse, ...] = ()
    parts: Mapping[int, TreeUse] = field(default_factory=dict)
    gpu_parts: Mapping[int, int | None] = field(default_factory=dict)


class Collector:
    """Takes samples. Not thread-safe: one thread calls `collect`.

    Args:
        machine: the machine, as detected.
        plugins: makes further probes, each of which reports how much of the resource it is named for is in use; called
            with the first sample, on its thread.
        pid: root of the tree that is ours; our own process by default.
    """

    def __init__(
        self, machine: Machine, plugins: Callable[[], Iterable[Probe]] | None = None, pid: int | None = None
    ) -> None:
        root, groups = machine.root, machine.groups
        self._disks, self._links = DiskProbe(root), NetworkProbe(root)
        self._probes: list[Probe] = [
            CpuProbe(root, groups, machine.cpus),
            MemoryProbe(root, groups),
            self._disks,
            self._links,
        ]
        self._plugins = plugins
        # NVML is opened again only where GPUs were found.
        self._gpu = GpuProbe(root, ",".join(gpu.uuid for gpu in machine.gpus)) if machine.gpus else None
        self._no_gpu = machine.has["gpu"]
        self._pressure = {kind: PressureProbe(kind, root, groups) for kind in KINDS}
        self._tree = ProcessTree(pid, root)
        self._own_cpu, self._own_io = Rate(), Rate()

    def collect(self, roots: Collection[int] = ()) -> Sample:
        """Take a sample. Never raises for what cannot be read: that is unknown.

        Args:
            roots: processes of ours whose trees are to be told apart, in `Sample.parts`.
        """
        if self._plugins is not None:
            self._probes += self._plugins()
            self._plugins = None
        # Our tree is read first: what it uses between the two reads then counts as outside load, never as free.
        before_ns = time.monotonic_ns()
        tree, why = self._measure_tree(roots)
        now_ns = time.monotonic_ns()
        uses: dict[str, Use] = {}
        for probe in self._probes:
            total = attempt(partial(probe.read, now_ns), probe.name)
            own = self._own(probe.name, tree, why, before_ns)
            uses[probe.name] = Use(total, own)
        gpus = self._gpu.read(tree.pids) if self._gpu else ()
        uses |= self._gpu_uses(gpus, now_ns)
        pressure = {kind: attempt(partial(probe.read, now_ns), kind) for kind, probe in self._pressure.items()}
        return Sample(
            now_ns,
            MappingProxyType(uses),
            gpus,
            MappingProxyType(pressure),
            self._disks.each,
            self._links.each,
            tree.parts,
            MappingProxyType(self._gpu_parts(tree, gpus)),
        )

    def close(self) -> None:
        """Let go of what is held open."""
        if self._gpu is not None:
            self._gpu.close()

    @property
    def names_gpu_processes(self) -> bool:
        """Whether the processes that NVML lists have the numbers that we know them by."""
        return self._gpu is not None and self._gpu.tells_processes_apart

    def _gpu_parts(self, tree: TreeUse, gpus: tuple[GpuUse, ...]) -> dict[int, int | None]:
        if not self.names_gpu_processes:
            return {}
        return {root: _memory_of(part.pids, gpus) for root, part in tree.parts.items()}

    def _measure_tree(self, roots: Collection[int]) -> tuple[TreeUse, str]:
        try:
            return self._tree.measure(roots), "our process tree cannot be read"
        except OSError as error:
            return TreeUse(None, None, None, ()), f"our process tree cannot be read: {error.strerror}"

    def _own(self, name: str, tree: TreeUse, why: str, at: int) -> Reading:
        source = self._tree.source
        if name == "memory":
            return Reading.unknown(why, source, at) if tree.memory is None else Reading.of(tree.memory, source, at)
        if name == "cpu":
            if tree.cpu_ns is None:
                return Reading.unknown(why, source, at)
            rate = self._own_cpu.reading(tree.cpu_ns, at, source)
            return rate if rate.value is None else Reading.of(rate.value // 1_000_000, source, at)
        if name == "disk":
            if tree.io_bytes is None:
                return Reading.unknown("the I/O of a process of ours cannot be read", source, at)
            return self._own_io.reading(tree.io_bytes, at, source)
        return Reading.unknown("no system counts this by process", source, at)

    def _gpu_uses(self, gpus: tuple[GpuUse, ...], at: int) -> dict[str, Use]:
        if not gpus:
            nothing = self._no_gpu
            if nothing.value is None:
                unknown = Reading.unknown(nothing.why, nothing.source, at)
            else:
                unknown = Reading.unknown("there is no GPU", nothing.source, at)
            return {"gpu": Use(unknown, unknown), "gpu_memory": Use(unknown, unknown)}
        unattributed = Reading.unknown("NVML does not tell utilisation by process", GpuProbe.source, at)
        fullest = max(gpus, key=lambda gpu: -1 if gpu.memory.value is None else gpu.memory.value)
        return {
            "gpu": Use(_sum([gpu.busy for gpu in gpus], at), unattributed),
            "gpu_memory": Use(fullest.memory, fullest.own_memory),
        }


def _memory_of(pids: tuple[int, ...], gpus: tuple[GpuUse, ...]) -> int | None:
    """Return the bytes that some processes use of all GPUs, None when that of one of them is unknown."""
    total, ours = 0, frozenset(pids)
    for gpu in gpus:
        if gpu.processes is None:
            return None
        for pid, memory in gpu.processes:
            if pid in ours:
                if memory is None:
                    return None
                total += memory
    return total


def _sum(readings: list[Reading], at: int) -> Reading:
    """Return the sum, unknown when a part of it is."""
    total = 0
    for reading in readings:
        if reading.value is None:
            return reading
        total += reading.value
    return Reading.of(total, readings[0].source, at)

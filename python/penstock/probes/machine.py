"""What the machine has for us: a container's quota counts as the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from penstock.probes.cgroup import Groups, find_groups
from penstock.probes.cpu import CpuProbe, affinity
from penstock.probes.disk import DiskProbe
from penstock.probes.gpu import Gpu, GpuProbe
from penstock.probes.memory import MemoryProbe
from penstock.probes.network import NetworkProbe
from penstock.probes.reading import Reading, attempt

__all__ = ["Machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine as it was when it was looked at.

    Attributes:
        has: how much there is of each resource, as readings: cpu (milli-cores), memory (bytes), disk and
            network (bytes per second), gpu (thousandths, over all devices), gpu_memory (bytes, of the
            largest device).
        gpus: the GPUs that are ours (CUDA_VISIBLE_DEVICES is respected).
        cpus: numbers of the CPUs that we may run on; None where the system cannot say.
        groups: our control groups.
        root: the directory that stands for `/`.
    """

    has: Mapping[str, Reading]
    gpus: tuple[Gpu, ...]
    cpus: frozenset[int] | None
    groups: Groups
    root: Path = Path("/")

    @classmethod
    def detect(cls, root: Path = Path("/")) -> Machine:
        """Look at the machine. Never raises for what cannot be read: that is unknown."""
        groups, cpus = find_groups(root), affinity()
        gpu = GpuProbe(root, os.environ.get("CUDA_VISIBLE_DEVICES"))
        try:
            has = {
                "cpu": attempt(CpuProbe(root, groups, cpus).capacity, "cpu"),
                "memory": attempt(MemoryProbe(root, groups).capacity, "memory"),
                "disk": attempt(DiskProbe(root).capacity, "disk"),
                "network": attempt(NetworkProbe(root).capacity, "network"),
                "gpu": gpu.count(),
                "gpu_memory": gpu.memory(),
            }
            return cls(MappingProxyType(has), gpu.gpus, cpus, groups, root)
        finally:
            gpu.close()

    @property
    def capacity(self) -> Mapping[str, int | None]:
        """How much there is of each resource, None where that is unknown; what `Limits.parse` takes."""
        return {name: reading.value for name, reading in self.has.items()}

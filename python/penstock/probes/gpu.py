"""GPUs, as NVIDIA's management library (NVML) tells of them.

The module `pynvml` comes with the package nvidia-ml-py (the extra `gpu`) and is imported here, when first
asked for. A device that is split (MIG) is reported as its slices, each with a memory of its own; NVML gives
no utilisation for them, so theirs is unknown. Utilisation is the share of time in which some kernel ran, so
it is a hint at best; memory is what admission can rely on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from penstock.probes.nvml import Nvml, load_nvml
from penstock.probes.reading import Reading

__all__ = ["Gpu", "GpuProbe", "GpuUse", "visible"]

T = TypeVar("T")
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
_DRIVER = ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/dxg")
"""Any of these is there when a driver is; the last one under Windows' Linux."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one slice of one.

    Attributes:
        index: its number in NVML's order (that of the PCI bus); a slice has its device's.
        uuid: what CUDA_VISIBLE_DEVICES takes, 'GPU-...' or 'MIG-...'.
        name: the model.
        memory: bytes in all.
        is_slice: whether it is a MIG slice.
    """

    index: int
    uuid: str
    name: str
    memory: Reading
    is_slice: bool = False


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What is in use on one GPU.

    Attributes:
        uuid: which.
        busy: thousandths of the time in which some kernel ran.
        memory: bytes in use by anyone.
        own_memory: bytes in use by our own processes.
        processes: (process number, bytes or None) of each process that computes on it, whosoever; None where NVML does
            not list them. The numbers are the host's: in a container they are not those that we know.
    """

    uuid: str
    busy: Reading
    memory: Reading
    own_memory: Reading
    processes: tuple[tuple[int, int | None], ...] | None = None


class GpuProbe:
    """Measures the GPUs. Not thread-safe: one sampler calls it.

    Args:
        root: the directory that stands for `/`.
        visible_devices: as CUDA_VISIBLE_DEVICES: None for all devices, else only those named are ours.
    """

    source = "NVML"

    def __init__(self, root: Path = Path("/"), visible_devices: str | None = None) -> None:
        self._why = ""
        self._none = False
        self._handles: list[tuple[Gpu, Any]] = []
        self._host_pids = _sees_host_pids(root)
        self._nvml = self._open(root)
        if self._nvml is not None and visible_devices is not None:
            chosen = {gpu.uuid for gpu in visible([gpu for gpu, _ in self._handles], visible_devices)}
            self._handles = [(gpu, handle) for gpu, handle in self._handles if gpu.uuid in chosen]

    def _open(self, root: Path) -> Nvml | None:
        """Start NVML and list the devices; return None, and note why, where that cannot be."""
        if (root / "proc").exists() and not any((root / path).exists() for path in _DRIVER):
            self._none = True  # without a driver no GPU can be used; NVML need not be asked
            return None
        try:
            nvml = load_nvml()
        except ImportError:
            self._why = "the package nvidia-ml-py is not installed: pip install 'penstock[gpu]'"
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self._why = f"NVML does not start: {error}"
            return None
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                self._add(nvml, index, nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError as error:
            self._handles.clear()
            _ask(nvml, nvml.nvmlShutdown, None)
            self._why = f"NVML does not list the devices: {error}"
            return None
        return nvml

    def _add(self, nvml: Nvml, index: int, device: Any) -> None:
        slices: list[Any] = []
        if _ask(nvml, lambda: nvml.nvmlDeviceGetMigMode(device)[0], 0):
            for number in range(_ask(nvml, partial(nvml.nvmlDeviceGetMaxMigDeviceCount, device), 0)):
                handle = _ask(nvml, partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, number), None)
                if handle is not None:
                    slices.append(handle)
        for handle in slices or [device]:
            gpu = Gpu(
                index=index,
                uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
                name=_text(_ask(nvml, partial(nvml.nvmlDeviceGetName, handle), "unnamed")),
                memory=_reading(nvml, partial(_total, nvml, handle)),
                is_slice=bool(slices),
            )
            self._handles.append((gpu, handle))

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that are ours."""
        return tuple(gpu for gpu, _ in self._handles)

    def count(self) -> Reading:
        """Return how many GPUs are ours, in thousandths; 0 where there is no driver, unknown without NVML."""
        if self._nvml is not None:
            return Reading.of(len(self._handles) * 1000, self.source)
        if self._none:
            return Reading.of(0, "no NVIDIA driver is loaded")
        return Reading.unknown(self._why, self.source)

    def memory(self) -> Reading:
        """Return the memory of the largest GPU in bytes; 0 where there is none."""
        count = self.count()
        if not count.value:
            return count
        sizes = [gpu.memory.value for gpu in self.gpus if gpu.memory.value is not None]
        return Reading.of(max(sizes), self.source) if sizes else self.gpus[0].memory

    def read(self, own_pids: Iterable[int] = ()) -> tuple[GpuUse, ...]:
        """Return what is in use on each GPU.

        Args:
            own_pids: the processes of our tree.
        """
        nvml, own = self._nvml, frozenset(own_pids)
        if nvml is None:
            return ()
        uses = []
        for gpu, handle in self._handles:
            listed = _ask(nvml, partial(nvml.nvmlDeviceGetComputeRunningProcesses, handle), None)
            processes = None if listed is None else tuple((one.pid, one.usedGpuMemory) for one in listed)
            uses.append(
                GpuUse(
                    uuid=gpu.uuid,
                    busy=self._busy(nvml, gpu, handle),
                    memory=_reading(nvml, partial(_used, nvml, handle)),
                    own_memory=self._own(processes, own),
                    processes=processes,
                )
            )
        return tuple(uses)

    @property
    def tells_processes_apart(self) -> bool:
        """Whether the numbers of `GpuUse.processes` are those of our own processes."""
        return self._host_pids

    def close(self) -> None:
        """Let go of NVML; every later reading is unknown. Harmless when repeated."""
        nvml, self._nvml = self._nvml, None
        self._handles = []
        self._why = "the probe is closed"
        if nvml is not None:
            _ask(nvml, nvml.nvmlShutdown, None)

    def _busy(self, nvml: Nvml, gpu: Gpu, handle: Any) -> Reading:
        if gpu.is_slice:
            return Reading.unknown("NVML gives no utilisation for a slice (MIG)", self.source)
        return _reading(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu * 10)

    def _own(self, processes: tuple[tuple[int, int | None], ...] | None, own: frozenset[int]) -> Reading:
        if not self._host_pids:
            return Reading.unknown("NVML numbers processes as the host does, and we are in a container", self.source)
        if processes is None:
            return Reading.unknown("NVML does not list the processes", self.source)
        total = 0
        for pid, memory in processes:
            if pid in own:
                if memory is None:
                    return Reading.unknown("NVML does not give the memory of a process", self.source)
                total += memory
        return Reading.of(total, self.source)


def visible(gpus: Sequence[Gpu], text: str) -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, in the order that it gives.

    Args:
        gpus: all of them, in NVML's order.
        text: numbers or UUIDs (or unambiguous beginnings of them), separated by commas. As in CUDA, the
            first one that names no device ends the list.
    """
    chosen: list[Gpu] = []
    for word in (part.strip() for part in text.split(",")):
        if word.isdigit():
            found = [gpu for gpu in gpus if gpu.index == int(word)]
            found = found[:1]  # a split device stands for its first slice
        else:
            found = [gpu for gpu in gpus if word and gpu.uuid.startswith(word)]
        if len(found) != 1:
            break
        chosen += found
    return chosen


def _ask(nvml: Nvml, read: Callable[[], T], default: T) -> T:
    """Return what NVML answers, or the default when it refuses."""
    try:
        return read()
    except nvml.NVMLError:
        return default


def _reading(nvml: Nvml, read: Callable[[], int]) -> Reading:
    try:
        return Reading.of(read(), GpuProbe.source)
    except nvml.NVMLError as error:
        return Reading.unknown(f"NVML says: {error}", GpuProbe.source)


def _total(nvml: Nvml, handle: Any) -> int:
    return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)


def _used(nvml: Nvml, handle: Any) -> int:
    return int(nvml.nvmlDeviceGetMemoryInfo(handle).used)


def _sees_host_pids(root: Path) -> bool:
    """Return whether our process numbers are those of the host, which NVML uses."""
    try:
        return os.readlink(root / "proc/self/ns/pid") == _INITIAL_PID_NAMESPACE
    except OSError:
        return os.name == "nt"


def _text(value: str | bytes) -> str:
    """Return a name as text: older versions of the module give bytes."""
    return value.decode() if isinstance(value, bytes) else value

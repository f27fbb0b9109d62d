"""Recorded machines: trees of files in the kernel's own formats, and a recorded NVML."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Record = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Write files below a root that stands for `/` and return the root; may be called again to change files."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


class NvmlError(Exception):
    """Stands at the place of pynvml.NVMLError."""


@dataclass
class RecordedGpu:
    """One device as NVML tells of it; None stands for 'Not Supported' or 'Insufficient Permissions'."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    total: int | None = 85_520_809_984
    used: int | None = 655_360_000
    gpu: int | None = 0
    processes: list[tuple[int, int | None]] | None = field(default_factory=list)
    mig: int | None = 0
    slices: list[RecordedGpu | None] = field(default_factory=list)


class RecordedNvml:
    """A recorded `pynvml`: the answers of nvidia-ml-py, by device."""

    NVMLError = NvmlError

    def __init__(self, *gpus: RecordedGpu, init: str = "", count: str = "") -> None:
        self.gpus = list(gpus)
        self.init, self.count = init, count
        self.open = 0

    @staticmethod
    def _given(value: Any) -> Any:
        if value is None:
            raise NvmlError("Not Supported")
        return value

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init:
            raise NvmlError(self.init)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.count:
            raise NvmlError(self.count)
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> RecordedGpu:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, handle: RecordedGpu) -> str:  # noqa: N802
        return handle.uuid

    def nvmlDeviceGetName(self, handle: RecordedGpu) -> str:  # noqa: N802
        return handle.name

    def nvmlDeviceGetMemoryInfo(self, handle: RecordedGpu) -> Any:  # noqa: N802
        return SimpleNamespace(total=self._given(handle.total), used=self._given(handle.used))

    def nvmlDeviceGetUtilizationRates(self, handle: RecordedGpu) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self._given(handle.gpu), memory=0)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: RecordedGpu) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self._given(handle.processes)]

    def nvmlDeviceGetMigMode(self, handle: RecordedGpu) -> list[int]:  # noqa: N802
        return [self._given(handle.mig)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: RecordedGpu) -> int:  # noqa: N802
        return len(handle.slices)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: RecordedGpu, index: int) -> RecordedGpu:  # noqa: N802
        found: RecordedGpu = self._given(handle.slices[index])
        return found


@dataclass
class GpuMachine:
    """A recorded machine with a driver; `nvml(...)` puts a recorded NVML where `import pynvml` finds it."""

    root: Path
    gpu: type[RecordedGpu]
    _put: Callable[[Any], None]

    def nvml(self, *gpus: RecordedGpu, **answers: str) -> RecordedNvml:
        module = RecordedNvml(*gpus, **answers)
        self._put(module)
        return module

    def without_nvml(self) -> None:
        """Make `import pynvml` fail, as where the package is not installed."""
        self._put(None)


@pytest.fixture
def gpu_machine(record: Record, monkeypatch: pytest.MonkeyPatch) -> GpuMachine:
    """A machine with an NVIDIA driver, on which our process numbers are the host's."""
    root = record({"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n"})
    namespaces = root / "proc/self/ns"
    namespaces.mkdir(parents=True)
    (namespaces / "pid").symlink_to("pid:[4026531836]")
    return GpuMachine(root, RecordedGpu, lambda module: monkeypatch.setitem(sys.modules, "pynvml", module))

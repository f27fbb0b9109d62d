"""The part of the module `pynvml` (package nvidia-ml-py) that penstock calls, with types."""
# ruff: noqa: N802, N815  the names are NVIDIA's

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

__all__ = ["Nvml", "load_nvml"]


class _Memory(Protocol):
    total: int
    used: int


class _Utilization(Protocol):
    gpu: int


class _Process(Protocol):
    pid: int
    usedGpuMemory: int | None


class Nvml(Protocol):
    """The functions of the module `pynvml` that penstock calls; handles are opaque."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...
    def nvmlDeviceGetUUID(self, handle: Any) -> str: ...
    def nvmlDeviceGetName(self, handle: Any) -> str: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> _Memory: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> _Utilization: ...
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Sequence[_Process]: ...
    def nvmlDeviceGetMigMode(self, handle: Any) -> Sequence[int]: ...
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int: ...
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any: ...


def load_nvml() -> Nvml:
    """Return the module; raises ImportError when it is not installed."""
    return cast(Nvml, importlib.import_module("pynvml"))

"""What the figures were taken on: machine, kernel, interpreter, compilers, packages. No name and no path of the machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measures import Absent
from benchmarks.programs import compiler_version

__all__ = ["PACKAGES", "environment"]

PACKAGES = ("penstock", "numpy", "rustworkx", "networkx", "joblib", "dask", "distributed", "ray", "tbb-devel")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def environment() -> dict[str, Any]:
    """Return everything that a reader needs to judge the figures, as plain data."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "virtual": "hypervisor" in _cpuinfo("flags"),
        "governor": GOVERNOR.read_text().strip() if GOVERNOR.exists() else "not shown",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "gil": bool(gil()),
        "switch_interval_s": sys.getswitchinterval(),
        "compiler": _compiler(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _cpu() -> str:
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _compiler() -> str:
    try:
        return compiler_version()
    except Absent:
        return "none"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""What `penstock doctor` finds out: plain data, ready for JSON.

Every reading is a dict {value, text, source, why, age_s}: `value` in whole units (milli-cores, bytes, bytes per
second, thousandths, microseconds) or None when unknown, `why` the reason then.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
import time
from importlib import import_module, metadata

from penstock._version import __version__
from penstock.caps import find_place
from penstock.cli import checkup_devices as devices
from penstock.cli.facts import Facts, amount_of, share_of
from penstock.probes.machine import Machine
from penstock.probes.plugins import Plugin, load_plugins
from penstock.probes.sample import Collector, Sample
from penstock.resources import format_amount

__all__ = ["WINDOW_S", "checkup"]

WINDOW_S = 0.5
"""How long rates are measured, in seconds; the runtime's own period."""

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([A-Za-z0-9._-]+)['"]""")


def checkup(machine: Machine | None = None) -> Facts:
    """Look at everything once; takes WINDOW_S and a little. What cannot be found out is said, not raised.

    Args:
        machine: the machine to look at; None for this one.
    """
    machine = machine or Machine.detect()
    found = load_plugins()
    sample, named = _sample(machine, found)
    return {
        "versions": _versions(),
        "signals": _signals(machine, sample),
        "cpus": devices.cpus(machine),
        "disks": devices.disks(sample),
        "links": devices.links(sample),
        "gpus": devices.gpus(machine, sample, named=named),
        "plugins": devices.plugins(found, sample),
        "pressure": {kind: share_of(reading) for kind, reading in sample.pressure.items()},
        "cgroup": _cgroup(machine),
        "executors": _executors(),
        "extras": _extras(),
    }


def _sample(machine: Machine, found: list[Plugin]) -> tuple[Sample, bool]:
    """Return a sample, and whether NVML's numbers of processes are those that we know."""
    collector = Collector(machine, lambda: [plugin.probe for plugin in found if plugin.probe is not None])
    try:
        collector.collect()
        time.sleep(WINDOW_S)  # rates need a window
        return collector.collect(), collector.names_gpu_processes
    finally:
        collector.close()


def _signals(machine: Machine, sample: Sample) -> Facts:
    return {
        name: {
            "capacity": amount_of(name, has),
            "in_use": amount_of(name, sample.uses[name].total),
            "ours": amount_of(name, sample.uses[name].own),
        }
        for name, has in machine.has.items()
    }


def _cgroup(machine: Machine) -> Facts:
    groups = machine.groups
    own = {"cpu": groups.cpu[:1], "memory": groups.memory[:1], "pressure": groups.unified[:1]}
    quota, limit = groups.cpu_quota(), groups.memory_limit()
    throttled = groups.cpu[0].throttled() if groups.cpu else None
    place, why = find_place(groups)
    return {
        "groups": {
            signal: {"version": group.version, "path": group.path, "directory": str(group.directory)}
            for signal, found in own.items()
            for group in found
        },
        "cpu_quota": {"value": quota, "text": "none" if quota is None else format_amount("cpu", quota)},
        "memory_limit": {"value": limit, "text": "none" if limit is None else format_amount("memory", limit)},
        "throttled_periods": throttled,
        "memory_caps": {
            "by_group": place is not None,
            "text": "a group for each attempt" if place else "each process by itself, all together by the guard",
            "directory": None if place is None else str(place.parent),
            "no_group": why,
        },
    }


def _versions() -> Facts:
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "penstock": __version__,
        "core": _core_version(),
        "python": f"{platform.python_version()} ({platform.python_implementation()}, GIL {'on' if gil else 'off'})",
        "platform": platform.platform(),
        "packages": {name: _installed(name) for name, extra in _requirements() if not extra},
    }


def _core_version() -> str:
    try:
        version: str = import_module("penstock._core").__version__
    except ImportError as error:
        return f"cannot be imported: {error}"
    return version


def _executors() -> list[Facts]:
    shell = shutil.which("sh")
    return [
        _executor("threads", "penstock._core", "in this process; cannot be killed"),
        _executor("processes", "penstock.executors.processes", "each attempt in a worker process"),
        _executor(
            "commands",
            "penstock.executors.commands",
            f"each attempt a program; shell {shell}" if shell else "each attempt a program; no shell is on PATH",
        ),
    ]


def _executor(name: str, module: str, note: str) -> Facts:
    try:
        import_module(module)
    except ImportError as error:
        return {"name": name, "available": False, "note": f"cannot be imported: {error}"}
    return {"name": name, "available": True, "note": note}


def _extras() -> list[Facts]:
    """Return the optional parts with the packages of each that are not installed."""
    needs: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra and name != "penstock":
            needs.setdefault(extra, []).append(name)
    found = []
    for extra, names in needs.items():
        missing = [name for name in names if _installed(name) is None]
        found.append({"name": extra, "available": not missing, "missing": missing})
    return found


def _requirements() -> list[tuple[str, str]]:
    """Return (package, extra it belongs to or '') as the installed package's metadata has them.

    Empty when penstock runs from a source tree, where there is no metadata.
    """
    try:
        lines = metadata.requires("penstock") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        name, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
        if name is not None:
            found.append((name[0], extra[1] if extra else ""))
    return found


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

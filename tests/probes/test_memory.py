"""Memory in use, on recorded files and on the machine that runs the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from penstock.probes.cgroup import find_groups
from penstock.probes.memory import MemoryProbe

Record = Callable[[Mapping[str, str]], Path]

GIB = 1024**3
MEMINFO = "MemTotal:       {total} kB\nMemFree:         1048576 kB\nMemAvailable:   {available} kB\nBuffers:  4784 kB\n"


def meminfo(total: int, available: int) -> dict[str, str]:
    return {"proc/meminfo": MEMINFO.format(total=total // 1024, available=available // 1024)}


def group(limit: int, current: int, cache: int) -> dict[str, str]:
    return {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/memory.max": f"{limit}\n",
        "sys/fs/cgroup/memory.current": f"{current}\n",
        "sys/fs/cgroup/memory.stat": f"inactive_file {cache // 2}\nactive_file {cache // 2}\n",
    }


def test_what_is_not_available_is_used(record: Record) -> None:
    probe = MemoryProbe(record(meminfo(16 * GIB, 10 * GIB)))
    assert probe.capacity().value == 16 * GIB
    assert probe.read(0).value == 6 * GIB


def test_a_group_limit_is_the_capacity_and_its_cache_is_not_used(record: Record) -> None:
    root = record(meminfo(64 * GIB, 50 * GIB) | group(4 * GIB, current=4 * GIB, cache=3 * GIB))
    probe = MemoryProbe(root, find_groups(root))
    assert probe.capacity().value == 4 * GIB
    reading = probe.read(0)
    assert reading.value == 1 * GIB
    assert reading.source == "cgroup v2 /"


def test_a_host_with_less_left_than_the_group_binds(record: Record) -> None:
    root = record(meminfo(64 * GIB, 1 * GIB) | group(4 * GIB, current=1 * GIB, cache=0))
    reading = MemoryProbe(root, find_groups(root)).read(0)
    assert reading.value == 3 * GIB  # of our 4, the host leaves 1
    assert reading.source == "/proc/meminfo"


def test_a_limit_above_the_machine_is_no_bound(record: Record) -> None:
    root = record(meminfo(8 * GIB, 2 * GIB) | group(64 * GIB, current=GIB, cache=0))
    probe = MemoryProbe(root, find_groups(root))
    assert probe.capacity().value == 8 * GIB
    assert probe.read(0).value == 6 * GIB


def test_a_kernel_that_does_not_say_what_is_available_leaves_it_unknown(record: Record) -> None:
    probe = MemoryProbe(record({"proc/meminfo": "MemTotal: 1024 kB\nMemFree: 512 kB\n"}))
    assert probe.capacity().value == 1024 * 1024
    assert probe.read(0).value is None
    assert probe.read(0).why


def test_a_total_that_is_not_given_is_unknown(record: Record) -> None:
    probe = MemoryProbe(record({"proc/meminfo": "HugePages_Total: 0\n"}))
    assert probe.capacity().value is None
    assert probe.read(0).value is None


def test_this_machine_agrees_with_psutil_with_and_without_proc(tmp_path: Path) -> None:
    total = psutil.virtual_memory().total
    without_proc = MemoryProbe(tmp_path)
    assert without_proc.capacity().value == total
    for probe in (MemoryProbe(), without_proc):
        used = probe.read(0).value
        assert used is not None
        assert 0 < used < total

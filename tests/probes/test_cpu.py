"""CPU in use, on recorded counters and under a real load."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from penstock.probes.cgroup import find_groups
from penstock.probes.cpu import CpuProbe, affinity

Record = Callable[[Mapping[str, str]], Path]

S = 1_000_000_000
TICKS = os.sysconf("SC_CLK_TCK")


def stat(*busy_s: float, idle_s: float = 1000.0) -> str:
    """/proc/stat of a machine whose CPUs were busy for so many seconds each, half in user and half in system."""
    rows = [(round(busy * TICKS / 2), 0, round(busy * TICKS / 2), int(idle_s * TICKS), 5 * TICKS) for busy in busy_s]
    lines = [tuple(map(sum, zip(*rows, strict=True))), *rows]
    names = ["cpu ", *(f"cpu{n}" for n in range(len(busy_s)))]
    cpus = [f"{name} {' '.join(map(str, line))} 0 0 0 0 0" for name, line in zip(names, lines, strict=True)]
    return "\n".join([*cpus, "intr 12345 0 0", "ctxt 99", "btime 1700000000", ""])


def quota_tree(cores: float, used_s: float) -> dict[str, str]:
    return {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/cpu.max": f"{int(cores * 100_000)} 100000\n",
        "sys/fs/cgroup/cpu.stat": f"usage_usec {int(used_s * 1e6)}\n",
    }


def test_the_first_reading_is_unknown_and_not_zero(record: Record) -> None:
    root = record({"proc/stat": stat(10, 10)})
    reading = CpuProbe(root, cpus=frozenset({0, 1})).read(S)
    assert reading.value is None
    assert reading.why == "a rate needs a second sample"


def test_busy_time_of_our_cpus_over_our_own_window_is_what_is_used(record: Record) -> None:
    root = record({"proc/stat": stat(10, 20, 30, 40)})
    probe = CpuProbe(root, cpus=frozenset({0, 2}))
    assert probe.capacity().value == 2000
    probe.read(S)
    record({"proc/stat": stat(10.5, 22, 31, 42)})  # the others' two seconds each are not ours
    assert probe.read(3 * S).value == 750
    assert probe.read(3 * S).value is None  # no time has passed: unknown


def test_without_an_affinity_the_sum_line_counts(record: Record) -> None:
    root = record({"proc/stat": stat(10, 20)})
    probe = CpuProbe(root)
    probe.read(S)
    record({"proc/stat": stat(10.2, 20.2)})
    assert probe.read(2 * S).value == 400


def test_stolen_time_is_used_and_waiting_for_disks_is_not(record: Record) -> None:
    fields = "cpu0 {user} 0 0 5000 {iowait} 0 0 {steal} {guest} 0\n"
    root = record({"proc/stat": fields.format(user=0, iowait=0, steal=0, guest=0)})
    probe = CpuProbe(root, cpus=frozenset({0}))
    probe.read(0)
    record({"proc/stat": fields.format(user=TICKS // 10, iowait=TICKS // 2, steal=TICKS // 5, guest=TICKS // 10)})
    assert probe.read(S).value == 300


def test_a_quota_is_the_capacity_and_its_group_counts_what_is_used(record: Record) -> None:
    root = record({**quota_tree(1.5, used_s=100), "proc/stat": stat(*[50] * 8)})
    probe = CpuProbe(root, find_groups(root), frozenset(range(8)))
    assert probe.capacity().value == 1500
    assert probe.capacity().source == "cgroup quota"
    probe.read(S)
    record({**quota_tree(1.5, used_s=101.2), "proc/stat": stat(*[50.2] * 8)})
    reading = probe.read(2 * S)
    assert reading.value == 1200  # 1500 - the 300 that the quota leaves; the host has plenty
    assert reading.source == "cgroup v2 /"


def test_a_busy_host_leaves_less_than_the_quota_does(record: Record) -> None:
    root = record({**quota_tree(1.5, used_s=100), "proc/stat": stat(50, 50)})
    probe = CpuProbe(root, find_groups(root), frozenset({0, 1}))
    probe.read(S)
    record({**quota_tree(1.5, used_s=100), "proc/stat": stat(51, 50.9)})
    reading = probe.read(2 * S)
    assert reading.value == 1400  # the host leaves 100 of our 1500
    assert reading.source == "/proc/stat"


def test_a_quota_wider_than_our_cpus_is_no_bound(record: Record) -> None:
    root = record({**quota_tree(16, used_s=0), "proc/stat": stat(1, 1)})
    assert CpuProbe(root, find_groups(root), frozenset({0, 1})).capacity().value == 2000


def test_where_there_is_no_proc_psutil_counts(tmp_path: Path) -> None:
    probe = CpuProbe(tmp_path)
    assert probe.capacity().value == (os.cpu_count() or 0) * 1000
    probe.read(time.monotonic_ns())
    spin_until = time.process_time() + 0.2
    while time.process_time() < spin_until:
        pass
    reading = probe.read(time.monotonic_ns())
    assert reading.source == "psutil"
    assert reading.value is not None
    assert reading.value > 100


def test_a_real_load_shows_on_this_machine() -> None:
    probe = CpuProbe(cpus=affinity())
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            probe.read(time.monotonic_ns())
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=1.0)  # the window: the child spins through it
            reading = probe.read(time.monotonic_ns())
        finally:
            child.kill()
    capacity = probe.capacity().value
    assert reading.value is not None
    assert capacity is not None
    assert 700 <= reading.value <= capacity


def test_affinity_is_what_the_system_lets_us_run_on() -> None:
    cpus = affinity()
    if cpus is None:
        pytest.skip("this system has no CPU affinity")
    assert cpus == os.sched_getaffinity(0)

"""What the machine has for us."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from penstock.probes.cpu import affinity
from penstock.probes.machine import Machine
from penstock.resources import RESOURCES, Limits

if TYPE_CHECKING:
    from conftest import GpuMachine

Record = Callable[[Mapping[str, str]], Path]

GIB = 1024**3


def test_this_machine_has_its_cpus_and_its_memory() -> None:
    machine = Machine.detect()
    assert tuple(machine.has) == RESOURCES
    cpu, memory = machine.capacity["cpu"], machine.capacity["memory"]
    assert cpu is not None
    assert memory is not None
    assert 0 < cpu <= len(affinity() or range(psutil.cpu_count() or 1)) * 1000
    assert 0 < memory <= psutil.virtual_memory().total
    assert all(reading.known or reading.why for reading in machine.has.values())


def test_a_containers_quota_and_limit_are_the_machine(record: Record) -> None:
    root = record(
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "proc/stat": "cpu  1 0 1 1 0 0 0 0 0 0\n",
            "proc/meminfo": "MemTotal: 67108864 kB\nMemAvailable: 60000000 kB\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
        }
    )
    machine = Machine.detect(root)
    assert machine.capacity["cpu"] == 500
    assert machine.capacity["memory"] == 4 * GIB
    assert machine.capacity["gpu"] == 0
    assert Limits.parse({"cpu": 0.8, "memory": 0.5}, machine.capacity).amounts["cpu"] == 400


def test_gpus_are_part_of_it_and_nvml_is_let_go_of(gpu_machine: GpuMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    gpu = gpu_machine.gpu
    module = gpu_machine.nvml(gpu("GPU-a", total=80 * GIB), gpu("GPU-b", total=24 * GIB))
    machine = Machine.detect(gpu_machine.root)
    assert [g.uuid for g in machine.gpus] == ["GPU-b"]
    assert machine.capacity["gpu"] == 1000
    assert machine.capacity["gpu_memory"] == 24 * GIB
    assert module.open == 0


def test_a_machine_that_cannot_be_read_is_unknown_and_does_not_raise(record: Record) -> None:
    machine = Machine.detect(record({"proc/meminfo": "MemTotal: garbage kB\n", "sys/class/net": "a file\n"}))
    assert machine.capacity["memory"] is None
    assert "ValueError" in machine.has["memory"].why
    assert machine.capacity["network"] is None

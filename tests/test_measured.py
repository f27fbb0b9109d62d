"""What is measured of the attempts in processes and commands, in real runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import Pipeline, Runtime, command, task
from penstock.errors import OptionError
from penstock.observe.events import EventKind

pytestmark = pytest.mark.timeout(60)

MIB = 1024**2


@task(executor="processes")
def hold(mib: int) -> int:
    block = np.ones(mib * MIB, dtype=np.uint8)
    return int(block[-1])


def test_a_processs_usage_stands_beside_what_it_declared() -> None:
    with Pipeline("p") as p:
        hold.with_options(memory="500MiB")(200)
    result = p.run(progress=False)
    usage = result.usage["hold"]
    assert usage.peak_memory is not None
    assert 200 * MIB < usage.peak_memory < 400 * MIB
    assert usage.cpu_s is not None
    assert usage.declared.memory == 500 * MIB
    table = str(result.table())
    assert "500" in table


def test_what_a_process_writes_to_a_device_is_counted(tmp_path: Path) -> None:
    @task(executor="processes")
    def write() -> None:
        with open(tmp_path / "block", "wb") as file:
            file.write(os.urandom(8 * MIB))
            os.fsync(file.fileno())

    with Pipeline("p") as p:
        write()
    result = p.run(progress=False)
    moved = result.usage["write"].io_bytes
    if moved == 0:
        pytest.skip("what is written here reaches no device: the folder is in memory")
    assert moved is not None
    assert moved >= 8 * MIB
    events: Any = result.events
    assert [int(event["value"]) for event in events if event["kind"] == EventKind.IO_USED] == [moved]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
def test_tasks_with_affinity_get_cpus_of_their_own() -> None:
    cpus = os.sched_getaffinity(0)

    @task(executor="processes", affinity=True, cpu=1)
    def where() -> set[int]:
        return os.sched_getaffinity(0)

    with Pipeline("p") as p:
        here = where()
        there = command("there", ["nproc"], affinity=True, cpu=1)
    result = p.run(progress=False, limits={"cpu": float(len(cpus))} if len(cpus) > 1 else None)
    assert len(result[here]) == 1
    assert result[here] <= cpus
    assert int(result[there]) == 1
    assert os.sched_getaffinity(0) == cpus


@pytest.mark.parametrize("value", [0.2, 1.5, True, "much"])
def test_an_overcommit_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(
        OptionError, match=r"overcommit=.*: allowed is None, nothing is lent, or a number from 0.5 to 1"
    ):
        Runtime(overcommit=value)

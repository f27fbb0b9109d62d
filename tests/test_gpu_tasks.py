"""Tasks that ask for GPUs, in runs on a recorded NVML: which device each one is given, and when it starts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import GpuMachine, RecordedGpu

from penstock import Pipeline, Runtime, task
from penstock.probes.machine import Machine

GIB = 1 << 30

pytestmark = pytest.mark.timeout(60)

Gpus = Callable[..., None]


@pytest.fixture
def gpus(gpu_machine: GpuMachine, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Give this machine GPUs; of all else it has what needs no file of the system's."""

    def give(*devices: RecordedGpu) -> None:
        gpu_machine.nvml(*devices)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr("penstock.admission._this_machine", lambda: Machine.detect(gpu_machine.root))

    return give


def device(uuid: str, used: int = 0) -> RecordedGpu:
    return RecordedGpu(uuid, total=80 * GIB, used=used, gpu=0, processes=[])


@task(executor="processes", memory="1MB")
def seen() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@task(executor="processes", memory="1MB", cpu=0)
def seen_beside(folder: str, name: str, others: list[str]) -> str | None:
    """Return the device when all the others have begun, too."""
    (Path(folder) / name).touch()
    while not all((Path(folder) / other).exists() for other in others):
        time.sleep(0.005)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_two_tasks_that_fill_a_gpu_each_run_side_by_side_on_two(gpus: Gpus, tmp_path: Path) -> None:
    gpus(device("GPU-a"), device("GPU-b"))
    with Pipeline("two") as p:
        both = [seen_beside.with_options(gpu_memory="60GiB")(str(tmp_path), name, ["x", "y"]) for name in ("x", "y")]
    result = p.run(progress=False, store=False)
    assert {result[one] for one in both} == {"GPU-a", "GPU-b"}


def test_tasks_share_a_gpu_by_fractions_and_by_memory(gpus: Gpus, tmp_path: Path) -> None:
    gpus(device("GPU-a"))
    with Pipeline("shared") as p:
        first = seen_beside.with_options(gpu=0.5, gpu_memory="30GiB")(str(tmp_path), "x", ["y"])
        second = seen_beside.with_options(gpu=0.5, gpu_memory="40GiB")(str(tmp_path), "y", ["x"])
    result = p.run(progress=False, store=False)
    assert (result[first], result[second]) == ("GPU-a", "GPU-a")


def test_what_others_hold_on_a_gpu_is_left_to_them(gpus: Gpus) -> None:
    gpus(device("GPU-a", used=70 * GIB), device("GPU-b"))
    with Pipeline("beside others") as p:
        one = seen.with_options(gpu_memory="20GiB")()
    assert p.run(progress=False, store=False)[one] == "GPU-b"


def test_a_task_that_asks_for_no_gpu_sees_none(gpus: Gpus) -> None:
    gpus(device("GPU-a"))
    with Pipeline("none") as p:
        one = seen()
    assert p.run(progress=False, store=False)[one] == ""


def test_a_task_for_all_gpus_gets_all_of_them(gpus: Gpus) -> None:
    gpus(device("GPU-a"), device("GPU-b"))
    with Pipeline("all") as p:
        one = seen.with_options(gpu=2)()
    assert p.run(progress=False, store=False)[one] == "GPU-a,GPU-b"


def test_a_runtime_that_has_rested_looks_again_before_the_next_task(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.admission.FRESH_S", 0.0)  # as after a long rest
    devices = device("GPU-a"), device("GPU-b")
    gpus(*devices)
    with Runtime() as runtime:
        needs = seen.with_options(gpu_memory="20GiB")
        assert runtime.submit(needs).result(30) == "GPU-a"
        devices[0].used = 70 * GIB  # by others, meanwhile
        assert runtime.submit(needs).result(30) == "GPU-b"

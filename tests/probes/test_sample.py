"""Samples: what the machine does, what we do, and what is left for others' account."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from penstock.probes.machine import Machine
from penstock.probes.reading import Reading
from penstock.probes.sample import Collector, Use
from penstock.resources import RESOURCES

if TYPE_CHECKING:
    from conftest import GpuMachine

GIB = 1024**3
BURNS = "print(flush=True)\nwhile True: pass"
IDLES = "import sys\nprint(flush=True)\nsys.stdin.read()"


def known(value: int) -> Reading:
    return Reading.of(value, "x", 0)


UNKNOWN = Reading.unknown("why", "x", 0)


@pytest.mark.parametrize(
    ("total", "own", "declared", "outside"),
    [
        (known(1500), known(400), 0, 1100),
        (known(1500), known(400), 9999, 1100),  # what is measured stands, not what was declared
        (known(300), known(400), 0, 0),  # two clocks: never below nothing
        (known(1500), UNKNOWN, 600, 900),
        (known(1500), UNKNOWN, 2000, 0),
        (UNKNOWN, known(400), 600, None),
    ],
)
def test_outside_load_is_what_is_used_less_what_is_ours(
    total: Reading, own: Reading, declared: int, outside: int | None
) -> None:
    assert Use(total, own).outside(declared) == outside


def spinning(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[bytes]]:
    process = spinning(BURNS)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def idler() -> Iterator[subprocess.Popen[bytes]]:
    process = spinning(IDLES)
    yield process
    process.communicate()


def test_a_real_load_is_ours_in_our_tree_and_outside_load_in_another(
    burner: subprocess.Popen[bytes], idler: subprocess.Popen[bytes]
) -> None:
    machine = Machine.detect()
    with_it, without_it = Collector(machine, pid=burner.pid), Collector(machine, pid=idler.pid)
    for collector in (with_it, without_it):
        first = collector.collect().uses["cpu"]
        assert first.total.value is None
        assert first.own.value is None
        assert first.outside() is None
    # Other processes share the machine, so the burner may get little of a window: look again.
    deadline = time.monotonic() + 60
    while True:
        with pytest.raises(subprocess.TimeoutExpired):
            burner.wait(timeout=0.5)  # the window: the burner spins through it
        ours, others = with_it.collect().uses["cpu"], without_it.collect().uses["cpu"]
        assert ours.own.value is not None
        assert others.own.value is not None
        assert others.own.value <= 40  # idle, but for a clock tick
        outside_with, outside_without = ours.outside(), others.outside()
        assert outside_with is not None
        assert outside_without is not None
        if ours.own.value >= 100 and outside_without - outside_with >= ours.own.value / 2:
            break
        assert time.monotonic() < deadline, f"{ours} {others}"


def test_memory_of_our_tree_is_told_apart() -> None:
    sample = Collector(Machine.detect()).collect()
    use = sample.uses["memory"]
    assert use.own.value is not None
    assert use.total.value is not None
    assert 10 * 1024**2 < use.own.value < use.total.value


def test_a_sample_has_every_resource_as_a_value_or_unknown_with_a_reason() -> None:
    collector = Collector(Machine.detect())
    for sample in (collector.collect(), collector.collect()):
        assert set(sample.uses) == set(RESOURCES)
        assert set(sample.pressure) == {"cpu", "memory", "io"}
        readings = [reading for use in sample.uses.values() for reading in (use.total, use.own)]
        assert all(reading.known or reading.why for reading in [*readings, *sample.pressure.values()])


class Licences:
    """A probe of the user's own."""

    name = "licence"

    def __init__(self, *values: int | Exception) -> None:
        self._values = list(values)

    def read(self, now_ns: int) -> Reading:
        value = self._values.pop(0)
        if isinstance(value, Exception):
            raise value
        return Reading.of(value, "the licence server", now_ns)


def test_a_plug_in_probe_is_sampled_and_its_failure_is_unknown_and_harms_nothing_else() -> None:
    probe = Licences(3000, ConnectionError("no answer"), 2000)
    collector = Collector(Machine.detect(), plugins=lambda: [probe])
    assert collector.collect().uses["licence"].outside(declared=1000) == 2000
    failed = collector.collect()
    assert failed.uses["licence"].total.value is None
    assert failed.uses["memory"].total.known
    assert collector.collect().uses["licence"].total.value == 2000


def test_gpus_are_sampled_one_by_one_and_as_a_whole(gpu_machine: GpuMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu = gpu_machine.gpu
    module = gpu_machine.nvml(gpu("GPU-a", used=9 * GIB, gpu=30), gpu("GPU-b", used=70 * GIB, gpu=90))
    collector = Collector(Machine.detect(gpu_machine.root))
    sample = collector.collect()
    assert [use.uuid for use in sample.gpus] == ["GPU-a", "GPU-b"]
    assert sample.uses["gpu"].total.value == 1200
    assert sample.uses["gpu_memory"].total.value == 70 * GIB
    assert sample.uses["gpu"].outside(declared=1000) == 200
    module.gpus[0].gpu = None
    assert collector.collect().uses["gpu"].total.value is None  # a sum with an unknown part is unknown
    collector.close()
    assert module.open == 0


def test_a_machine_without_gpus_has_no_gpu_use(gpu_machine: GpuMachine) -> None:
    (gpu_machine.root / "proc/driver/nvidia/version").unlink()
    sample = Collector(Machine.detect(gpu_machine.root)).collect()
    assert sample.gpus == ()
    assert sample.uses["gpu"].total.why == "there is no GPU"


def test_sampling_costs_less_than_half_a_percent_of_a_core_at_two_a_second() -> None:
    collector = Collector(Machine.detect())
    collector.collect()
    rounds = 50
    before = time.thread_time()
    for _ in range(rounds):
        collector.collect()
    assert (time.thread_time() - before) / rounds * 2 < 0.005

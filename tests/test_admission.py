"""Admission where it meets the sampler: when it looks, how often, and when it does not."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from penstock import Runtime, task
from penstock.admission import Admission
from penstock.probes.sample import Sample
from penstock.probes.sampler import Sampler

PATIENCE_S = 60.0
SHORT_S, LONG_S = 0.01, 0.04


@dataclass
class Looks:
    """The sampler's period after each look."""

    periods: queue.Queue[float]

    def until_period(self, wanted: float) -> None:
        """Wait for a look after which the next one is so far away."""
        until = time.monotonic() + PATIENCE_S
        while (period := self.periods.get(timeout=PATIENCE_S)) != wanted:
            assert time.monotonic() < until, f"the period stays {period} s"

    def in_many_periods(self) -> int:
        """Return how many looks there are in a time that has room for many."""
        time.sleep(10 * LONG_S)
        return len([self.periods.get_nowait() for _ in range(self.periods.qsize())])

    def come_to_an_end(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while self.in_many_periods() > 0:
            assert time.monotonic() < until, "it goes on looking"
        assert self.in_many_periods() <= 1  # on a busy machine one that was under way may have been held up until now


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Periods so short that a look that should not be taken would be seen."""
    seen, sampled = Looks(queue.Queue()), Admission._sampled

    def looked(self: Admission, sample: Sample) -> None:
        sampled(self, sample)
        assert self._sampler is not None
        seen.periods.put(self._sampler.period_s)

    monkeypatch.setattr(Admission, "_sampled", looked)
    monkeypatch.setattr("penstock.admission.PERIOD_S", SHORT_S)
    monkeypatch.setattr("penstock.admission.QUIET_PERIOD_S", LONG_S)
    return seen


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_sampling_stops_when_nothing_is_unfinished_and_goes_on_with_the_next_task(looks: Looks) -> None:
    with Runtime(workers=1) as runtime:
        for _ in range(2):
            assert runtime.submit(pow, 2, 2).result(PATIENCE_S) == 4
            looks.come_to_an_end()


def test_a_task_that_waits_for_room_is_looked_out_for_more_often_than_one_that_runs(
    looks: Looks, gate: threading.Event
) -> None:
    hold = task(resources={"licence": 1})(gate.wait)
    with Runtime(workers=2, limits={"licence": 1}) as runtime:
        first = runtime.submit(hold)
        looks.until_period(LONG_S)  # all there is runs
        second = runtime.submit(hold)
        looks.until_period(SHORT_S)
        assert (first.running(), second.running()) == (True, False)
        gate.set()
        assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == (True, True)
        looks.come_to_an_end()


def test_who_never_submits_never_samples(looks: Looks) -> None:
    with Runtime(workers=1):
        assert looks.in_many_periods() == 0


def test_a_task_that_comes_while_sampling_is_brought_to_rest_is_sampled_for(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler is paused in one thread while another submits: whichever comes last, the task is seen to."""
    pause, tried, submitted, done = Sampler.pause, threading.Event(), threading.Event(), threading.Event()
    runtime = Runtime(workers=1)

    def submit() -> None:
        runtime.submit(task(done.wait, cpu=0), PATIENCE_S)
        submitted.set()

    def paused(self: Sampler) -> None:
        if not tried.is_set():
            tried.set()
            threading.Thread(target=submit).start()
            submitted.wait(0.2)  # where nothing keeps it from waking the sampler, it has done so before the pause
        pause(self)

    with runtime:
        monkeypatch.setattr(Sampler, "pause", paused)
        runtime.submit(int).result(PATIENCE_S)
        assert submitted.wait(PATIENCE_S)
        for _ in range(3):
            looks.periods.get(timeout=PATIENCE_S)
        sampler = runtime._engine.admission._sampler
        assert sampler is not None
        assert not sampler._paused
        done.set()


def test_a_closed_admission_is_not_woken() -> None:
    runtime = Runtime(workers=1)
    runtime.close()
    runtime._engine.admission.wake()
    assert runtime._engine.admission._sampler is None
    assert [thread.name for thread in threading.enumerate() if "sampler" in thread.name] == []

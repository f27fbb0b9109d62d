"""The sampling thread: its rhythm, its rests and its end."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator

import pytest

from penstock.probes.machine import Machine
from penstock.probes.sample import Collector, Sample
from penstock.probes.sampler import Sampler

PATIENCE_S = 30.0
SHORT_S = 0.02

Samples = queue.Queue[Sample]


@pytest.fixture
def samples() -> Samples:
    return queue.Queue()


@pytest.fixture
def sampler(samples: Samples) -> Iterator[Sampler]:
    sampler = Sampler(Collector(Machine.detect()), samples.put, period_s=SHORT_S)
    yield sampler
    sampler.stop()


def sampling_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "penstock-sampler"]


def test_samples_come_one_period_after_another(sampler: Sampler, samples: Samples) -> None:
    started_ns = time.monotonic_ns()
    sampler.start()
    taken = [samples.get(timeout=PATIENCE_S) for _ in range(4)]
    # From the start, not from the sample before, which a busy machine may take late without delaying the next.
    assert all(sample.at >= started_ns + k * SHORT_S * 1e9 for k, sample in enumerate(taken))
    assert taken[0].uses["cpu"].total.value is None
    assert taken[-1].uses["memory"].total.known


def test_stop_ends_the_thread_at_once_however_long_the_period_and_may_be_repeated(samples: Samples) -> None:
    slow = Sampler(Collector(Machine.detect()), samples.put, period_s=3600)
    slow.start()
    samples.get(timeout=PATIENCE_S)
    slow.stop()
    slow.stop()
    assert sampling_threads() == []
    assert samples.empty()


def test_a_sampler_that_was_never_started_can_be_stopped(sampler: Sampler, samples: Samples) -> None:
    sampler.stop()
    assert samples.empty()


def test_nothing_is_sampled_while_paused_and_at_once_when_resumed(samples: Samples) -> None:
    def pause_after_each(sample: Sample) -> None:
        paused.pause()
        samples.put(sample)

    paused = Sampler(Collector(Machine.detect()), pause_after_each, period_s=SHORT_S)
    paused.start()
    try:
        for _ in range(2):
            samples.get(timeout=PATIENCE_S)
            with pytest.raises(queue.Empty):
                samples.get(timeout=20 * SHORT_S)
            paused.pause()  # once more, now that a period has long passed
            with pytest.raises(queue.Empty):
                samples.get(timeout=5 * SHORT_S)
            paused.resume()
        samples.get(timeout=PATIENCE_S)
    finally:
        paused.stop()


def test_pausing_and_resuming_in_quick_succession_does_not_sample_more_often(samples: Samples) -> None:
    hurried = Sampler(Collector(Machine.detect()), samples.put, period_s=3600)
    hurried.start()
    try:
        samples.get(timeout=PATIENCE_S)
        for _ in range(100):
            hurried.pause()
            hurried.resume()
        with pytest.raises(queue.Empty):
            samples.get(timeout=10 * SHORT_S)
    finally:
        hurried.stop()


def test_a_receiver_that_fails_is_logged_and_the_next_sample_comes(
    samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([RuntimeError("the receiver's own mistake")])

    def fail_first(sample: Sample) -> None:
        for failure in failures:
            raise failure
        samples.put(sample)

    failing = Sampler(Collector(Machine.detect()), fail_first, period_s=SHORT_S)
    with caplog.at_level(logging.ERROR, logger="penstock.probes"):
        failing.start()
        samples.get(timeout=PATIENCE_S)
        failing.stop()
    assert "the receiver's own mistake" in caplog.text


def test_a_receiver_may_stop_its_own_sampler(samples: Samples) -> None:
    def stop_at_once(sample: Sample) -> None:
        own.stop()
        samples.put(sample)

    own = Sampler(Collector(Machine.detect()), stop_at_once, period_s=SHORT_S)
    own.start()
    samples.get(timeout=PATIENCE_S)
    own._thread.join(PATIENCE_S)
    assert not own._thread.is_alive()
    assert samples.empty()


def test_who_asks_for_errors_gets_the_first_one_and_sampling_ends(samples: Samples) -> None:
    problems: queue.Queue[BaseException] = queue.Queue()

    def fail(sample: Sample) -> None:
        samples.put(sample)
        raise RuntimeError("the receiver's own mistake")

    failing = Sampler(Collector(Machine.detect()), fail, on_error=problems.put, period_s=SHORT_S)
    failing.start()
    assert "own mistake" in str(problems.get(timeout=PATIENCE_S))
    failing._thread.join(PATIENCE_S)
    assert not failing._thread.is_alive()
    assert samples.qsize() == 1
    assert problems.empty()

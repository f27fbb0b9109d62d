"""What looking costs, measured for a moment: that the situations come about, and that both threads are seen."""

from __future__ import annotations

import sys

import pytest
from benchmarks.sampling import SITUATIONS, Situation, measure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the CPU clock of another thread is read on Linux")


def test_a_run_that_waits_beside_processes_has_a_sampler_and_a_guard_that_cost_something() -> None:
    cost = measure(Situation("for the test", 2, waits=True), watched_s=1.5)
    assert 0 < cost.sampler < 1
    assert 0 < cost.guard < 1
    assert cost.samples > 0


def test_each_situation_is_told_apart_and_most_keep_the_sampler_at_its_default_rate() -> None:
    assert len({one.what for one in SITUATIONS}) == len(SITUATIONS)
    assert sum(one.waits for one in SITUATIONS) == len(SITUATIONS) - 1

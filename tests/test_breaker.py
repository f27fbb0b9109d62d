"""The circuit breaker alone: time is an argument."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import Breaker
from penstock.breaker import BreakerChange, BreakerState
from penstock.errors import OptionError

S = 1_000_000_000


def opened_at(now_ns: int, failures: int = 2) -> BreakerState:
    state = BreakerState(Breaker("api", failures=failures, cool_down_s=10))
    changes = [state.failed(task, 1, now_ns) for task in range(failures)]
    assert changes == [BreakerChange.NONE] * (failures - 1) + [BreakerChange.OPENED]
    return state


def test_it_opens_after_failures_in_a_row_and_a_success_between_begins_anew() -> None:
    state = BreakerState(Breaker("api", failures=2))
    assert state.failed(0, 1, 0) is BreakerChange.NONE
    assert state.succeeded(1, 1) is BreakerChange.NONE
    assert state.failed(2, 1, 0) is BreakerChange.NONE
    assert state.admits(3, 1, 0, probe_runs=False)
    assert state.failed(3, 1, 0) is BreakerChange.OPENED
    assert not state.admits(4, 1, 1, probe_runs=False)


def test_after_the_cool_down_one_attempt_is_let_through_and_its_success_closes_it() -> None:
    state = opened_at(0)
    assert not state.admits(5, 1, 10 * S - 1, probe_runs=False)
    assert state.admits(5, 1, 10 * S, probe_runs=False)
    assert not state.admits(6, 1, 11 * S, probe_runs=True)
    assert state.succeeded(6, 1) is BreakerChange.NONE  # it began before the breaker opened
    assert state.succeeded(5, 1) is BreakerChange.CLOSED
    assert state.admits(7, 1, 11 * S, probe_runs=False)
    assert state.failed(7, 1, 11 * S) is BreakerChange.NONE  # counted from nothing again


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    state = opened_at(0)
    assert state.admits(5, 1, 10 * S, probe_runs=False)
    assert state.failed(6, 1, 11 * S) is BreakerChange.NONE  # not the probe
    assert state.failed(5, 1, 12 * S) is BreakerChange.OPENED
    assert not state.admits(8, 1, 22 * S - 1, probe_runs=False)
    assert state.admits(8, 1, 22 * S, probe_runs=False)


def test_a_probe_that_was_cancelled_makes_room_for_another() -> None:
    state = opened_at(0)
    assert state.admits(5, 1, 10 * S, probe_runs=False)
    assert state.admits(6, 1, 10 * S, probe_runs=False)
    assert state.probe == (6, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": " "}, "Breaker(name=' ')"),
        ({"name": 3}, "Breaker(name=3)"),
        ({"failures": 0}, "Breaker(failures=0): allowed is a whole number from 1 up"),
        ({"failures": True}, "Breaker(failures=True)"),
        ({"cool_down_s": 0}, "Breaker(cool_down_s=0): allowed is a number of seconds above 0"),
        ({"cool_down_s": float("nan")}, "Breaker(cool_down_s=nan)"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Breaker(**{"name": "api", **values})
    assert message in str(caught.value)

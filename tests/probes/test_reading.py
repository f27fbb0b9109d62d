"""Readings, and counters turned into rates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.probes.reading import MAX_WINDOW_NS, Rate, Reading, attempt

S = 1_000_000_000


def test_the_first_rate_is_unknown_and_not_zero() -> None:
    reading = Rate().reading(500, 7 * S, "x")
    assert reading == Reading(None, "x", 7 * S, "a rate needs a second sample")


@given(st.integers(0, 2**50), st.integers(0, 2**50), st.integers(1, MAX_WINDOW_NS))
def test_a_rate_is_the_growth_over_the_window_between_the_two_calls(start: int, growth: int, window_ns: int) -> None:
    rate = Rate()
    rate.step(start, S)
    assert rate.step(start + growth, S + window_ns) == growth * S // window_ns


def test_a_counter_that_went_backwards_is_unknown_once_and_then_counts_from_there() -> None:
    rate = Rate()
    rate.step(1000, S)
    assert rate.step(10, 2 * S) is None
    assert rate.step(15, 3 * S) == 5


def test_no_window_and_too_long_a_window_are_unknown() -> None:
    rate = Rate()
    rate.step(0, S)
    assert rate.step(10, S) is None
    assert rate.step(20, S + MAX_WINDOW_NS + 1) is None
    assert rate.step(25, 2 * S + MAX_WINDOW_NS + 1) == 5


def test_a_probe_that_raises_is_an_unknown_reading_that_says_so() -> None:
    def missing() -> Reading:
        raise FileNotFoundError(2, "No such file or directory", "/proc/nothing")

    def broken() -> Reading:
        raise ZeroDivisionError("oh")

    assert attempt(missing, "a").why == "No such file or directory (/proc/nothing)"
    assert attempt(broken, "b").why == "the probe raised ZeroDivisionError: oh"
    assert attempt(lambda: Reading.of(5, "c"), "c").value == 5


def test_a_reading_knows_its_age() -> None:
    assert Reading.of(1, "x", 2 * S).age_s(5 * S) == 3
    assert not Reading.unknown("why", "x").known
    assert Reading.of(0, "x").known

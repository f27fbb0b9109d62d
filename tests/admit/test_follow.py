"""A capacity that follows and does not flap."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.admit.follow import FORGET, Follower

CEILING = 4000
values = st.integers(0, CEILING)


def told(band: int, *samples: int | None, quick: bool = False) -> list[int]:
    follower = Follower(band, quick=quick)
    return [follower.step(sample, CEILING) for sample in samples]


def changes(of: list[int]) -> int:
    return sum(a != b for a, b in pairwise(of))


def test_one_odd_window_moves_nothing_and_the_second_of_a_step_is_followed() -> None:
    assert told(100, 3000, 500, 3000, 3050) == [3000, 3000, 3000, 3000]
    assert told(100, 3000, 500, 520, 510) == [3000, 3000, 520, 520]


def test_memory_falls_at_once_and_rises_with_the_second_sample() -> None:
    assert told(100, 3000, 500, 3000, 3000, quick=True) == [3000, 500, 500, 3000]


def test_the_ceiling_is_reached_however_near_it_was() -> None:
    assert told(100, CEILING - 50, CEILING, CEILING, CEILING - 50) == [CEILING - 50, CEILING - 50, CEILING, CEILING]


def test_the_unknown_is_the_ceiling_at_first_and_when_it_lasts() -> None:
    assert told(100, None, None) == [CEILING, CEILING]
    assert told(100, 1000, *[None] * FORGET) == [1000] * FORGET + [CEILING]


@given(st.integers(0, 500), st.booleans(), st.lists(values | st.none(), max_size=20), values)
def test_a_constant_input_is_reached_within_three_samples_and_then_never_left(
    band: int, quick: bool, before: list[int | None], constant: int
) -> None:
    after = told(band, *before, *[constant] * 12, quick=quick)[len(before) :]
    assert all(abs(value - constant) <= band for value in after[2:])
    assert changes(after[2:]) == 0


@given(st.integers(1, 500), st.booleans(), st.lists(values, max_size=20), st.data())
def test_an_input_that_jitters_within_the_band_is_never_followed_to_and_fro(
    band: int, quick: bool, before: list[int], data: st.DataObject
) -> None:
    low = data.draw(st.integers(0, CEILING - band - 1))
    jitter = data.draw(st.lists(st.integers(low, low + band), min_size=4, max_size=40))
    after = told(band, *before, *jitter, quick=quick)[len(before) :]
    arrived = [k for k, value in enumerate(after) if low <= value <= low + band]
    assert changes(after[arrived[0] :] if arrived else after[2:]) == 0


@given(st.integers(0, 500), st.booleans(), st.lists(values | st.none(), min_size=1, max_size=40))
def test_what_is_told_was_measured_or_is_the_ceiling(band: int, quick: bool, samples: list[int | None]) -> None:
    assert set(told(band, *samples, quick=quick)) <= {*samples, CEILING}

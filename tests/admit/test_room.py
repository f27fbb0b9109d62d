"""What is left of one resource: never negative, never made of what is unknown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.admit.room import capacity, outside_load

amounts = st.integers(0, 10**12)
unknown = st.none() | amounts


def test_free_is_the_limit_less_others_less_the_larger_of_reserved_and_measured() -> None:
    assert capacity(1000, outside=200, own=100, held=300) - 300 == 500  # reserved is more
    assert capacity(1000, outside=200, own=400, held=300) - 300 == 400  # measured is more
    assert capacity(1000, outside=200, own=None, held=300) - 300 == 500
    assert capacity(1000, outside=None, own=400, held=300) - 300 == 600


def test_what_is_lent_is_free_and_what_is_measured_is_never_lent() -> None:
    assert capacity(1000, outside=0, own=50, held=800, claims=-500) - 800 == 700
    assert capacity(1000, outside=0, own=600, held=800, claims=-500) - 800 == 400
    assert capacity(1000, outside=0, own=900, held=800, claims=-500) - 800 == 100


def test_noise_costs_nothing_and_what_is_louder_counts_whole() -> None:
    assert capacity(1000, outside=99, own=0, held=0, noise=100) == 1000
    assert capacity(1000, outside=60, own=50, held=10, noise=100) == 900


@given(amounts, unknown, unknown, amounts, st.integers(-(10**12), 10**12), amounts, amounts)
def test_a_capacity_is_never_negative_and_never_gives_away_what_is_in_use(
    limit: int, outside: int | None, own: int | None, held: int, claims: int, noise: int, least: int
) -> None:
    result = capacity(limit, outside=outside, own=own, held=held, claims=claims, noise=noise, least=least)
    assert result >= 0
    assert result >= least
    if least == noise == 0:
        # What starts on what is free does not bring the use that was measured over the limit.
        free = result - held
        assert free <= max(0, limit - (outside or 0) - (own or 0)) or free <= 0


@given(amounts, amounts, amounts)
def test_what_is_unknown_limits_nothing(limit: int, held: int, claims: int) -> None:
    assert capacity(limit, outside=None, own=None, held=held) == limit
    assert outside_load(None, None, stands_in=held, before=claims, settling=True) is None


@given(amounts, unknown, amounts, unknown, st.booleans())
def test_outside_load_is_a_part_of_what_is_used(
    total: int, own: int | None, stands_in: int, before: int | None, settling: bool
) -> None:
    load = outside_load(total, own, stands_in=stands_in, before=before, settling=settling)
    assert load is not None
    assert 0 <= load <= total


def test_a_reservation_that_is_not_used_yet_does_not_explain_what_others_use() -> None:
    # Others use 8 of a device whose use cannot be told by process; we have just reserved 10 and use nothing of it yet.
    assert outside_load(8, None, stands_in=10, before=8, settling=True) == 8
    assert outside_load(8, None, stands_in=10, before=8, settling=False) == 0
    assert outside_load(18, None, stands_in=10, before=8, settling=True) == 8  # now we do
    assert outside_load(5, None, stands_in=10, before=8, settling=True) == 5  # others can have no more than all


def test_what_this_process_uses_by_itself_keeps_no_task_from_running_alone() -> None:
    assert capacity(1000, outside=100, own=300, held=0) == 900
    assert capacity(1000, outside=100, own=300, held=100) == 700

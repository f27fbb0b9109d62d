"""What a running attempt is counted with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.admit.claims import LEND_AFTER, MARGIN, Claim

amounts = st.integers(0, 10**9)


def claim(reserved: int, *used: int | None, guessed: bool = False) -> Claim:
    made = Claim(reserved, guessed=guessed)
    for amount in used:
        made.add(amount)
    return made


def test_an_attempt_that_outgrows_its_demand_counts_with_what_it_uses() -> None:
    assert claim(100, 40, 150).beyond(None) == 50
    assert claim(100, 40, 150).beyond(0.9) == 50


def test_nothing_is_lent_unless_asked_and_not_before_the_use_has_settled() -> None:
    settled = [40] * LEND_AFTER
    assert claim(100, *settled).beyond(None) == 0
    assert claim(100, *settled[1:]).beyond(0.9) == 0
    assert claim(100, *settled).beyond(0.9) == -50  # 40 and a quarter
    assert claim(100).beyond(0.9) == 0


def test_a_guess_is_given_up_for_what_is_measured() -> None:
    assert claim(100, *[40] * LEND_AFTER, guessed=True).beyond(None) == -50


def test_growing_back_ends_the_loan_with_the_same_sample() -> None:
    lender = claim(100, *[40] * 10)
    assert lender.beyond(0.9) < 0
    lender.add(100)
    assert lender.beyond(0.9) == 0


def test_what_its_function_is_known_to_come_to_is_not_lent() -> None:
    assert claim(100, *[40] * 10).beyond(0.9, expected=80) == -20
    assert claim(100, *[40] * 10).beyond(0.9, expected=500) == 0


def test_a_higher_quantile_keeps_more() -> None:
    uses = [10] * 15 + [60] * 4 + [10]
    assert claim(100, *uses).beyond(0.5) < claim(100, *uses).beyond(0.9) < 0


def test_the_unknown_is_not_zero() -> None:
    assert claim(100, None, *[None] * 10).beyond(0.9) == 0
    assert claim(100, *[40] * 10, None).beyond(0.9) == -50


@given(amounts, st.lists(st.none() | amounts, max_size=40), st.none() | st.floats(0.5, 1.0), st.booleans(), amounts)
def test_an_attempt_is_never_counted_with_less_than_it_uses(
    reserved: int, used: list[int | None], overcommit: float | None, guessed: bool, expected: int
) -> None:
    known = [amount for amount in used if amount is not None]
    counted = reserved + claim(reserved, *used, guessed=guessed).beyond(overcommit, expected)
    assert counted >= (known[-1] if known else reserved)
    assert counted <= max(reserved, known[-1] if known else 0)


@given(amounts, amounts)
def test_a_steady_use_is_lent_steadily(reserved: int, used: int) -> None:
    made = claim(reserved, *[used] * LEND_AFTER)
    first = made.beyond(0.95)
    for _ in range(30):
        made.add(used)
        assert made.beyond(0.95) == first
    assert first == max(used, min(reserved, int(used * MARGIN))) - reserved

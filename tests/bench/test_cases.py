"""Each case runs, small, on all of its sides; whether native is faster is for the benchmarks to say."""

from __future__ import annotations

import pytest

from penstock.bench import CASES, measure


@pytest.mark.parametrize("name", CASES)
def test_case_gives_the_right_outcome_on_every_side(name: str) -> None:
    case = CASES[name](0.005)
    assert case.name == name
    found = measure(case, rounds=1)
    assert next(iter(found.seconds)) == "native"
    assert len(found.seconds) >= 2
    assert all(found.ratio(side) > 0 for side in found.seconds)

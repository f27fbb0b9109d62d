"""Every side of every case does its work, at a small size; one whose rival is not installed is skipped."""

from __future__ import annotations

import pytest
from benchmarks.cases import CASES
from benchmarks.turns import _in_a_process

SCALE = 0.002
LIMIT_S = 300.0
LEFT_OUT = (
    "is not installed",
    "a run at this scale stops at",
    "the C++ programs are left out",
    "is not measured",
    "there is no free-threaded Python",
)

MEASURES = [
    pytest.param(name, number, id=f"{name}: {', '.join(measure.sides)}")
    for name, case in CASES.items()
    for number, measure in enumerate(case.measures)
]


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.parametrize(("name", "number"), MEASURES)
def test_side_gives_figures_of_a_checked_outcome(name: str, number: int) -> None:
    outcome = _in_a_process(name, number, SCALE, LIMIT_S)
    if any(reason in outcome.get("absent", "") for reason in LEFT_OUT):
        pytest.skip(outcome["absent"])
    assert "absent" not in outcome
    assert set(outcome["figures"]) == set(CASES[name].measures[number].sides)
    assert all(figures for figures in outcome["figures"].values())

"""How sides are compared."""

from __future__ import annotations

import pytest

from penstock.bench.measure import Case, Comparison, Side, measure


def recording(log: list[str], name: str) -> Side:
    def prepare() -> str:
        log.append(f"prepare {name}")
        return name

    return Side(prepare, lambda given: log.append(f"run {given}"), lambda given: log.append(f"finish {given}"))


def test_sides_take_turns_and_start_afresh_each_time() -> None:
    log: list[str] = []
    case = Case("x", "title", 10, "tasks", {"native": recording(log, "a"), "baseline": recording(log, "b")})
    found = measure(case, rounds=2)
    turn = ["prepare a", "run a", "finish a", "prepare b", "run b", "finish b"]
    assert log == turn * 2
    assert {side: len(times) for side, times in found.seconds.items()} == {"native": 2, "baseline": 2}
    assert all(seconds >= 0 for times in found.seconds.values() for seconds in times)


def test_ratio_is_of_the_medians_and_a_slow_outlier_does_not_move_it() -> None:
    case = Case("x", "title", 1000, "tasks", {})
    found = Comparison(case, {"native": (0.1, 0.1, 9.0), "baseline": (0.5, 0.6, 0.5)})
    assert found.ratio("baseline") == pytest.approx(5.0)
    assert found.rate("native") == pytest.approx(10_000)
    assert found.as_dict()["ratio"] == {"baseline": pytest.approx(5.0)}
    assert str(found) == "x: native 100.0 us, baseline 500.0 us each of 1,000 tasks; native is 5.0 x baseline"


def test_a_run_with_a_wrong_outcome_is_no_measurement() -> None:
    def finish(_: object) -> None:
        raise AssertionError("last result: 3; it should be 4")

    case = Case("x", "title", 1, "tasks", {"native": Side(lambda: None, lambda _: None, finish)})
    with pytest.raises(AssertionError, match="it should be 4"):
        measure(case)


def test_no_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds=0"):
        measure(Case("x", "title", 1, "tasks", {}), rounds=0)

"""What a measure gives, and how a case takes its measures in turn."""

from __future__ import annotations

import pytest
from benchmarks import measures, turns
from benchmarks.cases import CASES
from benchmarks.measures import Absent, Case, Measure, Work


def test_work_is_done_once_to_warm_up_and_once_for_the_figure_each_time_afresh() -> None:
    log: list[str] = []

    def run(_: object) -> dict[str, int]:
        log.append("run")
        return {"waves": len(log)}

    figures = measures.timed(Work(7, run, lambda: log.append("prepare"), lambda _: log.append("finish")))
    assert log == ["prepare", "run", "finish"] * 2
    assert figures == {"seconds": figures["seconds"], "amount": 7, "waves": 5}
    assert figures["seconds"] >= 0


def test_long_work_is_not_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "LONG_S", -1.0)
    log: list[int] = []
    measures.timed(Work(1, lambda _: log.append(1)))
    assert log == [1]


def test_a_wrong_outcome_is_no_figure() -> None:
    with pytest.raises(AssertionError, match="results: 3; it should be 4"):
        measures.timed(Work(1, lambda _: measures.require("results", 3, 4)))


def test_a_rival_that_is_not_installed_is_absent_with_a_sentence() -> None:
    with pytest.raises(Absent, match=r"no_such_rival is left out: it is not installed .* pip install '\.\[bench\]'"):
        measures.need("no_such_rival.part")


def test_a_case_refuses_two_sides_of_one_name() -> None:
    one = Measure(("x",), lambda _: {})
    with pytest.raises(ValueError, match="case 'c' names a side twice: x, x"):
        Case("c", "title", "task", (one, one))


def test_names_of_cases_are_their_keys_and_penstock_is_first_where_it_is_compared() -> None:
    assert all(name == case.name for name, case in CASES.items())
    assert all(case.sides[0].startswith(measures.PENSTOCK) for case in CASES.values())


def recorded(outcomes: dict[int, list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    order: list[int] = []

    def in_a_process(_: str, number: int, __: float, ___: float) -> dict[str, object]:
        order.append(number)
        return outcomes[number].pop(0)

    monkeypatch.setattr(turns, "_in_a_process", in_a_process)
    return order


def test_sides_take_turns_and_one_that_fails_is_left_out_while_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fine = [{"figures": {"a": {"seconds": k}}} for k in range(3)]
    failing: list[dict[str, object]] = [{"figures": {"b": {"seconds": 1}}}, {"absent": "it had not ended after 1 s"}]
    once: list[dict[str, object]] = [{"figures": {"c": {"cpu_s": 1}, "d": {"cpu_s": 2}}}]
    order = recorded({0: list(fine), 1: failing, 2: once}, monkeypatch)
    case = Case(
        "c", "title", "task",
        (Measure(("a",), lambda _: {}), Measure(("b",), lambda _: {}), Measure(("c", "d"), lambda _: {}, once=True)),
    )  # fmt: skip
    found = turns.take_turns(case, 1.0, 3, lambda _: None)
    assert order == [0, 1, 2, 0, 1, 0]
    assert found["left_out"] == {"b": "it had not ended after 1 s"}
    assert found["rounds"] == {
        "a": [{"seconds": 0}, {"seconds": 1}, {"seconds": 2}],
        "c": [{"cpu_s": 1}],
        "d": [{"cpu_s": 2}],
    }


def test_a_process_that_runs_too_long_is_ended_and_one_that_fails_says_its_last_line() -> None:
    assert turns._in_a_process("idle", 2, 1.0, 1.0) == {"absent": "it had not ended after 1 s"}
    assert turns._in_a_process("no such case", 0, 1.0, 60) == {
        "absent": "its process ended with status 1: KeyError: 'no such case'"
    }

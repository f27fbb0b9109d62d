"""What the report says of stored figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import report, store
from benchmarks.__main__ import RESULTS, main
from benchmarks.cases import CASES
from benchmarks.goals import GOALS, Goal
from benchmarks.plots import PLOTS
from benchmarks.store import Record
from benchmarks.tables import case_section, environment_lines, goals_table, quantity

ENVIRONMENT: dict[str, Any] = {
    "cpu": "A processor", "cores": 2, "memory_gib": 8.0, "virtual": True, "governor": "not shown", "kernel": "Linux 6.1",
    "python": "CPython 3.11", "gil": True, "switch_interval_s": 0.005, "compiler": "GNU 12.2.0",
    "packages": {"numpy": "2.0", "ray": None},
}  # fmt: skip


def record(rounds: dict[str, list[dict[str, Any]]], left_out: dict[str, str] | None = None) -> Record:
    data = {"measured": "2025-01-31", "scale": 1.0, "environment": ENVIRONMENT}
    return Record({**data, "rounds": rounds, "left_out": left_out or {}})


def test_a_side_with_fewer_tasks_is_compared_by_the_task_and_an_outlier_does_not_move_the_median() -> None:
    pool = "ThreadPoolExecutor(2)"
    found = record(
        {
            "penstock": [{"seconds": s, "amount": 1_000_000} for s in (0.2, 0.2, 9.0)],
            pool: [{"seconds": s, "amount": 100_000} for s in (1.0, 1.1, 1.0)],
        },
        {"Ray, local": "ray is left out: it is not installed"},
    )
    assert found.faster("penstock", pool) == pytest.approx(50)
    section = case_section(CASES["independent"], found)
    assert f"| {pool} | 100,000 | 10 us | 100,000 | 1.10 | 50x |" in section
    assert "- Left out: Ray, local; ray is left out: it is not installed." in section
    (goal,) = (goal for goal in GOALS if "as fast as ThreadPoolExecutor(2)" in goal.what)
    assert goal.reached({"independent": found}) == (pytest.approx(50), True)


def test_a_goal_holds_on_its_own_side_of_the_bound_and_what_is_not_measured_is_said_so() -> None:
    assert Goal("w", 2, lambda _: 3.0).reached({}) == (3.0, True)
    assert Goal("w", 2, lambda _: 1.0).reached({}) == (1.0, False)
    assert Goal("w", 2, lambda _: 3.0, at_least=False).reached({}) == (3.0, False)
    assert Goal("w", 2, lambda _: 2.0, at_least=False).reached({}) == (2.0, True)
    assert all(line.endswith("| not measured |  |") for line in goals_table({}).splitlines()[2:])


def test_memory_of_a_node_and_of_an_edge_come_from_two_graphs() -> None:
    def graph(edges: int) -> list[dict[str, Any]]:
        return [{"nodes": 100, "edges": edges, "peak_bytes": 100 * 30 + edges * 6, "resident_bytes": 0}]

    cases = {"memory": record({"penstock, 1 edge a node": graph(100), "penstock, 4 edges a node": graph(400)})}
    found = {goal.what: goal.reached(cases) for goal in GOALS if "peak memory a" in goal.what}
    assert [value for value, _ in found.values()] == [pytest.approx(30), pytest.approx(6)]


def test_a_waiting_run_is_judged_with_the_probes_on_too_and_their_own_wake_ups_are_not_counted_against_it() -> None:
    def watched(cpu_s: float, other: int) -> list[dict[str, Any]]:
        threads = {"penstock-sampler": 40, "x": other}
        return [{"watched_s": 20, "cpu_s": cpu_s, "switches": 40 + other, "switches_by_thread": threads}]

    rounds = {"penstock": watched(0.01, 2), "penstock, a task waiting for memory": watched(0.06, 4)}
    goals = [
        goal.reached({"idle": record(rounds)}) for goal in GOALS if goal.what.startswith(("a waiting", "the same"))
    ]
    assert goals == [
        (pytest.approx(0.05), True),
        (pytest.approx(0.1), True),
        (pytest.approx(0.3), False),
        (pytest.approx(0.2), False),
    ]


def test_of_two_forms_of_a_rival_the_faster_one_is_the_bar() -> None:
    def graph(*rivals: str) -> Record:
        seconds = {"penstock": 1.0, "dask.threaded, defaults": 120.0, "dask.threaded, tuned": 80.0}
        return record({side: [{"seconds": seconds[side], "amount": 1}] for side in ("penstock", *rivals)})

    (goal,) = (goal for goal in GOALS if "dask.threaded, its faster form" in goal.what)
    assert goal.reached({"dag": graph("dask.threaded, defaults", "dask.threaded, tuned")}) == (80, False)
    assert goal.reached({"dag": graph("dask.threaded, defaults")}) == (120, True)
    assert goal.reached({"dag": graph()}) == (None, None)


def test_goals_say_which_figures_are_of_less_than_the_full_size() -> None:
    small = Record({**record({}).data, "scale": 0.02})
    table = goals_table({"dag": small, "heap": record({})})
    assert table.startswith(
        "The bounds are for the full size; these cases were measured at a share of it: dag (0.02).\n\n| goal |"
    )
    assert goals_table({"heap": record({})}).startswith("| goal |")


def test_times_have_three_digits_and_their_unit() -> None:
    assert [quantity(s) for s in (1.5, 0.0123, 4.5e-6, 2.34e-7)] == ["1.5 s", "12.3 ms", "4.5 us", "234 ns"]


def test_the_machine_is_said_once_when_all_cases_share_it_and_by_case_otherwise() -> None:
    one, other = record({}), Record({**record({}).data, "measured": "2025-02-01"})
    assert environment_lines({"dag": one, "heap": one}).startswith(
        "Measured on 2025-01-31: A processor, virtual, 2 cores"
    )
    assert "numpy 2.0." in environment_lines({"dag": one})
    assert environment_lines({"dag": one, "heap": other}).startswith("dag: Measured on 2025-01-31")


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.between_markers(page, "new") == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    with pytest.raises(ValueError, match="each of these lines once"):
        report.between_markers("no markers", "new")


def test_figures_of_another_format_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    file.write_text(json.dumps({"format": 99, "cases": {}}))
    with pytest.raises(ValueError, match="has format 99; this version reads 1"):
        store.load(file)


def test_figures_come_back_as_they_were_stored(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    store.save(file, {"dag": record({"penstock": [{"seconds": 0.1234567891, "amount": 3}]})})
    assert store.load(file)["dag"].each_s("penstock") == pytest.approx(0.123457 / 3)
    assert store.load(tmp_path / "nothing.json") == {}


def test_one_case_measured_at_a_small_scale_is_stored_and_reported_with_the_others_kept(tmp_path: Path) -> None:
    for case in ("heap", "priorities"):
        assert main(["--only", case, "--scale", "0.002", "--rounds", "2", "--out", str(tmp_path)]) == 0
    stored = store.load(tmp_path / "measured.json")
    assert list(stored) == ["priorities", "heap"]
    assert [len(rounds) for rounds in stored["heap"].data["rounds"].values()] == [2] * len(CASES["heap"].sides)
    assert "At 0.002 of the full size." in (tmp_path / "measured.md").read_text()


@pytest.mark.skipif(not (RESULTS / "measured.json").exists(), reason="no figures are stored yet")
def test_the_stored_figures_draw_every_plot_and_the_readme_shows_them(tmp_path: Path) -> None:
    cases = store.load(RESULTS / "measured.json")
    report.redraw(cases, tmp_path, None, lambda _: None)
    assert {file.stem for file in tmp_path.glob("*.svg")} == set(PLOTS)
    shown = report.text(cases, sorted(f"{name}.svg" for name in PLOTS), "results/")
    readme = (RESULTS.parent / "README.md").read_text()
    assert goals_table(cases) in readme
    assert all(line in readme for line in shown.splitlines() if not line.startswith("!["))

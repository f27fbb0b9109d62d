"""The benchmarks under real load: one case from its command to its table, and what the figures are made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.utilisation import disk, hog, memory, shapes
from benchmarks.utilisation.__main__ import main
from benchmarks.utilisation.jobs import Done, Job, Outcome, percentile
from benchmarks.utilisation.report import store
from benchmarks.utilisation.sides import POOL, SIDES, run_jobs
from benchmarks.utilisation.watch import Look, Looks


@pytest.mark.timeout(110)
def test_quick_run_gives_figures_of_every_side_and_writes_them_as_a_table_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the plot; pip install '.[bench]' brings it")
    assert main(["--quick", "--only", "urgent", "--out", str(tmp_path)]) == 0
    sides = json.loads((tmp_path / "measured.json").read_text())["urgent"]["sides"]
    assert list(sides) == list(SIDES)
    assert all(0 < side["figures"]["p50_ms"] <= side["figures"]["p99_ms"] for side in sides.values())
    table = capsys.readouterr().out
    assert all(f"| {side} |" in table for side in SIDES)
    assert table.strip() in (tmp_path / "README.md").read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"measured.json", "README.md", "utilisation.svg"}


def test_utilisation_counts_cpu_up_to_the_start_of_the_last_job_and_no_further() -> None:
    done = {"a": Done(10.0, 14.0, 4.0), "b": Done(10.0, 12.0, 1.0), "last": Done(13.0, 20.0, 7.0)}
    # 3 of a's 4 seconds and all of b's 1, of 2 cores for 3 seconds.
    assert Outcome(10.0, 20.0, done).utilisation(2) == pytest.approx(4 / 6)


def test_what_others_use_is_taken_off_what_there_is_and_looks_are_read_in_between() -> None:
    looks = Looks([Look(0.0, 0.0, 0.0), Look(2.0, 3.0, 2.0), Look(4.0, 7.0, 4.0)])
    assert looks.shares(2) == [0.75, 1.0]
    # From 1 to 3: half of each interval, 1.5 + 2 seconds of everyone and 1 + 1 of ours, of 2 cores for 2 seconds.
    assert looks.used(1.0, 3.0) == (3.5, 2.0)
    assert looks.of_the_rest(2, 1.0, 3.0) == (2.0 / (4.0 - 1.5), 1.5 / 4.0)


def test_percentile_is_the_smallest_value_that_enough_do_not_exceed() -> None:
    values = [float(one) for one in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0


def test_every_side_is_given_the_same_jobs() -> None:
    assert shapes.jobs(12) == shapes.jobs(12)
    assert memory.jobs(8) == memory.jobs(8)
    assert hog.jobs(8) == hog.jobs(8)
    assert disk.jobs(3, Path("x"), 100) == disk.jobs(3, Path("x"), 100)


def test_peaks_of_memory_jobs_spread_over_ten_times_what_they_declare() -> None:
    peaks = [int(job.load[1]) / memory.DECLARED for job in memory.jobs(60)]
    assert 1 < min(peaks) < 1.05
    assert 9.5 < max(peaks) < memory.TIMES


def test_pool_reports_only_the_jobs_that_ended_well_with_the_cpu_that_they_used() -> None:
    good, bad = Job("good", ("burn", "0.2", "1", "2"), cpu=1), Job("bad", ("burn", "no number"), cpu=1)
    outcome = run_jobs(POOL, [good, bad])
    assert set(outcome.done) == {"good"}
    # Of both its processes, which are busy for 0.2 s each by the clock: on a machine that is full, with less of a CPU.
    assert 0.0 < outcome.done["good"].cpu_s < 1.0


def test_tables_replace_only_what_stands_between_the_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n")
    store("new", readme)
    assert readme.read_text() == "before\n<!-- measured: begin -->\n\nnew\n\n<!-- measured: end -->\nafter\n"

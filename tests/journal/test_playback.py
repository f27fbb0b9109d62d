"""Runs of a store, played again in virtual time."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from penstock import Pipeline, command, simulate, task
from penstock.errors import PipelineFileError
from penstock.journal import StoreError
from penstock.journal.errors import Damaged
from penstock.journal.playback import read_source
from penstock.journal.traits import read_trait
from penstock.observe.events import EventKind

pytestmark = pytest.mark.timeout(120)

broken: set[str] = set()
OLD = Path(__file__).parents[1] / "data" / "journal_v1"


@task(cpu=0.1)
def rest(seconds: float, *after: object) -> float:
    time.sleep(seconds)
    return seconds


@task(cpu=0.1)
def breaks(after: object) -> object:
    if "breaks" in broken:
        raise ValueError("not yet")
    return after


def test_a_run_of_a_store_simulated_with_its_own_run_times_takes_as_long(store: Path):
    with Pipeline("real") as p:
        first = [rest(0.24), rest(0.1), rest(0.4)]
        second = [rest(0.2, *first[:2]), rest(0.3, first[2]), rest(0.1)]
        rest(0.2, *second)
    apart = []
    for _ in range(5):  # what others do on the machine between two tasks is in no run time
        # By submission: the ranks of a run follow what it knows of earlier ones.
        result = p.run(workers=2, policy="fifo", store=store)
        again = simulate(f"{store}#{result.run_number}", policy="fifo")
        assert again.ok
        assert again.violations() == []
        times, kinds = result.events["time"], result.events["kind"]
        real_s = (times[kinds == EventKind.SUCCEEDED].max() - times[kinds == EventKind.SUBMITTED][0]) / 1e9
        apart.append(abs(again.makespan_s / real_s - 1))
        if apart[-1] < 0.02:
            break
    assert apart[-1] < 0.02, apart


def test_a_run_of_a_store_is_the_workload_that_its_recording_is(store: Path, tmp_path: Path):
    with Pipeline("mixed") as p:
        held = [
            command("wait", ["sleep", "0.1"], cpu=0.1, memory="1MiB"),
            rest.with_options(priority=3, duration=5, resources={"seat": 2})(0.01),
        ]
        rest(0.0, *held)
    result = p.run(workers=2, store=store, limits={"cpu": 2, "seat": 4})
    result.save_events(tmp_path / "run.npz")
    kept, recorded = read_source(f"{store}#1"), read_source(tmp_path / "run.npz")
    assert (kept.name, kept.workers, list(kept.names)) == (recorded.name, recorded.workers, list(recorded.names))
    assert dict(kept.capacity) == dict(recorded.capacity)
    assert [kept.demands[k] for k in kept.demand_of] == [recorded.demands[k] for k in recorded.demand_of]
    for column in ("indptr", "indices", "duration_ns", "estimates_ns", "priority", "arrival_ns", "failures"):
        assert getattr(kept, column).tolist() == getattr(recorded, column).tolist(), column
    assert kept.changes == recorded.changes


def test_results_that_were_taken_over_take_as_long_as_in_the_process_that_made_them(store: Path):
    broken.add("breaks")
    with Pipeline("resumed") as p:
        breaks(rest(0.2))
    p.run(store=store, workers=1)
    broken.clear()
    p.run(store=store, workers=1, resume=True)
    played = read_source(f"{store}#1")
    assert played.duration_ns[0] >= 0.2e9
    assert played.failures.tolist() == [0, 0]  # in the process that came to the end
    assert simulate(played).violations() == []


def test_a_run_that_has_not_come_to_its_end_is_refused(store: Path):
    with Pipeline("cut") as p:
        rest(0.0)
    p.run(store=store)
    with closing(sqlite3.connect(store / "runs" / "1" / "journal.sqlite")) as file, file:
        file.execute("DELETE FROM packs WHERE seq = (SELECT max(seq) FROM packs)")
    with pytest.raises(StoreError, match="#1: it cannot be simulated: it is unfinished, so nobody knows"):
        read_source(f"{store}#1")


def test_a_run_that_was_recorded_without_what_tasks_ask_for_is_refused(tmp_path: Path):
    shutil.copytree(OLD, tmp_path / "runs" / "1")
    with pytest.raises(StoreError, match="did not record what tasks ask for; run it again"):
        read_source(f"{tmp_path}#1")


def test_a_run_whose_tasks_made_tasks_is_refused(store: Path):
    @task
    def more() -> object:
        return rest(0.0)

    with Pipeline("grows") as p:
        more()
    p.run(store=store)
    with pytest.raises(PipelineFileError, match="task 'more' made tasks while it ran"):
        simulate(f"{store}#1")


def test_a_run_that_is_not_there_is_refused(store: Path, tmp_path: Path):
    with pytest.raises(StoreError, match="has no run 3; it has none"):
        simulate(f"{store}#3")
    (tmp_path / "a#1.sm").write_text("no project")
    with pytest.raises(PipelineFileError):
        read_source(tmp_path / "a#1.sm")  # a file whose name has the sign


@pytest.mark.parametrize(
    "text", ["", "[]", "[1, 2, 3]", '[{}, "a", 0]', '[{"cpu": "x"}, 0, 0]', '[{"cpu": 1e999}, 0, 0]']
)
def test_a_trait_that_was_damaged_is_told(text: str):
    with pytest.raises(Damaged, match="what a task asks for cannot be read"):
        read_trait(text)

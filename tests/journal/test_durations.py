"""What a store says of run times to the next run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline, task
from penstock.journal import durations
from penstock.journal.durations import earlier

pytestmark = pytest.mark.timeout(60)

LABEL = "tests.journal.test_durations.step"
broken: set[int] = set()


@task
def step(n: int) -> int:
    if n in broken:
        raise ValueError(n)
    return n


@pytest.fixture(autouse=True)
def _nothing_is_broken() -> None:
    broken.clear()


def pipeline(count: int, name: str = "steps", **options: Any) -> Pipeline:
    with Pipeline(name) as p:
        for n in range(count):
            step.with_options(**options)(n) if options else step(n)
    return p


def asked(store: Path, *names: str, pipeline: str = "steps") -> list[int]:
    return earlier(store, pipeline, {LABEL}, [(LABEL, name) for name in names])


def test_a_store_without_runs_knows_nothing(store: Path):
    assert asked(store, "step") == [0]


def test_only_runs_of_the_same_pipeline_are_asked(store: Path):
    pipeline(1).run(store=store)
    assert asked(store, "step")[0] > 0
    assert asked(store, "step", pipeline="other") == [0]


def test_the_newest_run_in_which_a_function_ended_well_counts(store: Path):
    pipeline(2).run(store=store)
    before = asked(store, "step", "step-2")
    broken.update({0, 1})
    pipeline(2).run(store=store)
    assert asked(store, "step", "step-2") == before
    broken.discard(0)
    pipeline(2).run(store=store)
    now = asked(store, "step", "step-2")
    assert now[0] == now[1]  # of the second task the newest run says nothing, so its function's mean


def test_results_that_were_taken_over_took_no_time(store: Path):
    broken.add(1)
    pipeline(2).run(store=store)
    broken.clear()
    result = pipeline(2).run(store=store, resume=True)
    assert result.taken_over == ("step",)
    took = asked(store, "step", "step-2")
    assert took[0] == took[1]  # of the second process, which ran one of them


def test_results_from_the_cache_took_no_time(store: Path):
    pipeline(1, cache=True).run(store=store)
    before = asked(store, "step")
    pipeline(1, cache=True).run(store=store)
    assert asked(store, "step") == before


def test_a_run_that_did_not_come_to_its_end_is_passed_over(store: Path):
    pipeline(1).run(store=store)
    before = asked(store, "step")
    pipeline(1).run(store=store)
    with closing(sqlite3.connect(store / "runs" / "2" / "journal.sqlite")) as file, file:
        file.execute("DELETE FROM packs WHERE seq = (SELECT max(seq) FROM packs)")
    assert asked(store, "step") == before


@pytest.mark.parametrize("damage", ["body = x'7b7d'", "body = 'text'", "digest = x'00'", "session = 'one'"])
def test_a_last_pack_that_was_changed_is_not_believed(store: Path, damage: str):
    pipeline(1).run(store=store)
    with closing(sqlite3.connect(store / "runs" / "1" / "journal.sqlite")) as file, file:
        file.execute(f"UPDATE packs SET {damage} WHERE seq = (SELECT max(seq) FROM packs)")
    assert asked(store, "step") == [0]
    pipeline(1).run(store=store)  # and it stops nobody
    assert asked(store, "step")[0] > 0


def test_a_run_of_very_many_tasks_is_not_summed_up(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(durations, "MOST_TASKS", 2)
    pipeline(3).run(store=store)
    assert asked(store, "step") == [0]


def test_of_many_tasks_the_first_are_known_by_name(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(durations, "MOST_NAMES", 1)
    pipeline(3).run(store=store)
    first, second, third = asked(store, "step", "step-2", "step-3")
    assert second == third
    assert first > 0

"""What a real run expects of run times, and what it learns of them while it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock import Pipeline, Run, command, estimates, learning, task
from penstock.learning import Expectations, Learning
from penstock.observe.events import EventKind

pytestmark = pytest.mark.timeout(60)

ran: list[str] = []
may_end = threading.Event()


@pytest.fixture(autouse=True)
def _nothing_ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(learning, "FIRST_S", 0.0)
    monkeypatch.setattr(learning, "PERIOD_S", 0.01)
    ran.clear()
    may_end.clear()
    yield
    may_end.set()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@task
def short(name: str) -> None:
    ran.append(name)


@task
def long(name: str, seconds: float = 0.0) -> None:
    ran.append(name)
    time.sleep(seconds)


@task(priority=-1000)
def gate() -> None:
    may_end.wait(30)


def first_and_then() -> Pipeline:
    """One of each kind, then a gate, then, submitted before the long ones, short ones."""
    with Pipeline("kinds") as p:
        held = gate.with_options(after=[short("short-0"), long("long-0", 0.3)])()
        for k in range(1, 4):
            short.with_options(after=[held])(f"short-{k}")
        for k in range(1, 4):
            long.with_options(after=[held])(f"long-{k}")
    return p


def follower(run: Run) -> Learning:
    found = run._engine.learning
    assert found is not None
    return found


def has_learned(run: Run) -> bool:
    """Whether the core has been told how long the long ones take."""
    learner = follower(run).learner
    return learner is not None and learner._told_ns[6] >= 0.3e9


def at_the_gate(run: Run) -> None:
    until(lambda: len(ran) == 2 and run.state("gate").name == "RUNNING")


def test_what_a_run_shows_orders_what_has_not_run_yet():
    run = first_and_then().start(workers=1, store="off")
    at_the_gate(run)
    until(lambda: has_learned(run))
    may_end.set()
    assert run.wait().ok
    assert ran[2:] == ["long-1", "long-2", "long-3", "short-1", "short-2", "short-3"]
    assert not [t for t in threading.enumerate() if t.name == "penstock-learning"]


def test_a_policy_that_heeds_no_run_times_learns_none_until_it_is_changed_for_one_that_does():
    run = first_and_then().start(workers=1, store="off", policy="fifo")
    at_the_gate(run)
    assert follower(run)._thread is None
    run.set_policy("hybrid")
    until(lambda: has_learned(run))
    may_end.set()
    assert run.wait().ok
    assert ran[2:5] == ["long-1", "long-2", "long-3"]


def test_a_short_run_starts_no_follower(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learning, "FIRST_S", 3600.0)
    with Pipeline("short") as p:
        short("a")
        short("b")
    run = p.start(workers=1, store="off")
    assert run.wait().ok
    assert follower(run)._thread is None


def planned() -> Pipeline:
    """As `first_and_then`, with expectations that say the opposite of what is."""
    with Pipeline("planned") as p:
        held = gate.with_options(
            duration=1, after=[short.with_options(duration=9)("short-0"), long.with_options(duration=1)("long-0", 0.3)]
        )()
        for k in range(1, 4):
            short.with_options(duration=9, after=[held])(f"short-{k}")
        for k in range(1, 4):
            long.with_options(duration=1, after=[held])(f"long-{k}")
    return p


def test_a_plan_that_proves_wrong_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimates, "WRONG_TASKS", 2)
    run = planned().start(workers=1, store="off", plan_budget=30)
    at_the_gate(run)
    until(lambda: has_learned(run) and not follower(run).learner.planned)  # type: ignore[union-attr]
    may_end.set()
    assert run.wait().ok
    assert ran[2:] == ["long-1", "long-2", "long-3", "short-1", "short-2", "short-3"]


def test_a_plan_stands_until_enough_has_ended_to_judge_it():
    run = planned().start(workers=1, store="off", plan_budget=30)
    at_the_gate(run)
    until(lambda: has_learned(run))
    learner = follower(run).learner
    assert learner is not None
    assert learner.planned
    may_end.set()
    assert run.wait().ok
    assert ran[2:5] == ["short-1", "short-2", "short-3"]


def test_a_task_that_made_tasks_teaches_nothing():
    @task
    def makes() -> object:
        time.sleep(0.05)
        return [short("made")]

    with Pipeline("makes") as p:
        held = gate.with_options(after=[makes()])()
        short.with_options(after=[held])("last")
    run = p.start(workers=1, store="off")
    until(lambda: run.state("gate").name == "RUNNING")
    taught = follower(run)._learner()
    taught.follow(run._engine.scheduler)
    assert taught.expected_ns()[0] == 10**9  # as before anything is known
    may_end.set()
    assert run.wait().ok


# -------------------------------------------------------------------------------------------- from run to run


def durations_of(result: object) -> dict[str, int]:
    events = result.events  # type: ignore[attr-defined]
    ended = events[events["kind"] == EventKind.SUCCEEDED]
    names = result.view.names  # type: ignore[attr-defined]
    return {names[row["task"]]: int(row["value"]) for row in ended}


def lengths(seconds: dict[str, float]) -> Pipeline:
    with Pipeline("lengths") as p:
        for name, length in seconds.items():
            long.with_options(name=name)(name, length)
    return p


def test_the_next_run_begins_with_what_took_longest(tmp_path: Path):
    p = lengths({"a": 0.0, "b": 0.02, "c": 0.5})
    first = p.run(workers=1, store=tmp_path / "store")
    assert ran == ["a", "b", "c"]
    run = p.start(workers=1, store=tmp_path / "store")
    known = Expectations.of(p.freeze(), run._journal)
    assert known.column is not None
    assert dict(zip(first.view.names, known.column, strict=True)) == {
        name: max(1, ns) for name, ns in durations_of(first).items()
    }
    assert run.wait().ok
    assert ran[3] == "c"


def test_a_task_of_another_name_is_expected_to_take_the_mean_of_its_function(tmp_path: Path):
    first = lengths({"a": 0.0, "b": 0.1}).run(workers=1, store=tmp_path / "store")
    p = lengths({"a": 0.0, "new": 0.0})
    with p:
        short("other")
    run = p.start(workers=1, store=tmp_path / "store")
    known = Expectations.of(p.freeze(), run._journal)
    assert run.wait().ok
    took = durations_of(first)
    assert known.seconds is not None
    assert known.seconds[0] == pytest.approx(took["a"] / 1e9)
    assert known.seconds[1] == pytest.approx((took["a"] + took["b"]) / 2e9)
    assert known.seconds[2] is None  # nobody knows; for the core it is an average task
    assert known.column is not None
    assert known.column[2] / 1e9 == pytest.approx((known.seconds[0] + known.seconds[1]) / 2, rel=1e-6)


def test_a_duration_that_is_given_stands_before_what_was_measured(tmp_path: Path):
    with Pipeline("given") as p:
        short.with_options(duration=7)("a")
        long("b")
    p.run(workers=1, store=tmp_path / "store")
    run = p.start(workers=1, store=tmp_path / "store")
    known = Expectations.of(p.freeze(), run._journal)
    assert run.wait().ok
    assert known.seconds is not None
    assert known.seconds[0] == 7
    assert known.seconds[1] is not None
    assert known.seconds[1] < 7


def test_commands_are_known_by_their_line(tmp_path: Path):
    with Pipeline("commands") as p:
        command("first", ["true"])
        command("second", ["sleep", "0.2"])
    p.run(store=tmp_path / "store")
    run = p.start(store=tmp_path / "store")
    known = Expectations.of(p.freeze(), run._journal)
    assert run.wait().ok
    assert known.seconds is not None
    first, second = known.seconds
    assert first is not None
    assert second is not None
    assert second >= 0.2


def test_a_plan_for_a_short_run_is_not_paid_for():
    p = lengths({"a": 0.0, "b": 0.0})
    frozen = p.freeze()
    limits = p.start(store="off")._engine.limits
    known = Expectations([0.001, 0.003], learning.array("q", [1_000_000, 3_000_000]))
    assert known.worth(0.1, limits) <= 0.004 * learning.WORTH
    assert Expectations.of(frozen, None).worth(0.1, limits) == 0.1

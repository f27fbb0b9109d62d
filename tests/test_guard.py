"""The memory guard's rules, alone, and the guard at work on processes that really take memory."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from penstock import Cause, Pipeline, State, command, task
from penstock.guard import FAR, NEAR, PATIENCE_NS, PRESSED, RELIEVED, Candidate, GuardRules, raised
from penstock.observe.events import EventKind
from penstock.probes.memory import MemoryProbe
from penstock.probes.pressure import PressureProbe
from penstock.probes.reading import Reading
from penstock.probes.tree import ProcessTree
from penstock.run import Run

LIMIT = 1000
MIB = 1 << 20


def running(
    number: int, *, used: int, priority: float = 0, started: int = 0, demand: int = 100, limit: int | None = None
) -> Candidate:
    return Candidate(number, 1, priority, started, demand, pid=number, limit=limit, used=used)


# ---------------------------------------------------------------------------------------------------------- the gate


def test_the_guard_closes_near_the_limit_and_opens_only_well_below_it():
    rules = GuardRules()
    assert not rules.gate(int(NEAR * LIMIT) - 1, LIMIT, None)
    assert rules.gate(int(NEAR * LIMIT), LIMIT, None)
    assert rules.gate(int(FAR * LIMIT), LIMIT, None)  # no flapping in between
    assert not rules.gate(int(FAR * LIMIT) - 1, LIMIT, None)


def test_the_guard_closes_under_memory_pressure_and_opens_when_it_is_over():
    rules = GuardRules()
    assert not rules.gate(0, LIMIT, PRESSED - 1)
    assert rules.gate(0, LIMIT, PRESSED)
    assert rules.gate(0, LIMIT, RELIEVED)
    assert not rules.gate(0, LIMIT, RELIEVED - 1)


def test_what_is_unknown_closes_nothing_and_stops_nobody():
    rules = GuardRules()
    assert not rules.gate(None, LIMIT, None)
    assert not rules.gate(LIMIT * 2, None, None)
    assert rules.victim(None, LIMIT, [running(1, used=500)], False, 0) is None
    assert rules.victim(LIMIT * 2, None, [running(1, used=500)], False, 0) is None
    assert not rules.closed


# -------------------------------------------------------------------------------------------------------- the victim


def test_nobody_is_stopped_up_to_the_limit():
    rules = GuardRules()
    assert rules.victim(LIMIT, LIMIT, [running(1, used=900), running(2, used=100)], False, 0) is None
    assert rules.victim(LIMIT + 1, LIMIT, [], True, 0) is None


def test_past_the_limit_the_least_urgent_and_of_those_the_youngest_is_stopped():
    those = [
        running(1, used=300, priority=-1, started=9),
        running(2, used=300, priority=5, started=1),
        running(3, used=300, priority=5, started=2),
        running(4, used=2, priority=9, started=3),  # stopping it would free nothing
    ]
    chosen = GuardRules().victim(LIMIT + 1, LIMIT, those, False, 0)
    assert chosen is not None
    assert chosen.task == 3


def test_an_attempt_that_was_told_to_end_is_waited_for_but_not_for_ever():
    rules, those = GuardRules(), [running(1, used=600), running(2, used=600, started=1)]
    first = rules.victim(1200, LIMIT, those, False, 0)
    assert first is those[1]
    assert rules.victim(1200, LIMIT, those, False, PATIENCE_NS - 1) is None
    assert rules.victim(1200, LIMIT, those, False, PATIENCE_NS) is first
    assert (
        rules.victim(1200, LIMIT, those[:1], False, PATIENCE_NS + 1) is those[0]
    )  # it is gone, and that was not enough


def test_the_last_attempt_is_stopped_only_when_it_has_grown_past_its_demand():
    rules = GuardRules()
    assert rules.victim(LIMIT + 1, LIMIT, [running(1, used=100, demand=100)], True, 0) is None
    grown = running(1, used=200, demand=100)
    assert rules.victim(LIMIT + 1, LIMIT, [grown], True, 0) is grown


def test_an_attempt_above_its_memory_limit_is_stopped_however_much_is_free():
    over = running(2, used=51, limit=50)
    assert GuardRules().victim(0, LIMIT, [running(1, used=50, limit=50), over], False, 0) is over
    assert GuardRules().victim(None, None, [over], True, 0) is over


@pytest.mark.parametrize(
    ("demand", "peak", "most", "expected"),
    [
        (100, 300, None, 450),
        (100, 20, None, 150),
        (100, None, None, 150),
        (100, 300, 400, 400),
        (500, 300, 400, 500),
        (0, 80, None, 120),
    ],
)
def test_another_attempt_asks_for_more_than_was_seen_and_never_for_more_than_there_is(demand, peak, most, expected):
    assert raised(demand, peak, most) == expected


# ------------------------------------------------------------------------------------------------------------ for real


@pytest.fixture
def own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the memory in use be what this process and its children really use, whatever else the machine does."""

    def read(self: object, now_ns: int) -> Reading:
        return Reading.of(ProcessTree().measure().memory or 0, "tree", now_ns)

    monkeypatch.setattr(MemoryProbe, "read", read)
    monkeypatch.setattr(PressureProbe, "read", lambda self, now_ns: Reading.unknown("of others", "none", now_ns))


def start(p: Pipeline, spare: int) -> Run:
    """Start a run that may use `spare` bytes beyond what this process uses now."""
    used = ProcessTree().measure().memory or 0
    return p.start(limits={"memory": used + spare}, policy="priority", progress=False)


def hold(mib: int, seconds: float) -> int:
    block = bytearray(mib << 20)
    for k in range(0, len(block), 4096):
        block[k] = 1
    time.sleep(seconds)
    return len(block) >> 20


def counted(run: Run, kind: EventKind) -> int:
    return int((run.wait().events["kind"] == int(kind)).sum())


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("own_machine")
def test_tasks_that_outgrow_the_machine_together_all_succeed_and_none_fails_for_another():
    @task(executor="processes", cpu=0.1, retries=0)
    def grow(mib: int) -> int:
        return hold(mib, 2)

    @task
    def after(values: list[int]) -> int:
        return sum(values)

    with Pipeline("together") as p:
        total = after([grow(150) for _ in range(4)])
    run = start(p, 450 * MIB)
    result = run.wait(50)
    assert result[total] == 600
    assert result.ok
    assert counted(run, EventKind.EVICTED) > 0  # or the test says nothing
    assert counted(run, EventKind.FAILED) == 0
    assert Counter(result.states.values()) == {State.SUCCEEDED: 5}


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("own_machine")
def test_a_task_that_grew_past_its_demand_is_tried_again_with_more_and_only_as_often_as_it_may():
    @task(executor="processes", cpu=0.1, memory="20MiB", retries=1)
    def liar(mib: int) -> int:
        return hold(mib, 3)

    with Pipeline("alone") as p:
        wrong = liar(400)
    run = start(p, 150 * MIB)
    result = run.wait(50)
    assert result.states[wrong.name] is State.FAILED
    assert result.causes[wrong.name] is Cause.OOM
    assert result.attempts[wrong.name] == 2
    assert "had asked for memory=" in str(result.errors[wrong.name])
    demand = run._engine.protection.demand(run._engine.id_of(wrong)).memory
    assert 20 * MIB < demand <= run._engine.limits.amounts["memory"]


@pytest.mark.timeout(60)
def test_the_processes_of_a_command_together_keep_to_its_memory_limit():
    body = "import sys, time; block = bytearray(100 << 20)\nfor k in range(0, len(block), 4096): block[k] = 1\ntime.sleep(30)"
    with Pipeline("tree") as p:
        parents = command(
            "tree", f"python3 -c '{body}' & python3 -c '{body}' & wait", shell=True, memory_limit="150MiB"
        )
    result = p.run(progress=False)
    assert result.causes[parents.name] is Cause.OOM
    assert "memory_limit" in str(result.errors[parents.name])
    assert result.attempts[parents.name] == 1

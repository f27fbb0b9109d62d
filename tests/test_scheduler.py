"""The native scheduler against an oracle: the same rules, written for clearness in plain Python."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock import _core
from penstock.states import Cause, State

FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED)
LOST = (State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED)
BY_PRIORITY = (0, True, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1)


@dataclass
class Task:
    needs: list[int]
    cpu: int
    memory: int
    priority: float
    state: State = State.WAITING
    cause: Cause = Cause.NONE
    attempt: int = 0
    retry_at: int = 0
    dependants: list[int] = field(default_factory=list)


class Oracle:
    """What the scheduler should do, one task at a time."""

    def __init__(self, cpu: int, memory: int) -> None:
        self.free = {"cpu": cpu, "memory": memory}
        self.tasks: list[Task] = []

    def submit(self, batch: list[Task]) -> None:
        first = len(self.tasks)
        self.tasks += batch
        for number, task in enumerate(batch, first):
            for before in task.needs:
                self.tasks[before].dependants.append(number)
        # What an earlier task's end means for the batch comes before what follows from that inside the batch.
        ended: list[Task] = []
        for task in batch:
            for before in task.needs:
                if before < first and self.tasks[before].state in LOST and task.state == State.WAITING:
                    self.end_for(task, self.tasks[before].cause)
                    ended.append(task)
        for task in ended:
            for after in task.dependants:
                self.lose(after, task.cause)
        for task in batch:
            if task.state == State.WAITING and all(self.tasks[b].state == State.SUCCEEDED for b in task.needs):
                task.state = State.READY

    def lose(self, number: int, cause: Cause) -> None:
        task = self.tasks[number]
        if task.state != State.WAITING:
            return
        self.end_for(task, cause)
        for after in task.dependants:
            self.lose(after, task.cause)

    def end_for(self, task: Task, cause: Cause) -> None:
        skipped = cause == Cause.SKIPPED
        task.state = State.CANCELLED if skipped else State.UPSTREAM_FAILED
        task.cause = Cause.SKIPPED if skipped else Cause.UPSTREAM

    def wake(self, now: int) -> None:
        for task in self.tasks:
            if task.state == State.BACKOFF and task.retry_at <= now:
                task.state, task.cause = State.READY, Cause.NONE

    def take(self, now: int) -> int | None:
        self.wake(now)
        ready = [(t.priority, n) for n, t in enumerate(self.tasks) if t.state == State.READY]
        for _, number in sorted(ready):
            task = self.tasks[number]
            if task.cpu <= self.free["cpu"] and task.memory <= self.free["memory"]:
                task.state, task.cause = State.RUNNING, Cause.NONE
                task.attempt += 1
                self.free["cpu"] -= task.cpu
                self.free["memory"] -= task.memory
                return number
        return None

    def release(self, number: int) -> None:
        self.free["cpu"] += self.tasks[number].cpu
        self.free["memory"] += self.tasks[number].memory

    def end(self, number: int, state: State, cause: Cause) -> None:
        task = self.tasks[number]
        task.state, task.cause = state, cause
        for after in task.dependants:
            waiting = self.tasks[after]
            if state != State.SUCCEEDED:
                self.lose(after, Cause.SKIPPED if cause == Cause.SKIPPED else Cause.UPSTREAM)
            elif waiting.state == State.WAITING and all(self.tasks[b].state == State.SUCCEEDED for b in waiting.needs):
                waiting.state = State.READY


class AgainstTheOracle(RuleBasedStateMachine):
    @initialize(cpu=st.integers(1, 4), memory=st.integers(0, 10))
    def start(self, cpu: int, memory: int) -> None:
        self.now = 0
        self.scheduler = _core.Scheduler()
        for resource in range(_core.MAX_RESOURCES):
            if resource not in (4, 5):
                self.scheduler.set_capacity(resource, None)
        self.scheduler.set_capacity(0, cpu * 1000)
        self.scheduler.set_capacity(1, memory)
        self.scheduler.set_policy(*BY_PRIORITY)
        self.oracle = Oracle(cpu * 1000, memory)
        self.running: list[tuple[int, int, int]] = []  # task, attempt, lease

    @rule(
        rows=st.lists(
            st.tuples(
                st.lists(st.integers(0, 30), max_size=3), st.integers(1, 4), st.integers(0, 6), st.integers(-2, 2)
            ),
            min_size=1,
            max_size=5,
        )
    )
    def submit(self, rows: list[tuple[list[int], int, int, int]]) -> None:
        first = len(self.oracle.tasks)
        batch: list[Task] = []
        indptr, indices, shapes, priorities = array("q", [0]), array("q"), array("I"), array("d")
        for k, (needs, half_cores, memory, priority) in enumerate(rows):
            before = sorted({n % (first + k) for n in needs}) if first + k else []
            indices.extend(b if b < first else ~(b - first) for b in before)
            indptr.append(len(indices))
            shapes.append(self.scheduler.shape([half_cores * 500, memory]))
            priorities.append(priority)
            batch.append(Task(before, half_cores * 500, memory, float(priority)))
        self.oracle.submit(batch)
        got, _ = self.scheduler.submit(
            len(rows), shape=shapes, priority=priorities, indptr=indptr, indices=indices, now=self.now
        )
        assert got == first

    @rule()
    def take(self) -> None:
        started = self.scheduler.take(0, 0, 1, now=self.now)
        expected = self.oracle.take(self.now)
        assert [task for task, *_ in started] == ([] if expected is None else [expected])
        self.running += [(task, attempt, lease) for task, attempt, lease, _ in started]

    def _report(self, data: int) -> tuple[int, int, int, bool]:
        task, attempt, lease = self.running.pop(data % len(self.running))
        self.oracle.release(task)
        known = self.oracle.tasks[task]
        return task, attempt, lease, known.state == State.RUNNING and known.attempt == attempt

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100))
    def finish(self, which: int) -> None:
        task, attempt, lease, counts = self._report(which)
        self.scheduler.finish(task, attempt, lease, now=self.now)
        if counts:
            self.oracle.end(task, State.SUCCEEDED, Cause.NONE)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100), wait=st.integers(0, 3))
    def fail_and_retry(self, which: int, wait: int) -> None:
        task, attempt, lease, counts = self._report(which)
        at = self.now + wait
        accepted, settled = self.scheduler.fail(task, attempt, lease, int(Cause.LOST), at, now=self.now)
        assert accepted == counts
        assert settled == []
        if counts:
            known = self.oracle.tasks[task]
            known.state, known.cause, known.retry_at = State.BACKOFF, Cause.LOST, at
            if not wait:  # at once; other retries that are due wait for a take
                known.state, known.cause = State.READY, Cause.NONE

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100))
    def fail_for_good(self, which: int) -> None:
        task, attempt, lease, counts = self._report(which)
        accepted, settled = self.scheduler.fail(task, attempt, lease, int(Cause.EXCEPTION), now=self.now)
        assert accepted == counts
        assert (task in settled) == counts
        if counts:
            self.oracle.end(task, State.FAILED, Cause.EXCEPTION)

    @precondition(lambda self: self.oracle.tasks)
    @rule(which=st.integers(0, 100), cause=st.sampled_from([Cause.CANCELLED, Cause.SKIPPED]))
    def cancel(self, which: int, cause: Cause) -> None:
        task = which % len(self.oracle.tasks)
        known = self.oracle.tasks[task]
        running, settled = self.scheduler.cancel([task], int(cause), now=self.now)
        assert running == ([(task, known.attempt)] if known.state == State.RUNNING else [])
        assert (task in settled) == (known.state not in FINAL)
        if known.state not in FINAL:
            self.oracle.end(task, State.CANCELLED, cause)

    @precondition(lambda self: self.oracle.tasks)
    @rule(which=st.integers(0, 100), priority=st.integers(-3, 3))
    def rerank(self, which: int, priority: int) -> None:
        task = which % len(self.oracle.tasks)
        self.scheduler.rerank([task], float(priority), now=self.now)
        self.oracle.tasks[task].priority = float(priority)

    @rule(step=st.integers(1, 3))
    def time_passes(self, step: int) -> None:
        self.now += step

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        for number, task in enumerate(self.oracle.tasks):
            assert State(self.scheduler.state(number)) == task.state, number
            assert Cause(self.scheduler.cause(number)) == task.cause, number
            assert self.scheduler.attempt(number) == task.attempt, number
        assert self.scheduler.unfinished == sum(t.state not in FINAL for t in self.oracle.tasks)
        assert self.scheduler.free(0) == self.oracle.free["cpu"]
        assert self.scheduler.free(1) == self.oracle.free["memory"]
        self.scheduler.check()


TestAgainstTheOracle = AgainstTheOracle.TestCase
TestAgainstTheOracle.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_columns_of_the_wrong_length_are_refused_by_name() -> None:
    scheduler = _core.Scheduler()
    with pytest.raises(ValueError, match="priority has 3 entries for a batch of 2 tasks"):
        scheduler.submit(2, priority=array("d", [1, 2, 3]))
    assert len(scheduler) == 0
    assert len(scheduler.log) == 0


def test_a_priority_that_is_no_finite_number_is_refused() -> None:
    scheduler = _core.Scheduler()
    with pytest.raises(ValueError, match="not a finite number"):
        scheduler.submit(1, priority=float("nan"))
    assert len(scheduler) == 0


def test_a_float_column_is_not_taken_for_integers() -> None:
    scheduler = _core.Scheduler()
    with pytest.raises(TypeError, match="timeout has items of format 'd'; give integers"):
        scheduler.submit(1, timeout=array("d", [1.0]))
    assert len(scheduler) == 0


def test_an_unknown_task_is_named_with_what_is_allowed() -> None:
    scheduler = _core.Scheduler()
    scheduler.submit(3)
    with pytest.raises(IndexError, match=r"task 7 is unknown; ids go up to 3"):
        scheduler.state(7)

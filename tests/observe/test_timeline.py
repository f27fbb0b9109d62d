import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.observe.events import EventKind, as_array, dtype
from penstock.observe.timeline import Timeline, batches, task_rows
from penstock.states import Cause, State


def folded(scene):
    timeline = Timeline()
    for rows in batches(scene):
        timeline.update(rows)
    return timeline


def test_wait_and_run_are_summed_over_attempts(rehearsal):
    flaky = task_rows(rehearsal, folded(rehearsal))[1]
    assert (flaky.name, flaky.state, flaky.attempts) == ("flaky", State.SUCCEEDED, 2)
    assert flaky.wait_s == pytest.approx(0.1 + 0.2)  # backoff is no wait for room
    assert flaky.run_s == pytest.approx(0.3 + 2.0)


def test_a_task_that_never_ran_has_no_times(rehearsal):
    report = task_rows(rehearsal, folded(rehearsal))[4]
    assert (report.state, report.attempts, report.wait_s, report.run_s, report.cpu_s, report.peak_memory) == (
        State.UPSTREAM_FAILED, 0, None, None, None, None,
    )  # fmt: skip


def test_use_is_unknown_until_it_is_told_and_then_cpu_adds_up_and_memory_peaks(scene):
    scene.add("a")
    assert task_rows(scene, folded(scene))[0].cpu_s is None
    for attempt, (cpu, peak) in enumerate([(1_000_000_000, 300), (500_000_000, 200)], 1):
        scene.event(EventKind.CPU_USED, attempt, 0, attempt=attempt, value=cpu)
        scene.event(EventKind.PEAK_MEMORY, attempt, 0, attempt=attempt, value=peak)
    row = task_rows(scene, folded(scene))[0]
    assert (row.cpu_s, row.peak_memory) == (1.5, 300)


def test_zero_cpu_is_known(scene):
    scene.add("a")
    scene.event(EventKind.CPU_USED, 1, 0, value=0)
    assert task_rows(scene, folded(scene))[0].cpu_s == 0.0


def test_a_start_after_a_deferral_is_the_same_attempt(scene):
    scene.add("parent")
    scene.event(EventKind.READY, 0, 0)
    scene.event(EventKind.STARTED, 0, 0, attempt=1)
    scene.event(EventKind.DEFERRED, 1, 0)
    assert folded(scene).attempts().tolist() == [1]
    assert folded(scene).counts()[State.WAITING] == 1
    scene.ran(0, 3, 3, 4, attempt=2)
    row = task_rows(scene, folded(scene))[0]
    assert (row.attempts, row.run_s) == (1, 2.0)


def test_of_tasks_started_together_by_one_worker_each_has_its_own_run_time(scene):
    scene.add("a", "b")
    for task in (0, 1):
        scene.event(EventKind.READY, 0, task)
        scene.event(EventKind.STARTED, 0, task)
    scene.event(EventKind.SUCCEEDED, 1, 0, value=1_000_000_000)
    scene.event(EventKind.SUCCEEDED, 3, 1, value=2_000_000_000)
    rows = task_rows(scene, folded(scene))
    assert [(row.wait_s, row.run_s) for row in rows] == [(0.0, 1.0), (1.0, 2.0)]


def test_outcomes_are_told_apart(scene):
    scene.add("skipped", "cancelled", "timed out", "raised")
    scene.event(EventKind.CANCELLED, 1, 0, cause=Cause.SKIPPED)
    scene.event(EventKind.CANCELLED, 1, 1, cause=Cause.CANCELLED)
    scene.event(EventKind.FAILED, 1, 2, cause=Cause.TIMEOUT)
    scene.event(EventKind.FAILED, 1, 3, cause=Cause.EXCEPTION)
    outcomes = [row.outcome for row in task_rows(scene, folded(scene))]
    assert outcomes == ["skipped", "cancelled", "failed (timeout)", "failed"]


def test_a_gauge_average_weighs_each_reading_by_its_time(rehearsal):
    gauge = folded(rehearsal).gauges[0]
    assert gauge.latest == 1000
    assert gauge.average == pytest.approx((1.0 * 1000 + 1.0 * 2000 + 2.2 * 1000) / 4.2)


def test_makespan_is_from_the_start_of_the_run_to_its_end(rehearsal):
    assert folded(rehearsal).makespan_ns == 4_200_000_000


def test_pause_is_seen_and_ends(scene):
    scene.event(EventKind.PAUSED, 1, attempt=0)
    assert folded(scene).paused
    scene.event(EventKind.RESUMED, 2, attempt=0)
    assert not folded(scene).paused


def test_a_million_events_take_a_second_at_most(scene):
    n = 250_000
    rows = np.zeros(3 * n, dtype=dtype())
    for k, kind in enumerate((EventKind.READY, EventKind.STARTED, EventKind.SUCCEEDED)):
        part = rows[k::3]
        part["task"], part["kind"], part["attempt"] = np.arange(n), kind, 1
    rows["time"] = np.arange(3 * n)
    import time

    timeline = Timeline()
    begun = time.process_time()
    for start in range(0, len(rows), 65536):
        timeline.update(rows[start : start + 65536])
    assert time.process_time() - begun < 1.0
    assert timeline.finished == n


# What may follow in each state of one task; the oracle below walks the same events one at a time.
MOVES = {
    State.WAITING: [EventKind.READY, EventKind.CANCELLED, EventKind.UPSTREAM_FAILED],
    State.READY: [EventKind.STARTED, EventKind.CANCELLED],
    State.RUNNING: [EventKind.FAILED, EventKind.RETRYING, EventKind.CANCELLED, EventKind.DEFERRED],
    State.BACKOFF: [EventKind.READY, EventKind.CANCELLED],
}
AFTER = {
    EventKind.READY: State.READY,
    EventKind.STARTED: State.RUNNING,
    EventKind.FAILED: State.FAILED,
    EventKind.RETRYING: State.BACKOFF,
    EventKind.CANCELLED: State.CANCELLED,
    EventKind.UPSTREAM_FAILED: State.UPSTREAM_FAILED,
    EventKind.DEFERRED: State.WAITING,
}


class OneAtATime:
    def __init__(self, tasks):
        self.state = [State.WAITING] * tasks
        self.since = [0] * tasks
        self.spent = [dict.fromkeys(State, 0) for _ in range(tasks)]

    def move(self, task, kind, now):
        self.spent[task][self.state[task]] += now - self.since[task]
        self.state[task], self.since[task] = AFTER[kind], now


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_folding_in_any_batches_agrees_with_one_event_at_a_time(data):
    tasks = data.draw(st.integers(1, 4), label="tasks")
    oracle = OneAtATime(tasks)
    records = [(0, tasks, 0, 0, 0, EventKind.SUBMITTED, 0, 0, 1)]
    now = 0
    for _ in range(data.draw(st.integers(0, 25), label="events")):
        open_ones = [task for task in range(tasks) if not oracle.state[task].is_final]
        if not open_ones:
            break
        now += data.draw(st.integers(0, 5))
        task = data.draw(st.sampled_from(open_ones))
        kind = data.draw(st.sampled_from(MOVES[oracle.state[task]]))
        oracle.move(task, kind, now)
        records.append((now, 0, task, 1, 0, kind, 0, 0, 1))
    rows = as_array(np.array(records, dtype=dtype()).tobytes())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4), label="cuts"))
    timeline = Timeline()
    for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        timeline.update(rows[begin:end])
    assert timeline.column("state").tolist() == oracle.state
    assert timeline.column("wait_ns").tolist() == [spent[State.READY] for spent in oracle.spent]
    assert timeline.column("run_ns").tolist() == [spent[State.RUNNING] for spent in oracle.spent]
    assert timeline.rows_seen == len(rows)

"""States counted without a column for each task: the same as the timeline's, however long the run."""

import random

import numpy as np
import pytest

from penstock.observe import tally
from penstock.observe.events import EventKind, dtype
from penstock.observe.tally import Tally
from penstock.observe.timeline import Timeline
from penstock.states import State

FOLLOW = {
    State.WAITING: (EventKind.READY, EventKind.UPSTREAM_FAILED, EventKind.CANCELLED),
    State.READY: (EventKind.STARTED, EventKind.CANCELLED),
    State.RUNNING: (EventKind.SUCCEEDED, EventKind.FAILED, EventKind.RETRYING, EventKind.DEFERRED, EventKind.CANCELLED),
    State.BACKOFF: (EventKind.READY, EventKind.CANCELLED),
}
AFTER = {
    EventKind.READY: State.READY,
    EventKind.STARTED: State.RUNNING,
    EventKind.SUCCEEDED: State.SUCCEEDED,
    EventKind.FAILED: State.FAILED,
    EventKind.RETRYING: State.BACKOFF,
    EventKind.DEFERRED: State.WAITING,
    EventKind.CANCELLED: State.CANCELLED,
    EventKind.UPSTREAM_FAILED: State.UPSTREAM_FAILED,
}


class Story:
    """Rows of a log that tasks may really have written, mostly in the order in which they came."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.states: dict[int, State] = {}  # of the tasks that have not ended
        self.tasks = 0
        self.now = 1000

    def rows(self, count: int) -> np.ndarray:
        made = [self._row() for _ in range(count)]
        rows = np.zeros(len(made), dtype=dtype())
        for place, (kind, task, value) in enumerate(made):
            self.now += 1
            rows[place]["time"], rows[place]["kind"], rows[place]["task"], rows[place]["value"] = (
                self.now, int(kind), task, value,
            )  # fmt: skip
        return rows

    def _row(self) -> tuple[EventKind, int, int]:
        if not self.states or self.rng.random() < 0.1:
            count, first = self.rng.randint(1, 6), self.tasks
            self.tasks += count
            self.states |= dict.fromkeys(range(first, self.tasks), State.WAITING)
            return EventKind.SUBMITTED, first, count
        if self.rng.random() < 0.03:
            return self.rng.choice([EventKind.PAUSED, EventKind.RESUMED, EventKind.CPU_USED]), 0, 5
        oldest = sorted(self.states)[: self.rng.choice([1, 5, 1000])]
        task = self.rng.choice(oldest)
        kind = self.rng.choice(FOLLOW[self.states[task]])
        self.states[task] = AFTER[kind]
        if self.states[task].is_final:
            del self.states[task]
        return kind, task, 0


def is_odd(task: int) -> bool:
    return task % 2 == 1


@pytest.mark.parametrize("seed", range(20))
def test_it_counts_as_the_timeline_does_and_keeps_only_what_has_not_ended(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MOST_ENDED", 16)
    story, counted, timeline = Story(seed), Tally(is_odd), Timeline()
    longest = 0
    for _ in range(60):
        rows = story.rows(story.rng.randint(0, 90))
        counted.update(rows)
        timeline.update(rows)
        failed = [task for task in timeline.tasks_in(State.FAILED).tolist() if is_odd(task)]
        assert counted.counts() == timeline.counts()
        assert counted.failed() == (len(failed), failed[:5])
        assert counted.running(3) == timeline.tasks_in(State.RUNNING)[:3].tolist()
        assert (len(counted), counted.started_ns, counted.paused) == (
            len(timeline), timeline.origin_ns, timeline.paused,
        )  # fmt: skip
        oldest = min(story.states, default=story.tasks)
        assert counted._first <= oldest
        longest = max(longest, counted._n - (story.tasks - oldest))
    assert story.tasks > 200
    assert longest < 200  # of those before the oldest that is open


def test_nothing_seen_is_nothing_counted() -> None:
    counted = Tally(is_odd)
    counted.update(np.zeros(0, dtype=dtype()))
    assert (len(counted), counted.failed(), counted.running(5)) == (0, (0, []), [])
    assert set(counted.counts().values()) == {0}

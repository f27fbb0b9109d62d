"""How many tasks are in each state, and which: of a run that may have had any number of them.

What those need who only watch. `Timeline` keeps what happened to each task, a hundred bytes of it; this keeps one byte
for each task from the oldest on that has not ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from penstock.observe.events import STATE_AFTER, EventKind
from penstock.states import State

if TYPE_CHECKING:
    import numpy.typing as npt

    from penstock.observe.events import Events

__all__ = ["Tally"]

MOST_ENDED = 1 << 16
"""So many tasks at the beginning may have ended before they are only counted."""

NAMED = 5
"""How many of the tasks that failed are kept by their ids."""

_CHANGES_STATE = np.zeros(256, dtype=np.bool_)
_STATE_AFTER = np.zeros(256, dtype=np.uint8)
for _kind, _state in STATE_AFTER.items():
    _CHANGES_STATE[_kind] = _kind is not EventKind.SUBMITTED
    _STATE_AFTER[_kind] = _state
_OF_THE_RUN = (EventKind.RUN_STARTED, EventKind.PAUSED, EventKind.RESUMED)
_IS_FINAL = np.array([state.is_final for state in State])


class Tally:
    """States by task id, as of the last rows given to `update`.

    Args:
        counts_as_failed: whether the failure of a task, by its id, is one of the run.

    Attributes:
        started_ns: when the run started: the instant of its first event if the start itself is not (yet) seen.
        paused: nothing starts.
    """

    def __init__(self, counts_as_failed: Callable[[int], bool]) -> None:
        self.started_ns = 0
        self.paused = False
        self._counts_as_failed = counts_as_failed
        self._seen = False
        self._first = 0  # tasks below it have ended, and are in these two alone:
        self._ended = np.zeros(len(State), dtype=np.int64)
        self._failed: tuple[int, list[int]] = (0, [])  # how many, and the first of them
        self._states: npt.NDArray[np.uint8] = np.zeros(64, dtype=np.uint8)
        self._n = 0  # of these

    def __len__(self) -> int:
        return self._first + self._n

    def update(self, rows: Events) -> None:
        """Take the next rows of the log, in log order."""
        if len(rows) == 0:
            return
        if not self._seen:
            self._seen, self.started_ns = True, int(rows["time"][0])
        kind = rows["kind"]
        submitted = rows[kind == EventKind.SUBMITTED]
        if len(submitted):
            self._grow(int((submitted["task"].astype(np.int64) + np.maximum(submitted["value"], 1)).max()))
        changes = rows[_CHANGES_STATE[kind]]
        if len(changes):
            self._grow(int(changes["task"].max()) + 1)
            place = changes["task"].astype(np.intp) - self._first
            # Of several changes of one task the last is written last.
            self._states[place[place >= 0]] = _STATE_AFTER[changes["kind"]][place >= 0]
        for of, time in rows[np.isin(kind, _OF_THE_RUN)][["kind", "time"]].tolist():
            if of == EventKind.RUN_STARTED:
                self.started_ns = time
            else:
                self.paused = of == EventKind.PAUSED
        if self._n >= 2 * MOST_ENDED:
            self._count_ended()

    def counts(self) -> dict[State, int]:
        """Return how many tasks are in each state, all states present."""
        found = self._ended + np.bincount(self._states[: self._n], minlength=len(State))
        return {state: int(found[state]) for state in State}

    def running(self, most: int) -> list[int]:
        """Return the ids of the first `most` tasks that run, ascending."""
        found = np.flatnonzero(self._states[: self._n] == State.RUNNING)[:most]
        return [int(place) + self._first for place in found]

    def failed(self) -> tuple[int, list[int]]:
        """Return how many failures count, and the ids of the first NAMED of those tasks."""
        return self._with_failed(self._n)

    def _with_failed(self, end: int) -> tuple[int, list[int]]:
        count, named = self._failed
        places = np.flatnonzero(self._states[:end] == State.FAILED)
        failed = [int(place) + self._first for place in places if self._counts_as_failed(int(place) + self._first)]
        return count + len(failed), [*named, *failed][:NAMED]

    def _count_ended(self) -> None:
        is_open = np.flatnonzero(~_IS_FINAL[self._states[: self._n]])
        end = int(is_open[0]) if len(is_open) else self._n
        if end < MOST_ENDED:
            return
        self._failed = self._with_failed(end)
        self._ended += np.bincount(self._states[:end], minlength=len(State))
        self._states = self._states[end : self._n].copy()
        self._first, self._n = self._first + end, self._n - end

    def _grow(self, end: int) -> None:
        n = end - self._first
        if n <= self._n:
            return
        if n > len(self._states):
            more = np.zeros(max(n, 2 * len(self._states)), dtype=np.uint8)
            more[: self._n] = self._states[: self._n]
            self._states = more
        self._states[self._n : n] = State.WAITING
        self._n = n

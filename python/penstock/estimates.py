"""Run times that are learned while a run goes, for both drivers.

A `Learner` reads the event log and tells the core what to expect of tasks that have not run yet. Tasks of one group (one
function, one kind of job) are expected to take

    mean of the group's run times  x  product over hints of (hint / its geometric mean in the group) ^ slope

A hint is something that is known of a task beforehand and may say how long it takes beside its like: the bytes that it
reads, the memory that it asks for, somebody's estimate. The slopes are fitted to what has ended, by ridge regression of
logarithms around what a slope is before anything is seen: 1 for an estimate (it is taken at its word), 0.5 for sizes
(more work, but not in proportion). A noisy estimate so loses its say as fast as the run shows that it deserves none.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

from penstock.observe.events import EventKind, as_array

if TYPE_CHECKING:
    import numpy.typing as npt

    from penstock import _core

    Floats = npt.NDArray[np.float64]

__all__ = ["ESTIMATE_SLOPE", "SIZE_SLOPE", "Learner"]

ESTIMATE_SLOPE = 1.0
SIZE_SLOPE = 0.5
PRIOR_WEIGHT = 2.0
"""The slopes of the beginning count as much as so many ended tasks of the group's spread."""

GROWTH = 1.25
"""A group is fitted again when this many times as many of its tasks have ended."""

WRONG = 0.15
"""Estimates whose errors spread by more than this share are no ground for a plan: longest paths end sooner from here on."""

WRONG_TASKS = 5
"""So many tasks must have ended before that is said."""

UNSEEN_NS = 1e9
"""What an average task counts as while nothing at all is known: then only the order among tasks matters. Later, a group
that has not been seen is expected to take as long as the longest that has: what leads to it is then found out early."""

LEAST_NS = 1e6
"""Run times below a millisecond count as one where logarithms are compared: they are noise."""


class Learner:
    """Follows one run's log. One thread at a time.

    Args:
        groups: shape (n_tasks,), by task id: numbers from 0 up; tasks with the same number are alike.
        estimates_ns: shape (n_tasks,): what somebody expects, 0 where nobody does; None: of no task.
        sizes: shape (n_tasks, n_hints), >= 0: what else is known of each task; None: nothing.
        tolerance: the core is told of a group when the expectation of some task in it has moved by more than this share.

        planned: whether the core follows a plan that was made from the estimates: it forgets it when these prove wrong.
        ignored: tasks that teach nothing, by id: their functions did not run. They may become more.

    Attributes:
        told: how often the core was told.
    """

    def __init__(
        self,
        groups: npt.NDArray[np.uint32],
        *,
        estimates_ns: npt.NDArray[np.int64] | None = None,
        sizes: Floats | None = None,
        tolerance: float = 0.1,
        planned: bool = False,
        ignored: Sequence[Container[int]] = (),
    ) -> None:
        self.planned = planned
        self.tolerance = tolerance
        self._ignored = ignored
        self.told = 0
        self._groups = np.ascontiguousarray(groups, np.uint32)
        count = len(self._groups)
        hints: list[Floats] = []
        slopes: list[float] = []
        given = None if estimates_ns is None else np.asarray(estimates_ns, np.float64)
        if given is not None and np.any(given > 0):
            hints.append(np.log(np.maximum(given, LEAST_NS)))
            slopes.append(ESTIMATE_SLOPE)
        if sizes is not None:
            hints += list(np.log1p(np.asarray(sizes, np.float64)).T)
            slopes += [SIZE_SLOPE] * np.asarray(sizes).shape[1]
        self._order = np.argsort(self._groups, kind="stable")
        kinds = int(self._groups.max()) + 1 if count else 0
        ends = np.searchsorted(self._groups[self._order], np.arange(kinds + 1))
        self._members: Sequence[npt.NDArray[np.int64]] = [self._order[ends[g] : ends[g + 1]] for g in range(kinds)]
        self._hints = np.stack(hints, axis=1) if hints else np.zeros((count, 0))
        self._slopes = np.array(slopes)
        self._shape = np.ones(count)  # how long each task takes beside its group, by its hints
        self._level = np.zeros(kinds)  # how long a task of the group takes that its hints say nothing special of, ns
        for members in self._members:
            if self._hints.shape[1] and len(members):
                hints_here = self._hints[members]
                if given is not None and np.any(given[members] == 0):
                    known = given[members] > 0  # a task without an estimate is an average one of its group
                    hints_here[~known, 0] = hints_here[known, 0].mean() if np.any(known) else 0.0
                self._hints[members] = hints_here - hints_here.mean(axis=0)
                self._shape[members] = np.exp(self._hints[members] @ self._slopes)
        self._prior = np.zeros(kinds)
        if given is not None:
            for group, members in enumerate(self._members):
                known = given[members] > 0
                if np.any(known):
                    self._prior[group] = (given[members][known] / self._shape[members][known]).mean()
        self._level[:] = self._prior
        self._seen: list[list[int]] = [[] for _ in range(kinds)]
        self._took = np.zeros(count)
        self._fit_at = np.ones(kinds)
        self._estimates = np.zeros(count) if given is None else given
        self._wrong = _Wrong()
        self._open = np.ones(count, bool)
        self._odd: set[int] = set()
        self._told_ns = np.zeros(count)
        self._cursor = self._submitted = 0

    def expected_ns(self) -> npt.NDArray[np.int64]:
        """Return what is expected of each task now, shape (n_tasks,); before anything is known, 1 s for an average task."""
        return np.maximum(self._expected(), 1.0).astype(np.int64)

    def begin(self, told_ns: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Return `expected_ns()`, for the submission; from then on the core counts as told of it.

        Args:
            told_ns: shape (n_tasks,): what the core was told instead, when it knows of the tasks already; 0: nothing.
        """
        self._told_ns = self._expected() if told_ns is None else np.asarray(told_ns, np.float64)
        return self.expected_ns()

    def follow(self, scheduler: _core.Scheduler, now: int | None = None) -> None:
        """Read what is new in the log, and tell the core where that changes what is expected.

        Args:
            scheduler: whose log it is, and who is told.
            now: the instant, ns; None: of the call.
        """
        log = scheduler.log
        if len(log) == self._cursor:
            return
        rows = as_array(log.read_bytes(self._cursor))
        self._cursor += len(rows)
        ended = rows[(rows["kind"] == EventKind.SUCCEEDED) & (rows["task"] < len(self._groups))]
        self._open[ended["task"]] = False
        self._odd.update(rows["task"][rows["kind"] == EventKind.DEFERRED].tolist())  # the last attempt only gathers
        submitted = min(len(scheduler), len(self._groups))
        fresh = submitted > self._submitted and self._submitted > 0  # they came with what was expected at the beginning
        self._submitted = submitted
        for task, took in zip(ended["task"].tolist(), ended["value"].tolist(), strict=True):
            if task in self._odd or any(task in some for some in self._ignored):
                continue
            group = int(self._groups[task])
            seen = self._seen[group]
            self._wrong.add(self._estimates[task], took)
            self._took[task] = took
            seen.append(task)
            if len(seen) >= self._fit_at[group]:
                self._fit(group)
                self._fit_at[group] = max(len(seen) + 1, len(seen) * GROWTH)
                fresh = True
        if self.planned and self._wrong.by_much():
            self._tell(scheduler, now)
            scheduler.forget_plan()
            self.planned = False
        elif fresh:
            self._tell(scheduler, now)

    def _fit(self, group: int) -> None:
        seen, members = self._seen[group], self._members[group]
        if self._hints.shape[1]:
            x, y = self._hints[seen], np.log(np.maximum(self._took[seen], LEAST_NS))
            x, y = x - x.mean(axis=0), y - y.mean()
            spread = np.maximum(self._hints[members].var(axis=0), 1e-12)
            normal = x.T @ x + PRIOR_WEIGHT * np.diag(spread)
            slopes = self._slopes + np.linalg.solve(normal, x.T @ (y - x @ self._slopes))
            self._shape[members] = np.exp(np.clip(self._hints[members] @ slopes, -20.0, 20.0))
        self._level[group] = self._took[seen].sum() / self._shape[seen].sum()

    def _expected(self) -> Floats:
        unseen = self._level.max(initial=0.0) or UNSEEN_NS
        return np.where(self._level > 0, self._level, unseen)[self._groups] * self._shape

    def _tell(self, scheduler: _core.Scheduler, now: int | None) -> None:
        expected = self._expected()
        there = self._open.copy()
        there[self._submitted :] = False
        moved = there & (np.abs(expected - self._told_ns) > self.tolerance * self._told_ns)
        if not np.any(moved):
            return
        affected = np.zeros(len(self._level), bool)
        affected[self._groups[moved]] = True
        tasks = np.flatnonzero(there & affected[self._groups]).astype(np.uint32)
        scheduler.expect(tasks, np.maximum(expected[tasks], 1.0).astype(np.int64), now)
        self._told_ns[tasks] = expected[tasks]
        self.told += 1


class _Wrong:
    """How far estimates are from run times: the spread of the logarithm of their ratio, by estimated time.

    A factor that all tasks have in common is no error here: it does not change an order.
    """

    def __init__(self) -> None:
        self._count = 0
        self._weight = self._mean = self._squares = 0.0

    def add(self, estimate_ns: float, took_ns: float) -> None:
        if estimate_ns <= 0:
            return
        error = math.log(max(took_ns, LEAST_NS) / max(estimate_ns, LEAST_NS))
        self._count += 1
        self._weight += estimate_ns
        moved = (error - self._mean) * estimate_ns / self._weight
        self._squares += estimate_ns * (error - self._mean) * (error - self._mean - moved)
        self._mean += moved

    def by_much(self) -> bool:
        return self._count >= WRONG_TASKS and self._squares > WRONG * WRONG * self._weight

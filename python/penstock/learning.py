"""What run times a real run expects: from `duration=`, from earlier runs of the store, and from the run itself.

What is known before the first task starts goes into the plan, or without one into the ranks. A run that lasts is followed
by a `Learner` on a thread of its own, which corrects what is expected of what has not run yet. A plan's order stands in
for the longest paths, so it stays as long as what has ended took about as long as the plan was made for; then the plan is
forgotten, and ranks follow the longest paths as they are expected by then.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.planning import MOST_TASKS

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.estimates import Learner
    from penstock.journal.keeper import Journal
    from penstock.pipeline import FrozenPipeline
    from penstock.policies import Policy
    from penstock.resources import Limits
    from penstock.task import Call

__all__ = ["Expectations", "Learning", "learn"]

NS = 1_000_000_000

FIRST_S = 1.0
"""A run that ends sooner is not followed: nothing of it is read, no thread is started and numpy is not imported."""

PERIOD_S = 0.1
"""What has ended gathers for so long before it is looked at."""

PAUSES = 20
"""And for so many times as long as the last look took: the follower takes a twentieth of one core at most."""

WORTH = 0.02
"""Of how long a run may take, the share that is spent on a plan which nobody asked for by `duration=`."""

_log = logging.getLogger("penstock")


@dataclass(frozen=True, slots=True)
class Expectations:
    """What is known of run times before a run begins.

    Attributes:
        seconds: by position, None where unknown; None: nothing is known but what `duration=` says.
        column: the same in ns for the core, unknown ones as the mean of the known; None as above.
    """

    seconds: list[float | None] | None = None
    column: array[int] | None = None

    @classmethod
    def of(cls, frozen: FrozenPipeline, journal: Journal | None) -> Expectations:
        """Return what `duration=` says, and for tasks without it what earlier runs of the store say."""
        if (
            journal is None
            or len(frozen.calls) > MOST_TASKS
            or all(c.spec.duration_s is not None for c in frozen.calls)
        ):
            return cls()
        earlier = journal.earlier(frozen)
        if not any(earlier):
            return cls()
        seconds: list[float | None] = []
        for call, ns in zip(frozen.calls, earlier, strict=True):
            given = call.spec.duration_s
            seconds.append(given if given is not None else ns / NS if ns else None)
        known = [length for length in seconds if length is not None]
        typical = sum(known) / len(known)
        column = array("q", [max(1, round((typical if one is None else one) * NS)) for one in seconds])
        return cls(seconds, column)

    def worth(self, budget_s: float, limits: Limits) -> float:
        """Return the budget for a plan: as given, less where only earlier runs speak and the run will be short."""
        if self.column is None:
            return budget_s
        cores = max(1.0, limits.amounts.get("cpu", 1000) / 1000)
        return min(budget_s, WORTH * sum(self.column) / NS / cores)


def learn(engine: Engine, calls: Sequence[Call[Any]], expected: array[int] | None, *, planned: bool) -> None:
    """Follow a run that has just been submitted, if there is anything to be learned.

    Args:
        engine: of the run; the calls are its first tasks.
        calls: what was submitted.
        expected: what the core was told, ns; None: what `duration=` says.
        planned: whether the core was given places in a plan.
    """
    if 1 < len(calls) <= MOST_TASKS:
        engine.learning = Learning(engine, calls, expected, planned=planned)
        engine.learning.begin()


class Learning:
    """Lets the ranks of a run follow what it shows of run times, from its first second on.

    Tasks of one function are alike, and the memory that they ask for may tell them apart; see `estimates.Learner`. Tasks
    that are made while it runs are not looked at.

    Attributes:
        learner: that follows the run; None before one does.
    """

    def __init__(
        self, engine: Engine, calls: Sequence[Call[Any]], expected: array[int] | None, *, planned: bool
    ) -> None:
        self._engine: Engine = weakref.proxy(engine)  # which holds this: a cycle would keep an ended run's tables
        self._planned = planned
        self._calls = calls
        self._expected = expected
        self._lock = threading.Lock()
        self._due = False
        self._thread: threading.Thread | None = None
        self.learner: Learner | None = None

    def begin(self) -> None:
        """Consider it when the run has lasted for a while."""
        self._engine.timers.at(time.monotonic_ns() + int(FIRST_S * NS), self._lasts)

    def _lasts(self) -> None:
        self._due = True
        self.consider()

    def consider(self) -> None:
        """Begin to follow, if it is time and the policy heeds run times. Any thread, also after the policy changed."""
        engine = self._engine
        with self._lock:
            if self._thread is not None or not self._due or engine.is_ended or not _heeds(engine.policy):
                return
            self._thread = threading.Thread(target=self._run, name="penstock-learning", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for the follower of a closed log."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _run(self) -> None:
        try:
            self.learner = self._learner()
            self._follow(self.learner)
        except ReferenceError:
            pass  # the run has ended, and its engine is gone
        except BaseException:  # noqa: BLE001  the run can do without, and says so
            _log.exception("run times are not learned any more; the run goes on")

    def _learner(self) -> Learner:
        import numpy as np

        from penstock.estimates import Learner

        engine = self._engine
        specs = [call.spec for call in self._calls]
        numbers: dict[object, int] = {}
        names = [spec.name if spec.function is None else id(spec.function) for spec in specs]
        groups = [numbers.setdefault(name, len(numbers)) for name in names]
        told = np.array(self._expected or [int((spec.duration_s or 0.0) * NS) for spec in specs], np.int64)
        memory = np.array([spec.demand.memory for spec in specs], np.float64)
        learner = Learner(
            np.array(groups, np.uint32),
            estimates_ns=told,
            sizes=memory[:, None] if np.ptp(memory) > 0 else None,
            planned=self._planned,
            ignored=[engine.fell_back] if engine.recall is None else [engine.fell_back, engine.recall.answered],
        )
        learner.begin(told)
        return learner

    def _follow(self, learner: Learner) -> None:
        log, scheduler = self._engine.log, self._engine.scheduler  # which outlive the engine
        seen, settle_s = 0, 0.0
        while not log.closed and scheduler.unfinished:
            seen = log.wait(seen, None, settle_s)
            began = time.perf_counter()
            learner.follow(scheduler)
            settle_s = max(PERIOD_S, PAUSES * (time.perf_counter() - began))


def _heeds(policy: Policy) -> bool:
    return policy.form == "sum" and (policy.critical_path != 0 or policy.deadline != 0)

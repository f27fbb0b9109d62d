"""What is done about attempts that the machine cannot carry: the guard's decisions put into effect, and their reports read.

An attempt that is stopped for memory goes back to the queue with the cause OOM. That counts as a failure of its own only if
it had grown past its demand; it asks for more then, from what it was seen to use. What depends on it just waits on.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock import _core
from penstock.errors import TaskFailed
from penstock.guard import Candidate, Guard, raised
from penstock.observe.events import EventKind
from penstock.probes.cgroup import oom_kills
from penstock.resources import Demand, format_amount
from penstock.states import Cause

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.executors import Report
    from penstock.lanes import Lanes

__all__ = ["Protection"]


class Protection:
    """The guard of one engine, and what it knows of attempts that were stopped."""

    def __init__(self, engine: Engine, lanes: Lanes) -> None:
        self._engine: Engine = weakref.proxy(engine)
        self._lanes = lanes
        self._evicted: dict[tuple[int, int], Candidate] = {}
        self._peaks: dict[int, int] = {}  # of the attempt of a task that has just ended, for its next one
        self.demands: dict[int, Demand] = {}
        """What tasks ask for since memory ended an attempt of theirs, where that is more than they said."""
        self._groups = engine.admission.machine.groups
        self._kills = oom_kills(self._groups)
        self.guard = Guard(
            engine.admission.machine,
            limit=lambda: self._engine.limits.amounts.get("memory"),
            running=self._running,
            gate=lambda closed, used: self._engine.scheduler.guard(closed, used),
            stop=self._stop,
            broken=lambda bug: self._engine.broken(bug),
        )

    def demand(self, task: int) -> Demand:
        """Return what the next attempt of a task asks for."""
        return self.demands.get(task) or self._engine.specs[task].demand

    def release(self, task: int) -> None:
        """Forget an ended task."""
        self.demands.pop(task, None)
        self._peaks.pop(task, None)

    # ------------------------------------------------------------------------------------------------- stopping

    def _running(self) -> tuple[list[Candidate], bool] | None:
        engine = self._engine
        if not self._lanes.any_out:
            return None
        return list(self._candidates()), engine.scheduler.held(_core.THREAD_SLOTS) > 0

    def _candidates(self) -> Iterator[Candidate]:
        engine = self._engine
        for (task, attempt), pid in self._lanes.roots().items():
            if engine.is_running(task, attempt):
                yield Candidate(
                    task,
                    attempt,
                    engine.scheduler.priority(task),
                    self._lanes.launched_ns(task, attempt),
                    self.demand(task).memory,
                    pid,
                    engine.specs[task].memory_limit,
                )

    def _stop(self, one: Candidate) -> None:
        engine = self._engine
        with engine.lock:
            if self._lanes.lease(*one.key) is None:  # reported just now
                return
            self._evicted[one.key] = one
        engine.log.append(
            int(EventKind.EVICTED), task=one.task, attempt=one.attempt, cause=int(Cause.OOM), value=one.used
        )
        self._lanes.kill(*one.key, within_s=0.0)  # each moment of grace is a moment in which more memory is taken

    # ------------------------------------------------------------------------------------------------- reports

    def judged(self, report: Report) -> tuple[Report, bool]:
        """Return the report with its true cause, and whether the task is put back as if it had not been started."""
        key = report.task, report.attempt
        peak = max(self.guard.peaks.pop(key, 0), report.usage.peak_memory or 0)
        if peak:
            self._peaks[report.task] = peak
            report = replace(report, usage=replace(report.usage, peak_memory=peak))
        one = self._evicted.pop(key, None)
        if report.error is None:
            self._peaks.pop(report.task, None)
            return report, False  # it was done before it could be stopped, or nobody wanted to
        if one is None:
            return (self._by_the_kernel(report) if report.cause is Cause.LOST else report), False
        capped = one.limit is not None and one.used > one.limit
        own = capped or (one.demand > 0 and one.has_grown)  # who said nothing has something to keep to from now on
        name, used = self._engine.names[report.task], format_amount("memory", one.used)
        if capped:
            said = format_amount("memory", one.limit or 0)
            reason = f"its processes used {used}, more than its memory_limit of {said}; raise it or let them use less"
        else:
            asked = f"memory={format_amount('memory', one.demand)}" if one.demand else "none"
            reason = f"the memory guard stopped it, which used {used} and had asked for {asked}; give it the memory= it needs"
        return replace(report, error=TaskFailed(name, reason, Cause.OOM, report.attempt), cause=Cause.OOM), not own

    def _by_the_kernel(self, report: Report) -> Report:
        """Return a report of a lost process with the cause OOM, when the kernel says that it killed one for memory."""
        kills = oom_kills(self._groups)
        if kills is None or self._kills is None or kills <= self._kills:
            return report
        self._kills += 1  # one kill explains one lost process
        return replace(report, cause=Cause.OOM)

    def raised_shape(self, task: int, attempt: int) -> int:
        """Return the core's number of what the next attempt asks for, after memory ended this one."""
        engine = self._engine
        spec, now = engine.specs[task], self.demand(task)
        bounds = [bound for bound in (engine.limits.amounts.get("memory"), spec.memory_limit) if bound is not None]
        peak = self._peaks.pop(task, None)
        memory = now.memory
        if peak is None or peak > memory:  # one that was stopped within its demand asks for the same again
            memory = raised(now.memory, peak, min(bounds, default=None))
        self.demands[task] = demand = replace(now, memory=memory)
        # What this task was seen to need outweighs what is guessed for its function.
        return engine.shape_of(replace(spec, demand=demand, declared=spec.declared | {"memory"}))

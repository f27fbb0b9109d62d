"""What is asked when an attempt begins and when it has ended: may it, does its result count, is there another, when.

Most tasks have none of these rules and never come here. Where one does, a `Gate` stands in the functions table for its
function, so that the question is asked where the attempt begins: the native worker loop tells nobody of a start.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock import _core
from penstock.breaker import Breaker, BreakerChange, BreakerState
from penstock.errors import BreakerOpen, OptionError, ResultRefused, message_of
from penstock.observe.events import EventKind
from penstock.retry import Failure
from penstock.states import Cause, State
from penstock.tenacity_retry import TenacityRetry

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.options import TaskSpec

__all__ = ["Attempts", "Gate", "without_gate"]

NS = 1_000_000_000
AT_RISK = 0.1
"""A task without a known run time is late in danger when this share of the time to its deadline is left."""


class Gate:
    """A function of a task with rules for the beginning and the end of an attempt, on one of the engine's threads."""

    __slots__ = ("_engine", "function")

    def __init__(self, engine: Engine, function: Callable[..., Any]) -> None:
        self._engine = weakref.ref(engine)  # the table that this stands in is the engine's own, and native
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        engine = self._engine()
        assert engine is not None
        task, attempt = _core.current_task(), _core.current_attempt()
        engine.attempts_of.begin(task, attempt)
        value = self.function(*args, **kwargs)
        engine.attempts_of.succeed(task, attempt, value)
        return value


def without_gate(error: BaseException) -> BaseException:
    """Return the error with a traceback that begins in the user's own code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is Gate.__call__.__code__:
        trace = trace.tb_next
    return error.with_traceback(trace)


class Attempts:
    """The rules of one run's attempts, and what they know. Guarded by the engine's lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine = weakref.proxy(
            engine
        )  # which holds this: a cycle would keep an ended run's descriptors open
        self._breakers: dict[str, BreakerState] = {}
        self._began_ns: dict[int, int] = {}  # the first attempt, of tasks that have failed or have a total timeout
        self._waited_ns: dict[int, int] = {}
        self.overdue: set[int] = set()  # tasks whose time for all attempts is over

    # ------------------------------------------------------------------------------------------------ submission

    def know(self, spec: TaskSpec) -> None:
        """Take note of a task's breaker before it is submitted.

        Raises:
            OptionError: another task has the same breaker with other settings.
        """
        if spec.breaker is None:
            return
        known = self._breakers.setdefault(spec.breaker.name, BreakerState(spec.breaker)).rule
        if known != spec.breaker:
            raise OptionError(
                f"task {spec.name!r}: breaker={spec.breaker!r}, but another task has {known!r}; "
                "tasks that share a breaker give it the same settings. Make one Breaker and pass it to all."
            )

    def watch_deadline(self, task: int, spec: TaskSpec, now_ns: int) -> None:
        """See to it that a task's deadline is looked at shortly before it passes, and when it does."""
        if spec.deadline_s is None:
            return
        timers = self._engine.timers
        spare_s = spec.deadline_s * AT_RISK if spec.duration_s is None else min(spec.duration_s, spec.deadline_s)
        due_ns = now_ns + int(spec.deadline_s * NS)
        timers.at(due_ns - int(spare_s * NS), partial(self._near_deadline, task, due_ns))
        timers.at(due_ns, partial(self._at_deadline, task))

    def _near_deadline(self, task: int, due_ns: int) -> None:
        engine = self._engine
        state = State(engine.scheduler.state(task))
        # One that runs and is said to need so long began too late only if it has just begun; it is given the benefit.
        if state.is_final or (state == State.RUNNING and engine.specs[task].duration_s is not None):
            return
        left_ns = max(0, due_ns - time.monotonic_ns())
        engine.log.append(int(EventKind.DEADLINE_AT_RISK), task=task, value=left_ns, state=int(state))

    def _at_deadline(self, task: int) -> None:
        state = State(self._engine.scheduler.state(task))
        if not state.is_final:
            attempt = self._engine.scheduler.attempt(task)
            self._engine.log.append(int(EventKind.DEADLINE_MISSED), task=task, attempt=attempt, state=int(state))

    # ------------------------------------------------------------------------------------------------- an attempt

    def begin(self, task: int, attempt: int) -> None:
        """Let an attempt begin, of a task whose spec `is_watched`.

        Raises:
            BreakerOpen: its breaker is open.
        """
        engine = self._engine
        with engine.lock:
            if task in engine.fell_back or not engine.is_running(task, attempt):
                return
            spec, now_ns = engine.specs[task], time.monotonic_ns()
            if task not in self._began_ns:
                self._began_ns[task] = now_ns
                if spec.total_timeout_s is not None:
                    engine.timers.at(now_ns + int(spec.total_timeout_s * NS), partial(self._time_is_over, task))
            if spec.breaker is not None:
                breaker = self._breakers[spec.breaker.name]
                probe_runs = breaker.probe is not None and engine.is_running(*breaker.probe)
                if not breaker.admits(task, attempt, now_ns, probe_runs=probe_runs):
                    raise BreakerOpen(engine.names[task], spec.breaker.name, breaker.in_a_row, breaker.last_error)

    def succeed(self, task: int, attempt: int, value: object) -> None:
        """Take an attempt's result, of a task whose spec `is_watched`.

        Raises:
            ResultRefused: the retry rule wants another attempt.
        """
        engine = self._engine
        with engine.lock:
            if task in engine.fell_back or not engine.is_running(task, attempt):
                return
            spec = engine.specs[task]
            rule, failed = spec.retry, engine.failures.get(task, 0)
        if isinstance(rule, TenacityRetry) and rule.refuses(value, failed + 1):
            raise ResultRefused(engine.names[task], value)
        if spec.breaker is not None:
            with engine.lock:
                change = self._breakers[spec.breaker.name].succeeded(task, attempt)
            if change is BreakerChange.CLOSED:
                engine.log.append(int(EventKind.BREAKER_CLOSED), task=task, attempt=attempt)

    def next_attempt(self, task: int, attempt: int, cause: Cause, error: BaseException, started_ns: int) -> int | None:
        """Return the instant of the attempt after one that failed, in ns, or None: the task has failed.

        What that attempt calls is in the tables then: the function again, or what stands in for it.
        """
        engine = self._engine
        spec, now_ns = engine.specs[task], time.monotonic_ns()
        refused = isinstance(error, BreakerOpen)
        if refused:
            engine.gathered.setdefault(task, []).append(attempt)  # nothing was called
        else:
            engine.failures[task] = engine.failures.get(task, 0) + 1
            began_ns = self._began_ns.setdefault(task, started_ns)
            if spec.breaker is not None and task not in engine.fell_back and cause is not Cause.CANCELLED:
                self._breaker_failed(task, attempt, spec.breaker, error, now_ns)
        if engine.stopping:
            return None
        if task not in engine.fell_back and task not in self.overdue and not refused:
            waited_ns = self._waited_ns.get(task, 0)
            failure = Failure(engine.failures[task], cause, error, (now_ns - began_ns) / NS, waited_ns / NS)
            wait_s = spec.retry.next_wait_s(failure, engine.rng)
            over_s = spec.total_timeout_s
            if wait_s is not None and (over_s is None or failure.elapsed_s + wait_s < over_s):
                self._waited_ns[task] = waited_ns + int(wait_s * NS)
                return now_ns + int(wait_s * NS)
        if engine.fall_back(task):
            engine.log.append(int(EventKind.FALLBACK), task=task, attempt=attempt, cause=int(cause))
            return now_ns
        return None

    def _breaker_failed(self, task: int, attempt: int, rule: Breaker, error: BaseException, now_ns: int) -> None:
        breaker = self._breakers[rule.name]
        breaker.last_error = f"{type(error).__name__}: {message_of(error)}".removesuffix(": ")
        if breaker.failed(task, attempt, now_ns) is BreakerChange.OPENED:
            self._engine.log.append(int(EventKind.BREAKER_OPENED), task=task, attempt=attempt, value=breaker.in_a_row)

    def _time_is_over(self, task: int) -> None:
        """End a task whose attempts together have had their time, whatever it is doing."""
        engine = self._engine
        with engine.lock:
            state, attempt = State(engine.scheduler.state(task)), engine.scheduler.attempt(task)
            if state.is_final or task in engine.fell_back:
                return
            self.overdue.add(task)
            limit_s = engine.specs[task].total_timeout_s
            error = TimeoutError(
                f"all attempts of task {engine.names[task]!r} together took longer than its total_timeout of {limit_s:g} s"
            )
            engine.log.append(int(EventKind.TIMED_OUT), task=task, attempt=attempt, value=int((limit_s or 0) * NS))
            if state != State.RUNNING:
                engine.errors[task] = error
                if state != State.WAITING and engine.fall_back(task):  # it is in a queue already
                    engine.log.append(int(EventKind.FALLBACK), task=task, attempt=attempt, cause=int(Cause.TIMEOUT))
                    return
        if state == State.RUNNING:
            engine.give_up(task, attempt, error)
        else:
            engine.cancel([task], Cause.TIMEOUT)
            engine.heed_failure([task])

    def release(self, task: int) -> None:
        """Forget a task that has ended."""
        self._began_ns.pop(task, None)
        self._waited_ns.pop(task, None)
        self.overdue.discard(task)

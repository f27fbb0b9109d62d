"""One pipeline, running: the live handle `Run`, which ends with a `RunResult`."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from penstock.engine import Engine, first_of_each
from penstock.errors import OptionError, PenstockError
from penstock.explain import why
from penstock.interrupts import INTERRUPT, Mailbox, heed_interrupts
from penstock.learning import Expectations, learn
from penstock.observe.attach import Observers, attach
from penstock.observe.events import EventKind
from penstock.observe.text import interrupted_text
from penstock.planning import PLAN_BUDGET_S, check_budget, places
from penstock.policies import Policy, resolve
from penstock.preemption import GAP, preemption_of
from penstock.result import RunResult
from penstock.states import State
from penstock.task import Call
from penstock.unfinished import tell_if_cut_off
from penstock.units import parse_duration

if TYPE_CHECKING:
    from penstock.executors import Usage
    from penstock.future import Future
    from penstock.journal.keeper import Journal
    from penstock.keeping import Keeping
    from penstock.masking import Mask
    from penstock.observe.protocol import Table
    from penstock.observe.subscription import Subscription
    from penstock.options import TaskSpec
    from penstock.pipeline import FrozenPipeline, Pipeline
    from penstock.questions import Questions

__all__ = ["Run"]

T = TypeVar("T")
_log = logging.getLogger("penstock")
KILLED_S = 1.0
"""How long what is killed after Ctrl-C may take to clean up; then processes get SIGKILL and threads are left behind."""
FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED)


class View:
    """A run as its observers see it; see `observe.protocol.RunView`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.cursors: weakref.WeakSet[Subscription] = engine.cursors
        self.name = name
        self.started_at = time.time()
        self.log = engine.log
        self.names: Table[str] = engine.names
        self.specs: Table[TaskSpec] = engine.specs
        self.usage: Mapping[int, Usage] = MappingProxyType(engine.usage)

    @property
    def workers(self) -> int:
        return self._engine.workers

    @property
    def capacity(self) -> Mapping[str, int | None]:
        return self._engine.limits.machine

    @property
    def limits(self) -> Mapping[str, int]:
        return self._engine.limits.amounts

    def predecessors(self, task: int) -> Sequence[int]:
        return self._engine.predecessors(task)

    def error(self, task: int) -> BaseException | None:
        return self._engine.errors.get(task)

    def why(self, task: int) -> str:
        return why(self._engine, task)


class Run:
    """A pipeline that is running. Made by `Pipeline.start`; all methods may be called from any thread.

    Tasks are named by their call or by their name. A run whose handle is dropped goes on to its end, and then lets go of
    its threads and processes; when tasks of it failed, that is logged. It ends with the interpreter, as all threads do, and that is logged too when
    tasks of it had not ended.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        policy: str | Policy = "hybrid",
        limits: Mapping[str, object] | None = None,
        overcommit: float | None = None,
        preempt: str = "off",
        preempt_gap: float = GAP,
        workers: int | None = None,
        on_event: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
        alerts: Any = (),
        progress: bool | str = "auto",
        trace: Any = None,
        on_failure: str = "continue",
        timeout: Any = None,
        secret: str | Iterable[str] = (),
        grace_s: float = 10.0,
        plan_budget: float = PLAN_BUDGET_S,
        keeping: Keeping | None = None,
        news: Mailbox | None = None,
    ) -> None:
        if on_failure not in ("continue", "stop", "finish_running"):
            raise OptionError(f"on_failure={on_failure!r}: allowed is 'continue', 'stop' or 'finish_running'.")
        timeout_s = _timeout_s(timeout)
        _check_seconds("grace_s", grace_s)
        plan_budget_s = check_budget(plan_budget)
        frozen = pipeline.freeze()
        self._grace_s = grace_s
        self._presses = 0  # of Ctrl-C
        self._kill_until: float | None = None
        self._news = Mailbox() if news is None else news
        self._result: RunResult | None = None
        self._ending = threading.Lock()
        self._engine = Engine(
            policy=resolve(policy),
            limits=limits,
            workers=workers,
            overcommit=overcommit,
            preempt=preemption_of(preempt, preempt_gap),
        )
        self._engine.scheduler.want_idle(True)  # for `done`
        self._engine.on_failure = on_failure
        self._engine.mask = mask_of(secret)
        for name, spec in first_of_each(zip(frozen.names, [call.spec for call in frozen.calls], strict=True)):
            # Refused before there is a display, and before an older trace is overwritten.
            self._engine.limits.check(name, spec.demand)
        self._view = View(self._engine, frozen.name)
        tell_if_cut_off(self._engine, f"run {frozen.name!r}")
        self._observers: Observers | None = None
        self._when_dropped: weakref.finalize[..., Run] | None = None
        self._journal: Journal | None = None
        self._questions: Questions | None = None
        try:
            if keeping is not None and keeping.folder is not None:
                options: dict[str, Any] = {
                    "policy": policy,
                    "limits": limits,
                    "overcommit": overcommit,
                    "preempt": preempt,
                    "preempt_gap": preempt_gap,
                    "workers": workers,
                    "on_failure": on_failure,
                    "timeout": timeout_s,
                    "plan_budget": plan_budget_s,
                }
                options |= keeping.kept_options
                if self._engine.mask is not None:
                    options["secret"] = list(self._engine.mask.names)
                self._journal = _journal(self._engine, keeping, frozen, options)
            self._observers = attach(self._view, on_event=on_event, alerts=alerts, progress=progress, trace=trace)
            if self._journal is not None:
                self._journal.begin()
            if keeping is not None and (keeping.target is not None or self._journal is not None):
                # From the command line, or of a script; a short run of a test or a notebook does not pay for it.
                self._questions = _questions(self._engine, self._view, keeping.target, self._journal)
            self._engine.log.append(int(EventKind.RUN_STARTED))
            if timeout_s is not None:
                self._engine.end_after(timeout_s)
            if frozen.calls:
                policy, kept = self._engine.policy, self._engine.limits
                known = Expectations.of(frozen, self._journal)
                planned = places(
                    frozen,
                    kept,
                    policy,
                    workers=workers,
                    budget_s=known.worth(plan_budget_s, kept),
                    durations_s=known.seconds,
                )
                self._engine.submit_calls(frozen.calls, frozen.names, planned, known.column)
                learn(self._engine, frozen.calls, known.column, planned=planned is not None)
        except BaseException:
            self._end()
            raise
        self._when_dropped = weakref.finalize(
            self, _end_without_handle, self._engine, self._view, self._observers, self._journal, self._questions
        )
        self._when_dropped.atexit = False

    # --------------------------------------------------------------------------------------------------- control

    def set_priority(self, task: object, priority: float) -> None:
        """Give a task another priority; it counts at once, also while the task waits among ready ones.

        Raises:
            OptionError: the task is not of this run, or the priority is not finite.
        """
        self._engine.set_priority(self._engine.id_of(task), priority)

    def set_policy(self, policy: str | Policy) -> None:
        """Rank all waiting tasks by another policy from now on."""
        self._engine.set_policy(resolve(policy))

    def set_limits(self, limits: Mapping[str, object] | None) -> None:
        """Change how much of the machine may be used; what runs goes on, what starts keeps to the new limits.

        Raises:
            ResourceError: a task that has not ended could never start under them; nothing is changed.
        """
        self._engine.set_limits(limits)

    def pause(self) -> None:
        """Start nothing more until `resume`; what runs goes on."""
        self._engine.scheduler.pause()

    def resume(self) -> None:
        """Start tasks again."""
        self._engine.scheduler.resume()

    def cancel(self, *tasks: object) -> None:
        """End tasks, and with them what depends on them; without arguments, all that have not ended.

        A process or command is killed. A thread cannot be: its function goes on, its result is dropped, and its
        resources are free when it returns.
        """
        engine = self._engine
        if tasks:
            engine.cancel([engine.id_of(task) for task in tasks])
        else:
            engine.stop_starting()
            engine.kill_running()

    # -------------------------------------------------------------------------------------------------- watching

    def state(self, task: object) -> State:
        """The state of a task now."""
        return State(self._engine.scheduler.state(self._engine.id_of(task)))

    def why(self, task: object) -> str:
        """One sentence: why a task is not running now."""
        return why(self._engine, self._engine.id_of(task))

    @overload
    def future(self, task: str) -> Future[Any]: ...
    @overload
    def future(self, task: Call[T]) -> Future[T]: ...
    @overload
    def future(self, task: T) -> Future[T]: ...
    def future(self, task: Any) -> Future[Any]:
        """A future of one task's result."""
        from penstock.future import Future

        return Future.of(self._engine, self._engine.id_of(task))

    @property
    def view(self) -> View:
        return self._view

    @property
    def done(self) -> bool:
        return self._engine.idle.is_set()

    def wait(self, timeout: float | None = None) -> RunResult:
        """Block until the run has ended and return its result; several threads may.

        On the main thread, Ctrl-C stops starting tasks and waits for the running ones, at most the run's grace time; a
        second one kills them. What has finished is kept, and the result says `interrupted`.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            TimeoutError: the run has not ended; it goes on.
        """
        if self._result is not None:
            return self._result
        # Ctrl-C comes to the main thread alone, and what it says must not get lost between two waits.
        news = self._news if threading.current_thread() is threading.main_thread() else Mailbox()
        self._engine.on_idle(news)
        try:
            with heed_interrupts(news):
                return self._wait(news, timeout)
        finally:
            self._engine.forget_news(news)

    def _wait(self, mailbox: Mailbox, timeout: float | None) -> RunResult:
        engine = self._engine
        until = None if timeout is None else time.monotonic() + timeout
        while not engine.idle.is_set():
            if self._presses > 1 and self._kill_until is None:
                self._say_interrupted(0)
                engine.kill_running()
                self._kill_until = until = time.monotonic() + KILLED_S
            news = mailbox.get(None if until is None else max(0.0, until - time.monotonic()))
            if news is None:
                if self._kill_until is not None:
                    break  # a thread that does not return is left behind
                if self._presses == 0:
                    raise TimeoutError(f"run {self._view.name!r} has not ended after {timeout:g} s; it goes on.")
                self._presses = 2  # the grace time is over
                continue
            if news == INTERRUPT:
                self._presses += 1
                if self._presses == 1:
                    self._say_interrupted(self._grace_s)
                    engine.stop_starting()
                    until = time.monotonic() + self._grace_s
        return self._end()

    def _say_interrupted(self, left_s: float) -> None:
        """Log a Ctrl-C and what it leads to; who has no display to show it gets a line on standard error."""
        running = self._engine.scheduler.count_state(0, len(self._engine.names), int(State.RUNNING))
        self._engine.log.append(int(EventKind.INTERRUPTED), worker=running, value=round(left_s * 1e9))
        if sys.stderr is not None and not (self._observers is not None and self._observers.show_progress):
            with suppress(OSError, ValueError):  # standard error is closed
                print(f"penstock: {interrupted_text(running, left_s)}", file=sys.stderr, flush=True)

    def _end(self) -> RunResult:
        engine = self._engine
        with self._ending:
            if self._result is None:
                if self._when_dropped is not None:
                    self._when_dropped.detach()
                if self._questions is not None:
                    self._questions.close()
                if engine.bug is not None:
                    engine.close()
                    if self._journal is not None:
                        self._journal.close("unfinished")
                    raise engine.bug
                engine.log.append(int(EventKind.RUN_FINISHED))
                engine.close(kill_s=None if self._kill_until is None else KILLED_S)
                if self._observers is not None:
                    self._observers.close()
                result = RunResult(engine, self._view, interrupted=self._presses > 0)
                if self._journal is not None:
                    result.keep(self._journal)
                self._result = result
            return self._result

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is not None:
            self.cancel()
        self.resume()  # nobody else could any more
        self.wait()

    def __repr__(self) -> str:
        left = self._engine.scheduler.unfinished
        return f"<Run {self._view.name!r}: {len(self._engine.names) - left} of {len(self._engine.names)} tasks ended>"


def _end_without_handle(
    engine: Engine,
    view: View,
    observers: Observers | None,
    journal: Journal | None,
    questions: Questions | None,
) -> None:
    """Let a run that nobody holds any more end by itself.

    Called by the garbage collector, on whatever thread and whatever that thread holds, so all is left to another one.
    """

    def end() -> None:
        engine.scheduler.resume()  # nobody else could any more
        engine.idle.wait()
        if questions is not None:
            questions.close()
        engine.log.append(int(EventKind.RUN_FINISHED))
        engine.close()
        if observers is not None:
            observers.close()
        if journal is not None:
            RunResult(engine, view, interrupted=False).keep(journal)
        failed = [name for task, name in enumerate(view.names) if engine.scheduler.state(task) == State.FAILED]
        if engine.bug is not None:  # there is nobody to raise it to
            _log.error("run %r, whose handle was dropped, was cut off", view.name, exc_info=engine.bug)
        if failed:
            _log.warning(
                "run %r, whose handle was dropped, has ended with failed tasks: %s", view.name, ", ".join(failed)
            )

    with suppress(RuntimeError):  # the interpreter is ending
        threading.Thread(target=end, name="penstock-run-end", daemon=True).start()


def _check_seconds(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise OptionError(f"{option}={value!r}: allowed is a number of seconds from 0 up.")


def _journal(engine: Engine, keeping: Keeping, frozen: FrozenPipeline, options: dict[str, Any]) -> Journal | None:
    """Open the store that a run asked for, decide what of an earlier process is taken over, and say so."""
    from penstock.journal.keeper import open_journal

    options["policy"] = asdict(resolve(options["policy"]))
    options["limits"] = None if options["limits"] is None else {k: str(v) for k, v in options["limits"].items()}
    journal = open_journal(engine, keeping, frozen.name, options)
    if journal is None:
        return None
    try:
        engine.recall = journal.recall
        if journal.commits_each:
            engine.journal = journal
        journal.recall.check_names(frozen.names)
        if journal.past is not None:
            journal.recall.plan(frozen.calls, frozen.names)
            if sys.stderr is not None:
                with suppress(OSError, ValueError):  # standard error is closed
                    for line in journal.plan_lines(len(frozen.calls)):
                        print(f"penstock: {line}", file=sys.stderr, flush=True)
    except BaseException:
        journal.close("unfinished")
        raise
    return journal


def _questions(engine: Engine, view: View, target: str | None, journal: Journal | None) -> Questions | None:
    """Let other processes ask about the run; see `questions`, which is imported only where there are some."""
    from penstock.questions import open_questions

    return open_questions(view, engine.id_of, {"target": target, "number": None if journal is None else journal.number})


def mask_of(secret: str | Iterable[str]) -> Mask | None:
    """Return what hides the values of these environment variables; None when there are none to hide.

    Raises:
        OptionError: they are no names.
    """
    if not secret:
        return None
    from penstock.masking import Mask

    return Mask(secret)


def _timeout_s(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    try:
        return parse_duration(value, "timeout")
    except PenstockError as error:
        raise OptionError(str(error)) from None

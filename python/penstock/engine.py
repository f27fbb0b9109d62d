"""Drives one scheduler with real workers and the real clock. `Run` and `Runtime` are what users see of it.

The engine decides nothing about order: it hands what the core starts to a worker, and what workers report to the
core. Functions, arguments and results are kept here in lists by task id; the core sees numbers.

Threads: the crew's workers (native loop, `Crew.work`), one control thread that feeds the executors of processes and
commands (`lanes`), keeps timeouts and sees the end, and one sampler of the probes (`admission`). None of them polls.
Whatever one of them raises is a bug of ours and ends the run (`broken`).

What a user hung on a future is called without the engine's lock: it may wait for a thread that needs it.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

from penstock import _core, context, forked
from penstock.admission import Admission
from penstock.attempts import Attempts, Gate, without_gate
from penstock.bookkeeping import Bookkeeping
from penstock.errors import (
    Cancelled,
    CycleError,
    InternalError,
    OptionError,
    PenstockError,
    ResourceError,
    failure_of,
)
from penstock.inputs import Input
from penstock.interrupts import IDLE, Mailbox
from penstock.lanes import LANES, Lanes
from penstock.observe.events import EventKind
from penstock.preemption import Preemption
from penstock.protection import Protection
from penstock.resources import Demand, Limits
from penstock.states import Cause, State
from penstock.task import Call, call_of
from penstock.thread_context import ThreadContext, enter_worker
from penstock.timers import Timers

if TYPE_CHECKING:
    from penstock.executors import Report
    from penstock.journal.keeper import Journal
    from penstock.journal.recall import Recall
    from penstock.learning import Learning
    from penstock.masking import Mask
    from penstock.observe.subscription import Subscription
    from penstock.options import TaskSpec
    from penstock.policies import Policy
    from penstock.tidying import Tidying

__all__ = ["Engine", "first_of_each"]

MOST_WORKERS = 64
MOST_PLAIN = 1024
NS = 1_000_000_000


class Engine(Bookkeeping):
    """One scheduler, its tables and its workers.

    Args:
        policy: how ready tasks are ranked.
        limits: as `Limits.parse` takes them; None for the whole machine.
        workers: threads of the threads lane; None for as many as the machine's cores and the tasks' demands call for,
            at most MOST_WORKERS.
        overcommit: as `Admission` takes it.
        preempt: how, and from which gap of priorities on; None: not. See `preemption`.
        seed: of the retries' jitter.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        limits: Mapping[str, object] | None,
        workers: int | None,
        overcommit: float | None = None,
        preempt: tuple[str, float] | None = None,
        seed: int | None = None,
    ) -> None:
        if workers is not None and (type(workers) is not int or not 1 <= workers <= 4096):
            raise OptionError(f"workers={workers!r}: allowed is a whole number from 1 to 4096, or None to choose.")
        super().__init__()
        self.admission = Admission(limits, self.broken, overcommit=overcommit, roots=lambda: self._lanes.roots())
        self.scheduler = _core.Scheduler(self.admission.gpus)
        self.log = self.scheduler.log
        self.policy = policy
        self.scheduler.set_policy(*policy.to_core())
        self._fixed_workers = workers
        self._most_workers = workers or MOST_WORKERS
        self._crew: _core.Crew | None = None  # holds the engine where the garbage collector cannot see it; see `close`
        self.rng = random.Random(seed)
        self.lock = threading.RLock()  # submissions and reports that touch several tables
        self._threads: list[threading.Thread] = []
        self._control: threading.Thread | None = None
        self._lanes = Lanes(self)
        self.protection = Protection(self, self._lanes)
        self.guard = self.protection.guard
        self.preemption = None if preempt is None else Preemption(self, self._lanes, *preempt)
        self._shapes: dict[tuple[Demand, int, int], int] = {}  # by demand, lane and family
        self._of_memory: set[int] = set()  # shapes that need memory, of the machine or of a GPU
        self.custom: list[str] = []
        self.stopping = False
        self.timed_out = False  # the whole run
        self._closed = False
        self._afterwards: Callable[[], object] | None = (
            None  # what is called once it has closed itself: `close_when_idle`
        )
        self.mask: Mask | None = None  # of what `secret=` names
        self.on_failure = "continue"  # or "stop", "finish_running": what the first task that fails for good means
        self.journal: Journal | None = None  # makes each success durable before it is told; see `deferred`
        self.recall: Recall | None = None  # knows what need not run again
        self.learning: Learning | None = None  # tells the core what run times to expect, as the run shows them
        self.skips: list[tuple[int, list[str]]] = []  # which task had which others skipped
        self.timers = Timers(self.scheduler.ring)
        self.attempts_of = Attempts(self)
        self._idle_news: list[Mailbox] = []
        self._plain: dict[int, tuple[TaskSpec, Limits, int]] = {}  # what `submit_plain` knows of a spec, by its id()
        self._luck, self._luck_tries = 1, 0
        self.idle = threading.Event()  # set when no task is unfinished and somebody wants to hear it: `want_idle`
        self.idle.set()
        self.tidying: Tidying | None = None  # of a long-lived runtime: lets go of what ended long ago
        self.cursors: weakref.WeakSet[Subscription] = weakref.WeakSet()  # readers of the log
        self.admission.attach(self.scheduler)
        self._pid = os.getpid()
        _live.add(self)

    @property
    def limits(self) -> Limits:
        return self.admission.limits

    # ------------------------------------------------------------------------------------------------- submitting

    def submit_calls(
        self,
        calls: Sequence[Call[Any]],
        names: Sequence[str] | None = None,
        places: array[int] | None = None,
        expected: array[int] | None = None,
    ) -> range:
        """Add calls; those that they depend on are in `calls` or in this engine already.

        `places`: of each in a plan, once a run; see `planning.places`. `expected`: run times in ns, 0: unknown; None: what
        the calls' `duration=` says.

        Raises:
            ResourceError: a task could never start; nothing was added.
            CycleError: named by the calls' names; nothing was added.
            PenstockError: the run is ending.
        """
        with self.lock:
            self._refuse_when_ending()
            specs = [call.spec for call in calls]
            names = self.unique_names(call.name for call in calls) if names is None else names
            for name, spec in first_of_each(zip(names, specs, strict=True)):
                self.limits.check(name, spec.demand)
                self.attempts_of.know(spec)
            indptr, indices = self.edges(calls)
            first = len(self.names)
            self.add_calls(calls, names)
            if self.recall is not None:
                specs = self._recalled(first, calls, names)
            try:
                self._submit(specs, indptr, indices, places, expected)
            except Exception:
                self._take_back(first)
                raise
            if self.tidying is not None:
                self.tidying.when_due(first)
            return range(first, first + len(calls))

    def _recalled(self, first: int, calls: Sequence[Call[Any]], names: Sequence[str]) -> list[TaskSpec]:
        """Let the rows of calls whose results an earlier process has committed give those; return the specs to submit."""
        recall = self.recall
        assert recall is not None
        specs = [call.spec for call in calls]
        if not recall.plan(calls, names):
            return specs
        for k, call in enumerate(calls):
            if (instead := recall.instead(call)) is not None:
                self.put_instead(first + k, *instead)
                recall.answered.add(first + k)
                specs[k] = recall.spec_of(call.spec)
            elif (asking := recall.function_of(self, call)) is not None:
                self.functions[first + k] = self.callable_of(call.spec, asking)
        return specs

    def submit_all(self, calls: Sequence[Call[Any]]) -> list[int]:
        """Add calls and what they depend on, unless they are here already; return the ids of `calls`.

        Raises:
            As `submit_calls`.
        """
        with self.lock:
            fresh = self.unsubmitted(calls)
            if fresh:
                self.submit_calls(fresh)
            return [self.ids[call] for call in calls]

    def submit_many(
        self,
        count: int,
        functions: Callable[..., Any] | Sequence[Callable[..., Any]],
        arguments: Sequence[Any] | _core.Inputs | None,
        spec: TaskSpec,
        *,
        priority: Any = None,
        indptr: Any = None,
        indices: Any = None,
    ) -> range:
        """Add tasks of one spec from arrays, without an object for each; see `Runtime.submit_many`."""
        with self.lock:
            self._refuse_when_ending()
            self.limits.check(spec.name, spec.demand)
            self.attempts_of.know(spec)
            first = len(self.functions)
            self.add_many(count, functions, arguments, spec)
            try:
                self._ensure_running([spec])
                shape = self._shape(spec)
                self._look_before([shape])
                _, settled = self.scheduler.submit(
                    count,
                    shape=shape,
                    priority=spec.priority if priority is None else priority,
                    indptr=indptr,
                    indices=indices,
                    **_times([spec], 1),
                )
            except Exception as error:
                self._take_back(first)
                if isinstance(error, _core.CycleError):
                    raise CycleError([f"{spec.name}[{k}]" for k in error.args[0]]) from None
                raise
            self.admission.wake()
            if spec.deadline_s is not None:
                self._watch_deadlines(first, [spec] * count)
            self.settled(settled)
            if self.tidying is not None:
                self.tidying.note_batch(range(first, first + count))
                self.tidying.when_due(first)
            return range(first, first + count)

    def _submit(
        self,
        specs: list[TaskSpec],
        indptr: array[int],
        indices: array[int],
        places: array[int] | None = None,
        expected: array[int] | None = None,
    ) -> None:
        self._ensure_running(specs)
        shapes = array("I", [self._shape(spec) for spec in specs])
        self._look_before(shapes)
        columns = _times(specs, len(specs))
        if expected is not None:
            columns["expected"] = expected
        try:
            _, settled = self.scheduler.submit(
                len(specs),
                shape=shapes,
                priority=array("d", [spec.priority for spec in specs]),
                indptr=indptr,
                indices=indices,
                place=places,
                **columns,
            )
        except _core.CycleError as error:
            base = len(self.names) - len(specs)
            raise CycleError([self.names[base + k] for k in error.args[0]]) from None
        if any(spec.deadline_s is not None for spec in specs):
            self._watch_deadlines(len(self.names) - len(specs), specs)
        self.admission.wake()  # after the core knows of it: the sampler rests when it sees nothing unfinished
        self.settled(settled)

    def _watch_deadlines(self, first: int, specs: Sequence[TaskSpec]) -> None:
        now = time.monotonic_ns()
        for task, spec in enumerate(specs, first):
            self.attempts_of.watch_deadline(task, spec, now)

    def callable_of(self, spec: TaskSpec, function: Any) -> Any:
        """Return what stands in the functions table: a gate, where an attempt must be asked about before it begins."""
        run = super().callable_of(spec, function)
        if not spec.is_watched or spec.executor != "threads" or run is None:
            return run
        return Gate(self, run)

    def _take_back(self, first: int) -> None:
        """Forget the rows that the core has refused, and let the control thread see that there may be nothing to do."""
        self.forget(first)
        self.scheduler.ring()

    def shape_of(self, spec: TaskSpec) -> int:
        """Return the core's number of a task's demand and lane."""
        return self._shape(spec)

    def _shape(self, spec: TaskSpec) -> int:
        family = self.admission.guesses.family(spec)
        key = (spec.demand, LANES[spec.executor], 0 if family is None else family.number)
        shape = self._shapes.get(key)
        if shape is None:
            for name, _ in spec.demand.custom:
                if name not in self.custom:
                    self.custom.append(name)
                    self.admission.add_custom(name, self.custom.index(name))
            vector = list(spec.demand.vector(self.custom))
            if key[1] == 0:
                vector += [0] * (_core.MAX_RESOURCES - len(vector))
                vector[_core.THREAD_SLOTS] = 1
            try:
                shape = self._shapes[key] = self.scheduler.shape(vector, key[1], key[2])
            except ValueError as error:  # there are too many
                raise ResourceError(f"task {spec.name!r}: {error}.") from None
            if family is not None:
                self.admission.ask(family)
            if family is not None or spec.demand.memory or spec.demand.gpu or spec.demand.gpu_memory:
                self._of_memory.add(shape)
        return shape

    def _look_before(self, shapes: Iterable[int]) -> None:
        """Let admission look at the machine before tasks are submitted of which some need memory of it or of a GPU."""
        if self._of_memory and not self._of_memory.isdisjoint(shapes):
            self.admission.look()

    def _refuse_when_ending(self) -> None:
        if self.bug is not None:
            raise self.bug
        if self.is_copy:
            raise PenstockError(
                f"this runtime was started by process {self._pid}, and its threads have stayed there; "
                "a process that was forked needs one of its own."
            )
        if self._closed or self.stopping:
            raise Cancelled("the run is ending, so it takes no more tasks.")

    # ---------------------------------------------------------------------------------------------------- threads

    def submit_plain(self, spec: TaskSpec, args: tuple[object, ...]) -> int:
        """Add one task of a function on threads, with arguments that hold no call; the quick way of `submit_calls`."""
        with self.lock:
            self._refuse_when_ending()
            prepared = self._plain.get(id(spec))
            if prepared is None or prepared[1] is not self.limits:
                self.limits.check(spec.name, spec.demand)
                if len(self._plain) >= MOST_PLAIN:
                    self._plain.clear()
                prepared = self._plain[id(spec)] = (spec, self.limits, self._shape(spec))
                self._ensure_running([spec])
            if prepared[2] in self._of_memory:
                self.admission.look()
            (name,) = self.unique_names((spec.name,))
            first = len(self.functions)
            self.add_plain(spec, name, args)
            if self.idle.is_set():
                self.idle.clear()
            try:
                self.scheduler.submit(1, shape=prepared[2], priority=spec.priority)
            except Exception:
                self._take_back(first)
                raise
            if self.tidying is not None:
                self.tidying.when_due(first)
        self.admission.wake()
        return first

    def ends_soon(self, task: int) -> bool:
        """Look for a moment whether a task ends, if that has paid lately; a thread that sleeps wakes up late."""
        if self._crew is None or self._luck == 0:
            self._luck_tries += 1
            if self._crew is None or self._luck_tries % 64:
                return False
        ends = self._crew.ends_soon(task)
        self._luck = min(self._luck + 1, 4) if ends else max(self._luck - 1, 0)
        return ends

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until nothing is unfinished; returns whether that came about within `timeout` seconds."""
        self.scheduler.want_idle(True)
        try:
            return self.idle.wait(timeout)
        finally:
            self.scheduler.want_idle(False)

    def _ensure_running(self, specs: Iterable[TaskSpec]) -> None:
        """Start what these tasks need: the control thread, workers, executors."""
        self.idle.clear()
        if self._control is None:
            self._control = threading.Thread(target=self._control_loop, name="penstock-control", daemon=True)
            self._control.start()
        for spec in {id(spec): spec for spec in specs}.values():
            lane = LANES[spec.executor]
            if lane == 0:
                self._ensure_workers(spec.demand.cpu)
            else:
                self._lanes.ensure(spec.executor)
        self.admission.wake()  # last: its first sample takes the GIL for milliseconds, and each new thread needs it to start

    def _ensure_workers(self, cpu: int) -> None:
        wanted = self._fixed_workers
        if wanted is None:
            cores = self.limits.amounts.get("cpu", 1000)
            wanted = min(MOST_WORKERS, max(ceil(cores / max(cpu, 100)), ceil(cores / 1000)))
        if len(self._threads) >= wanted:
            return
        if self._crew is None:
            self._crew = _core.Crew(
                self.scheduler,
                functions=self.functions,
                arguments=self.arguments,
                results=self.results,
                watch=self.watch,
                deferred=Input,
                hooks=self,
                most_workers=self._most_workers,
                tell_each=self.journal is not None,
            )
        while len(self._threads) < wanted:
            number = len(self._threads)
            thread = threading.Thread(
                target=self._worker, args=(self._crew, number), name=f"penstock-worker-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self.scheduler.set_capacity(_core.THREAD_SLOTS, len(self._threads))

    @property
    def workers(self) -> int:
        return len(self._threads)

    def _worker(self, crew: _core.Crew, number: int) -> None:
        enter_worker(self)
        try:
            crew.work(number)
        except BaseException as bug:  # noqa: BLE001  what tasks raise does not come here
            self.broken(bug)
        finally:
            # The traceback of what a task raised keeps this frame, and a cycle through the native crew is never collected.
            del crew

    def _control_loop(self) -> None:
        try:
            while not self._closed:
                self._look_around()
        except BaseException as bug:  # noqa: BLE001  nobody else would see the end of the run
            self.broken(bug)

    def _look_around(self) -> None:
        """Do what is due, then sleep until something else may be."""
        scheduler = self.scheduler
        epoch = scheduler.control_epoch()
        self.timers.run_due(time.monotonic_ns())
        for task, attempt, lane in scheduler.expire():
            self._timed_out(task, attempt, lane)
        for lane in (1, 2):
            # The take also ends backoffs that are due, so it is made for both lanes, used or not.
            while started := scheduler.take(lane, 0):
                self._lanes.launch(lane, *started[0])
        if self.preemption is not None:
            self.preemption.look()
        if scheduler.unfinished == 0:
            with self.lock:
                if scheduler.unfinished == 0:
                    self.admission.rest()
                    self._tell_idle()
        if self._afterwards is not None and (scheduler.unfinished == 0 or self.bug is not None):
            self._close_itself()
            return
        if self.is_copy:  # a callback has forked, and this thread is the copy's only one
            forked.leave(None)
        wakeups = [due for due in (scheduler.next_wakeup, self.timers.next_due_ns) if due is not None]
        scheduler.wait_control(epoch, min(wakeups, default=None))

    def _timed_out(self, task: int, attempt: int, lane: int) -> None:
        limit = self.specs[task].timeout_s
        error = TimeoutError(f"task {self.names[task]!r} ran longer than its timeout of {limit:g} s")
        self.give_up(task, attempt, error, limit or 0.0)

    def give_up(self, task: int, attempt: int, error: TimeoutError, ran_s: float = 0.0) -> None:
        """End an attempt whose time is over; its executor's own report comes late then, and frees what it holds."""
        now = time.monotonic_ns()
        self.attempt_failed(task, attempt, None, Cause.TIMEOUT, error, now - int(ran_s * NS), now)
        self._lanes.kill(task, attempt)

    def is_running(self, task: int, attempt: int) -> bool:
        """Return whether this attempt has not ended, and has not been given up."""
        return self.scheduler.attempt(task) == attempt and self.scheduler.state(task) == State.RUNNING

    def reported(self, report: Report, lease: int) -> None:
        """Take an executor's report; called on its thread."""
        task, attempt, started, finished = report.task, report.attempt, report.started_ns, report.finished_ns
        report, put_back = self.protection.judged(report)
        if self.preemption is not None:
            put_back = self.preemption.gave_way(report) or put_back
        with self.lock:
            report = self.admission.end(report, self.specs[task], learns=task not in self.fell_back)
            self.note_usage(report)
        if put_back:
            self.put_back(task, attempt, lease, report.cause, started, finished)
        elif report.error is not None:
            self.attempt_failed(task, attempt, lease, report.cause, report.error, started, finished)
        elif (refused := self._refusal(task, attempt, report.value)) is not None:
            self.attempt_failed(task, attempt, lease, Cause.EXCEPTION, refused, started, finished)
        else:
            self.deferred(task, attempt, lease, report.value, started, finished)

    def _refusal(self, task: int, attempt: int, value: object) -> BaseException | None:
        """Tell the rules of a watched task that a process or command has ended well; returns what they object to."""
        if not self.specs[task].is_watched or self.is_gather(task):
            return None
        try:
            self.attempts_of.succeed(task, attempt, value)
        except Exception as error:  # noqa: BLE001  the rule may be the user's
            return error
        return None

    # ---------------------------------------------------------------------------------------- hooks of the crew

    def bind(self, task: int, entry: object) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the arguments of a task whose table entry needs results put in; called by a worker."""
        return self.bound(task)

    def failed(
        self, task: int, attempt: int, lease: int | None, error: BaseException, started: int, finished: int
    ) -> None:
        """Deal with what a task raised; called by a worker."""
        try:
            error = failure_of(self.names[task], attempt, without_gate(error))
            self.attempt_failed(task, attempt, lease, Cause.EXCEPTION, error, started, finished)
        except BaseException as bug:  # noqa: BLE001  a bug of ours must end the run, not this worker
            self.broken(bug)

    def deferred(self, task: int, attempt: int, lease: int | None, value: object, started: int, finished: int) -> None:
        """Take what a task returned. When there are calls in it, it waits for them, and its result is then theirs."""
        try:
            calls = self.calls_in(value)
            if not calls:
                if self.journal is not None:
                    self.journal.finished(task, attempt, value)
                with self.lock:
                    if self.is_running(task, attempt):
                        self.results[task] = value
                self.scheduler.finish(task, attempt, lease, started, finished)
                self.settled([task])
                return
            failure: PenstockError | None = None
            settled: list[int] = []
            with self.lock:  # held until the core knows, or a timeout between the two would retry the wrong row
                if not self.is_running(task, attempt):
                    self.scheduler.finish(task, attempt, lease, started, finished)  # late: counted and dropped
                    return
                try:
                    children = self.submit_all(calls)
                    self.become_gather(task, value, children)
                    accepted, settled = self.scheduler.defer(task, attempt, lease, children)
                    if not accepted:  # cancelled just now
                        self.undo_gather(task)
                except _core.CycleError as error:
                    self.undo_gather(task)
                    failure = CycleError([self.names[k] for k in error.args[0]])
                except PenstockError as error:
                    failure = error
            if failure is not None:
                self.attempt_failed(task, attempt, lease, Cause.EXCEPTION, failure, started, finished)
            self.settled(settled)
        except BaseException as bug:  # noqa: BLE001  a bug of ours must end the run, not this worker
            self.broken(bug)

    def end_copy(self, error: BaseException | None) -> None:
        """In a process that a task forked, when it comes back from the task: end it; the run is its parent's."""
        forked.leave(error)

    def attempt_failed(
        self,
        task: int,
        attempt: int,
        lease: int | None,
        cause: Cause,
        error: BaseException,
        started: int,
        finished: int,
    ) -> None:
        """Retry, fall back, or fail. A late report changes nothing but the lease that ends with it."""
        scheduler = self.scheduler
        if self.mask is not None:
            error = self.mask.cleaned(error, self.names[task])
        with self.lock:
            retry_at = None
            if self.is_running(task, attempt):
                self.errors[task] = error
                self.leave_gather(task)  # a retry or fallback begins at the beginning
                try:
                    retry_at = self.attempts_of.next_attempt(task, attempt, cause, error, started)
                except Exception as problem:  # noqa: BLE001  a retry rule of the user's own may raise
                    problem.__context__ = error
                    self.errors[task] = problem if self.mask is None else self.mask.cleaned(problem, self.names[task])
            shape = None
            if cause is Cause.OOM and retry_at is not None and task not in self.fell_back:
                shape = self.protection.raised_shape(task, attempt)
            _, settled = scheduler.fail(task, attempt, lease, int(cause), retry_at, started, finished, shape)
        self.settled(settled)
        self.heed_failure(settled)

    def put_back(self, task: int, attempt: int, lease: int, cause: Cause, started: int, finished: int) -> None:
        """Let a task that was stopped for the sake of others start again. That is no failure of its own."""
        with self.lock:
            retry_at = shape = None
            if not self.stopping:
                retry_at = time.monotonic_ns()
                shape = self.protection.raised_shape(task, attempt) if cause is Cause.OOM else None
            _, settled = self.scheduler.fail(task, attempt, lease, int(cause), retry_at, started, finished, shape)
        self.settled(settled)
        self.heed_failure(settled)

    def heed_failure(self, ended: Sequence[int]) -> None:
        """Do to the run what `on_failure` says, when a task has failed whose failure is not allowed."""
        if self.on_failure == "continue" or self.stopping:
            return
        if any(self.scheduler.state(task) == State.FAILED and not self.specs[task].allow_failure for task in ended):
            self.stop_starting()
            if self.on_failure == "stop":
                self.kill_running()

    # ------------------------------------------------------------------------------------------------- control

    def release(self, task: int) -> None:
        """Let go of an ended task, also of what its attempts were."""
        super().release(task)
        if self.specs[task].is_watched or task in self.failures:
            with self.lock:
                self.protection.release(task)
                self.attempts_of.release(task)
                self.failures.pop(task, None)
                self.fell_back.pop(task, None)

    def release_many(self, tasks: range) -> None:
        """Let go of tasks that were added from arrays and have ended, also of what their attempts were."""
        with self.lock:
            super().release_many(tasks)
            for task in tasks if self.specs[tasks.start].is_watched else [t for t in self.failures if t in tasks]:
                self.attempts_of.release(task)
                self.failures.pop(task, None)
                self.fell_back.pop(task, None)

    def set_priority(self, task: int, priority: float) -> None:
        if not _is_finite(priority):
            raise OptionError(
                f"priority={priority!r} of task {self.names[task]!r}: allowed is a finite number; smaller starts first."
            )
        self.scheduler.rerank([task], float(priority))

    def set_limits(self, limits: Mapping[str, object] | None) -> None:
        limits = Limits.given(limits)
        with self.lock:
            parsed = self.admission.parsed(limits)
            for task in self.scheduler.open_tasks(_NOT_STARTED):
                parsed.check(self.names[task], self.specs[task].demand)
            self.admission.set_limits(parsed, limits)
            for demand, lane, _ in list(self._shapes):
                if lane == LANES["threads"]:
                    self._ensure_workers(demand.cpu)  # there may be room for more of them now

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.scheduler.set_policy(*policy.to_core())
        if self.learning is not None:
            self.learning.consider()

    def cancel(self, tasks: Iterable[int], cause: Cause = Cause.CANCELLED) -> None:
        """End tasks that have not ended. Processes and commands are killed; a thread's result is dropped."""
        running, settled = self.scheduler.cancel(list(tasks), int(cause))
        for task, attempt in running:
            self._lanes.kill(task, attempt)
        self.settled(settled)

    def stop_starting(self) -> None:
        """Cancel everything that is not running and take nothing new."""
        with self.lock:
            self.stopping = True
        self.cancel(self.scheduler.open_tasks(_NOT_STARTED))

    def kill_running(self) -> None:
        """Cancel what is running: processes and commands end; threads go on until their function returns."""
        self.cancel(self.scheduler.open_tasks([State.RUNNING]))

    def end_after(self, timeout_s: float) -> None:
        """End the whole run when so many seconds have passed and it has not ended by itself."""

        def over() -> None:
            if self.scheduler.unfinished == 0:
                return
            self.timed_out = True
            self.stop_starting()
            running = self.scheduler.open_tasks([State.RUNNING])
            self.log.append(int(EventKind.RUN_TIMED_OUT), worker=len(running), value=int(timeout_s * NS))
            with self.lock:
                for task in running:
                    self.errors[task] = TimeoutError(
                        f"task {self.names[task]!r} was running when the run's timeout of {timeout_s:g} s was over"
                    )
            self.cancel(running, Cause.TIMEOUT)

        self.timers.at(time.monotonic_ns() + int(timeout_s * NS), over)

    def submit_in_task(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[Any]:
        call = call_of(target, args, kwargs)
        self.submit_all([call])
        return call

    def skip(self, task: int, targets: Sequence[object]) -> None:
        """Skip the targets, or everything that depends on `task`."""
        tasks = [self.id_of(target) for target in targets] if targets else self.scheduler.successors(task)
        skipped = [t for t in tasks if self.scheduler.state(t) in _NOT_STARTED]
        self.skips.append((task, [self.names[t] for t in skipped]))  # before the log says so
        self.cancel(skipped, Cause.SKIPPED)

    def broken(self, error: BaseException) -> None:
        """Our own bug: end the run rather than hang, and let its result, and whoever waits, get InternalError."""
        if self.bug is None:
            bug = InternalError(f"the runtime failed with {error!r}")
            bug.__cause__ = error
            self.bug = bug
        self.stopping = True
        self.scheduler.pause()
        self._tell_idle()
        self.settled(self.awaited())  # whoever begins to wait from now on looks at `bug`

    def on_idle(self, news: Mailbox) -> None:
        """Put IDLE into `news` whenever nothing is unfinished any more; `forget_news` ends it."""
        self.scheduler.want_idle(True)
        self._idle_news.append(news)
        if self.idle.is_set():
            news.put(IDLE)

    def forget_news(self, news: Mailbox) -> None:
        """Undo `on_idle`."""
        self._idle_news.remove(news)
        self.scheduler.want_idle(False)

    def _tell_idle(self) -> None:
        self.idle.set()
        for news in list(self._idle_news):
            news.put(IDLE)

    @property
    def is_copy(self) -> bool:
        """Whether this is the copy of an engine in a process that was forked: its threads are not here."""
        return os.getpid() != self._pid

    @property
    def is_ended(self) -> bool:
        """Whether it was closed, or is a copy whose threads are elsewhere: nothing of it runs here."""
        return self._closed or self.is_copy

    def close_when_idle(self, afterwards: Callable[[], object]) -> None:
        """Let the control thread close this as soon as nothing is unfinished, and call `afterwards`. It blocks nobody: who
        comes here may be the garbage collector, in any thread.
        """
        self._afterwards = afterwards
        if self._control is None:
            self._close_itself()  # it has no threads, so there is nothing to wait for
        else:
            self.scheduler.resume()  # or what waits would never end
            self.scheduler.want_idle(True)

    def _close_itself(self) -> None:
        afterwards = self._afterwards
        assert afterwards is not None
        self.log.append(int(EventKind.RUN_FINISHED))
        self.close()
        afterwards()

    def close(self, *, grace_s: float = 5.0, kill_s: float | None = None) -> None:
        """Stop the workers and executors. Threads in a task that does not return are left to themselves.

        Args:
            grace_s: how long threads are waited for.
            kill_s: as in `Lanes.close`.
        """
        with self.lock:
            if self.is_ended:
                return
            self._closed = True
            self.stopping = True
        self.scheduler.ring()
        if self._crew is not None:
            self._crew.stop()
        until = time.monotonic() + grace_s
        busy = self.scheduler.held(_core.THREAD_SLOTS) > 0  # a thread in a task cannot be stopped
        for thread in [self._control, *self._threads]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()) if not busy else 0.05)
        self._lanes.close(kill_s=kill_s)
        self.guard.close()
        self.admission.close()
        self.log.close()
        if self.learning is not None:
            self.learning.close()
        self.timers.clear()
        self.settled(self.awaited())
        # The crew is a native object: a cycle through it is never collected. Threads that are still in it hold it.
        self._crew = None
        self._threads.clear()


_NOT_STARTED = (State.WAITING, State.READY, State.BACKOFF)


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def _times(specs: Sequence[TaskSpec], count: int) -> dict[str, Any]:
    """The optional columns of a batch, in ns; left out when no task has the option."""
    now = time.monotonic_ns()
    columns: dict[str, Any] = {"now": now}
    if any(spec.duration_s for spec in specs):
        columns["expected"] = array("q", [int((spec.duration_s or 0) * NS) for spec in specs])
    if any(spec.timeout_s for spec in specs):
        columns["timeout"] = array("q", [int((spec.timeout_s or 0) * NS) for spec in specs])
    if any(spec.deadline_s is not None for spec in specs):
        never = 2**63 - 1
        columns["deadline"] = array(
            "q", [never if spec.deadline_s is None else now + int(spec.deadline_s * NS) for spec in specs]
        )
    if any(spec.needs == "any" for spec in specs):
        columns["tolerant"] = array("B", [spec.needs == "any" for spec in specs])
    if any(spec.allow_failure for spec in specs):
        columns["forgiven"] = array("B", [spec.allow_failure for spec in specs])
    return columns


def first_of_each(named: Iterable[tuple[str, TaskSpec]]) -> list[tuple[str, TaskSpec]]:
    """Return the first name with each spec, in order; the calls of one task have one spec."""
    first: dict[int, tuple[str, TaskSpec]] = {}
    for name, spec in named:
        first.setdefault(id(spec), (name, spec))
    return list(first.values())


_live: weakref.WeakSet[Engine] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a process that was just forked: a thread that is not here may have held a lock."""
    for engine in list(_live):
        engine.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)


def _context() -> context.TaskContext | None:
    own = ThreadContext.of_this_thread()
    return own if own is not None or _context_before is None else _context_before()


_context_before = context.install(_context)  # a worker process has its own, and a task there may import all this

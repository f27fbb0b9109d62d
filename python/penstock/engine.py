"""Drives one scheduler with real workers and the real clock. `Run` and `Runtime` are what users see of it.

The engine decides nothing about order: it hands what the core starts to a worker, and what workers report to the
core. Functions, arguments and results are kept here in lists by task id; the core sees numbers.

Threads: the crew's workers (native loop, `Crew.work`), one control thread that feeds the executors of processes and
commands, keeps timeouts and sees the end, and one sampler of the probes (`admission`). None of them polls.
"""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

from penstock import _core, context
from penstock.admission import Admission
from penstock.bookkeeping import Bookkeeping
from penstock.errors import Cancelled, CycleError, InternalError, OptionError, PenstockError, TaskFailed
from penstock.interrupts import IDLE, Mailbox
from penstock.observe.events import EventKind
from penstock.resources import Demand, Limits
from penstock.states import Cause, State
from penstock.task import Call, call_of
from penstock.thread_context import ThreadContext, enter_worker

if TYPE_CHECKING:
    from penstock.executors import Executor, Report
    from penstock.options import TaskSpec
    from penstock.policies import Policy

__all__ = ["LANES", "Engine"]

LANES = {"threads": 0, "processes": 1, "commands": 2}
MOST_WORKERS = 64
NS = 1_000_000_000


class Engine(Bookkeeping):
    """One scheduler, its tables and its workers.

    Args:
        policy: how ready tasks are ranked.
        limits: as `Limits.parse` takes them; None for the whole machine.
        workers: threads of the threads lane; None for as many as the machine's cores and the tasks' demands call for,
            at most MOST_WORKERS.
        seed: of the retries' jitter.
    """

    def __init__(
        self, *, policy: Policy, limits: Mapping[str, object] | None, workers: int | None, seed: int | None = None
    ) -> None:
        if workers is not None and (type(workers) is not int or not 1 <= workers <= 4096):
            raise OptionError(f"workers={workers!r}: allowed is a whole number from 1 to 4096, or None to choose.")
        super().__init__()
        self.admission = Admission(limits)
        self.scheduler = _core.Scheduler(self.admission.gpus)
        self.log = self.scheduler.log
        self.policy = policy
        self.scheduler.set_policy(*policy.to_core())
        self._fixed_workers = workers
        self._most_workers = workers or MOST_WORKERS
        self.crew = _core.Crew(
            self.scheduler,
            functions=self.functions,
            arguments=self.arguments,
            results=self.results,
            watch=self.watch,
            deferred=Call,
            hooks=self,
            most_workers=self._most_workers,
        )
        self._rng = random.Random(seed)
        self.lock = threading.RLock()  # submissions and reports that touch several tables
        self._threads: list[threading.Thread] = []
        self._control: threading.Thread | None = None
        self._executors: dict[int, Executor] = {}
        self._leases: dict[tuple[int, int], int] = {}  # of attempts at executors
        self._launched: dict[tuple[int, int], Executor] = {}
        self._shapes: dict[tuple[Demand, int], int] = {}
        self.custom: list[str] = []
        self._stopping = False
        self._closed = False
        self.stop_on_failure = False  # the first task that fails for good ends the run
        self._idle_news: list[Mailbox] = []
        self.idle = threading.Event()  # set while no task is unfinished
        self.idle.set()
        self.admission.attach(self.scheduler)

    @property
    def limits(self) -> Limits:
        return self.admission.limits

    # ------------------------------------------------------------------------------------------------- submitting

    def submit_calls(self, calls: Sequence[Call[Any]], names: Sequence[str] | None = None) -> range:
        """Add calls; those that they depend on are in `calls` or in this engine already.

        Raises:
            ResourceError: a task could never start; nothing was added.
            CycleError: named by the calls' names; nothing was added.
            PenstockError: the run is ending.
        """
        with self.lock:
            self._refuse_when_ending()
            specs = [call.spec for call in calls]
            names = self.unique_names(call.name for call in calls) if names is None else names
            for name, spec in zip(names, specs, strict=True):
                self.limits.check(name, spec.demand)
            indptr, indices = self.edges(calls)
            first = len(self.names)
            self.add_calls(calls, names)
            try:
                self._submit(specs, indptr, indices)
            except Exception:
                self.forget(first)
                raise
            return range(first, first + len(calls))

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
            first = len(self.functions)
            self.add_many(count, functions, arguments, spec)
            try:
                self._ensure_running([spec])
                _, settled = self.scheduler.submit(
                    count,
                    shape=self._shape(spec),
                    priority=spec.priority if priority is None else priority,
                    indptr=indptr,
                    indices=indices,
                    **_times([spec], 1),
                )
            except Exception as error:
                self.forget(first)
                if isinstance(error, _core.CycleError):
                    raise CycleError([f"{spec.name}[{k}]" for k in error.args[0]]) from None
                raise
            self.settled(settled)
            return range(first, first + count)

    def _submit(self, specs: list[TaskSpec], indptr: array[int], indices: array[int]) -> None:
        self._ensure_running(specs)
        shapes = array("I", [self._shape(spec) for spec in specs])
        try:
            _, settled = self.scheduler.submit(
                len(specs),
                shape=shapes,
                priority=array("d", [spec.priority for spec in specs]),
                indptr=indptr,
                indices=indices,
                **_times(specs, len(specs)),
            )
        except _core.CycleError as error:
            base = len(self.names) - len(specs)
            raise CycleError([self.names[base + k] for k in error.args[0]]) from None
        self.settled(settled)

    def _shape(self, spec: TaskSpec) -> int:
        key = (spec.demand, LANES[spec.executor])
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
            shape = self._shapes[key] = self.scheduler.shape(vector, key[1])
        return shape

    def _refuse_when_ending(self) -> None:
        if self._closed or self._stopping:
            raise Cancelled("the run is ending, so it takes no more tasks.")

    # ---------------------------------------------------------------------------------------------------- threads

    def _ensure_running(self, specs: Iterable[TaskSpec]) -> None:
        """Start what these tasks need: the control thread, workers, executors."""
        self.idle.clear()
        if self._control is None:
            self._control = threading.Thread(target=self._control_loop, name="penstock-control", daemon=True)
            self._control.start()
        self.admission.wake()
        for spec in {id(spec): spec for spec in specs}.values():
            lane = LANES[spec.executor]
            if lane == 0:
                self._ensure_workers(spec.demand.cpu)
            elif lane not in self._executors:
                from penstock.executors import make_executor

                self._executors[lane] = make_executor(spec.executor)
                self._executors[lane].start(self._reported)

    def _ensure_workers(self, cpu: int) -> None:
        wanted = self._fixed_workers
        if wanted is None:
            cores = self.limits.amounts.get("cpu", 1000)
            wanted = min(MOST_WORKERS, max(ceil(cores / max(cpu, 100)), ceil(cores / 1000)))
        if len(self._threads) >= wanted:
            return
        while len(self._threads) < wanted:
            number = len(self._threads)
            thread = threading.Thread(
                target=self._worker, args=(number,), name=f"penstock-worker-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self.scheduler.set_capacity(_core.THREAD_SLOTS, len(self._threads))

    @property
    def workers(self) -> int:
        return len(self._threads)

    def _worker(self, number: int) -> None:
        enter_worker(self)
        self.crew.work(number)

    def _control_loop(self) -> None:
        scheduler = self.scheduler
        while not self._closed:
            epoch = scheduler.control_epoch()
            for task, attempt, lane in scheduler.expire():
                self._timed_out(task, attempt, lane)
            for lane in (1, 2):
                # The take also ends backoffs that are due, so it is made for both lanes, used or not.
                while started := scheduler.take(lane, 0):
                    self._launch(lane, *started[0])
            if scheduler.unfinished == 0:
                with self.lock:
                    if scheduler.unfinished == 0:
                        self.admission.rest()
                        self._tell_idle()
            scheduler.wait_control(epoch, scheduler.next_wakeup)

    # -------------------------------------------------------------------------------- processes and commands

    def _launch(self, lane: int, task: int, attempt: int, lease: int, devices: int) -> None:
        from penstock.executors import Launch, Report, Usage

        spec = self.specs[task]
        executor = self._executors[lane]
        with self.lock:
            self._leases[task, attempt] = lease
            self._launched[task, attempt] = executor
        try:
            args, kwargs = self.bound(task)
        except Exception as error:  # noqa: BLE001  whatever putting the arguments together raises is the task's failure
            now = time.monotonic_ns()
            self._reported(Report(task, attempt, None, error, Cause.EXCEPTION, now, now, Usage(None, None)))
            return
        executor.launch(
            Launch(
                task=task,
                attempt=attempt,
                name=self.names[task],
                function=self.functions[task],
                args=args,
                kwargs=kwargs,
                spec=spec,
                env=self.admission.environment(spec, devices),
            )
        )

    def _reported(self, report: Report) -> None:
        """Take an executor's report; called on its thread."""
        try:
            key = (report.task, report.attempt)
            with self.lock:
                lease = self._leases.pop(key)
                self._launched.pop(key, None)
                self.note_usage(report)
            if report.error is not None:
                self._attempt_failed(*key, lease, report.cause, report.error, report.started_ns, report.finished_ns)
            elif isinstance(report.value, Call) or _holds_calls(report.value):
                self.deferred(*key, lease, report.value, report.started_ns, report.finished_ns)
            else:
                with self.lock:
                    if self.scheduler.attempt(report.task) == report.attempt:
                        self.results[report.task] = report.value
                self.scheduler.finish(*key, lease, report.started_ns, report.finished_ns)
                self.settled([report.task])
        except BaseException as error:  # noqa: BLE001  a bug of ours must end the run, not the executor's thread
            self.broken(error)

    def _timed_out(self, task: int, attempt: int, lane: int) -> None:
        limit = self.specs[task].timeout_s
        error = TimeoutError(f"task {self.names[task]!r} ran longer than its timeout of {limit:g} s")
        now = time.monotonic_ns()
        self._attempt_failed(task, attempt, None, Cause.TIMEOUT, error, now, now)
        self._kill(task, attempt)

    def _kill(self, task: int, attempt: int) -> None:
        executor = self._launched.get((task, attempt))
        if executor is not None:
            executor.kill(task, attempt)

    # ---------------------------------------------------------------------------------------- hooks of the crew

    def bind(self, task: int, entry: object) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the arguments of a task whose table entry needs results put in; called by a worker."""
        return self.bound(task)

    def failed(
        self, task: int, attempt: int, lease: int | None, error: BaseException, started: int, finished: int
    ) -> None:
        """Deal with what a task raised; called by a worker."""
        try:
            if isinstance(error, SystemExit):
                failure = TaskFailed(self.names[task], f"it called sys.exit({error.code!r}); return a value instead.")
                failure.__cause__ = error
                error = failure
            self._attempt_failed(task, attempt, lease, Cause.EXCEPTION, error, started, finished)
        except BaseException as bug:  # noqa: BLE001  a bug of ours must end the run, not this worker
            self.broken(bug)

    def deferred(self, task: int, attempt: int, lease: int | None, value: object, started: int, finished: int) -> None:
        """Let a task that returned further calls wait for them; its result is then theirs."""
        try:
            with self.lock:
                if self.scheduler.attempt(task) != attempt or self.scheduler.state(task) != State.RUNNING:
                    self.scheduler.finish(task, attempt, lease, started, finished)  # late: counted and dropped
                    return
                children = self._adopt(value)
                before = self.become_gather(task, value, children)
            try:
                _, settled = self.scheduler.defer(task, attempt, lease, children)
            except _core.CycleError as error:
                self.become(task, before)
                names = [self.names[k] for k in error.args[0]]
                self._attempt_failed(task, attempt, lease, Cause.EXCEPTION, CycleError(names), started, finished)
                return
            self.settled(settled)
        except PenstockError as error:
            self._attempt_failed(task, attempt, lease, Cause.EXCEPTION, error, started, finished)
        except BaseException as bug:  # noqa: BLE001  a bug of ours must end the run, not this worker
            self.broken(bug)

    def _adopt(self, value: object) -> list[int]:
        """Submit the calls in a returned value, with what they depend on, unless they are submitted already."""
        wanted = self.calls_in(value)
        fresh = self.unsubmitted(wanted)
        if fresh:
            self.submit_calls(fresh)
        return [self.ids[call] for call in wanted]

    def _attempt_failed(
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
        with self.lock:
            retry_at = None
            if scheduler.attempt(task) == attempt and scheduler.state(task) == State.RUNNING:
                self.errors[task] = error
                retry_at = self._next_attempt(task, attempt, cause, error)
            _, settled = scheduler.fail(task, attempt, lease, int(cause), retry_at, started, finished)
            self.settled(settled)
            if self.stop_on_failure and settled and not self._stopping:
                self.stop_starting()

    def _next_attempt(self, task: int, attempt: int, cause: Cause, error: BaseException) -> int | None:
        """The instant of the next attempt in ns, or None: the task has failed."""
        spec = self.specs[task]
        self.failures[task] = failures = self.failures.get(task, 0) + 1
        if self._stopping:
            return None
        if task not in self.fell_back and failures < spec.retry.attempts and spec.retry.applies(cause, error):
            return time.monotonic_ns() + int(spec.retry.wait_s(failures, self._rng) * NS)
        if spec.fallback is not None and task not in self.fell_back:
            self.fall_back(task)
            self.log.append(int(EventKind.FALLBACK), task=task, attempt=attempt, cause=int(cause))
            return time.monotonic_ns()
        return None

    # ------------------------------------------------------------------------------------------------- control

    def set_priority(self, task: int, priority: float) -> None:
        if not _is_finite(priority):
            raise OptionError(
                f"priority={priority!r} of task {self.names[task]!r}: allowed is a finite number; smaller starts first."
            )
        self.scheduler.rerank([task], float(priority))

    def set_limits(self, limits: Mapping[str, object]) -> None:
        with self.lock:
            parsed = self.admission.parsed(limits)
            for task in range(len(self.names)):
                if self.scheduler.state(task) in _NOT_STARTED:
                    parsed.check(self.names[task], self.specs[task].demand)
            self.admission.set_limits(parsed, limits)

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.scheduler.set_policy(*policy.to_core())

    def cancel(self, tasks: Iterable[int], cause: Cause = Cause.CANCELLED) -> None:
        """End tasks that have not ended. Processes and commands are killed; a thread's result is dropped."""
        running, settled = self.scheduler.cancel(list(tasks), int(cause))
        for task, attempt in running:
            self._kill(task, attempt)
        self.settled(settled)

    def stop_starting(self) -> None:
        """Cancel everything that is not running and take nothing new."""
        with self.lock:
            self._stopping = True
            waiting = [t for t in range(len(self.scheduler)) if self.scheduler.state(t) in _NOT_STARTED]
            self.cancel(waiting)

    def kill_running(self) -> None:
        """Cancel what is running: processes and commands end; threads go on until their function returns."""
        self.cancel(t for t in range(len(self.scheduler)) if self.scheduler.state(t) == State.RUNNING)

    def submit_in_task(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[Any]:
        call = call_of(target, args, kwargs)
        with self.lock:
            if call not in self.ids:
                self.submit_calls(self.unsubmitted([call]))
        return call

    def skip(self, task: int, targets: Sequence[object]) -> None:
        """Skip the targets, or everything that depends on `task`."""
        tasks = [self.id_of(target) for target in targets] if targets else self.scheduler.successors(task)
        self.cancel([t for t in tasks if self.scheduler.state(t) in _NOT_STARTED], Cause.SKIPPED)

    def broken(self, error: BaseException) -> None:
        """Our own bug: end the run rather than hang, and let its result raise InternalError."""
        if self.bug is None:
            self.bug = InternalError(f"the runtime failed with {error!r}")
            self.bug.__cause__ = error
        self._stopping = True
        self._tell_idle()

    def on_idle(self, news: Mailbox) -> None:
        """Put IDLE into `news` whenever nothing is unfinished any more."""
        if news not in self._idle_news:
            self._idle_news.append(news)
        if self.idle.is_set():
            news.put(IDLE)

    def _tell_idle(self) -> None:
        self.idle.set()
        for news in self._idle_news:
            news.put(IDLE)

    def close(self, *, grace_s: float = 5.0) -> None:
        """Stop the workers and executors. Threads in a task that does not return are left to themselves."""
        if self._closed:
            return
        self._closed = True
        self._stopping = True
        self.scheduler.ring()
        self.crew.stop()
        until = time.monotonic() + grace_s
        busy = self.scheduler.held(_core.THREAD_SLOTS) > 0  # a thread in a task cannot be stopped
        for thread in [self._control, *self._threads]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()) if not busy else 0.05)
        for executor in self._executors.values():
            executor.close(kill=True)
        self.admission.close()
        self.log.close()


_NOT_STARTED = (State.WAITING, State.READY, State.BACKOFF)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _holds_calls(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], Call)


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
    return columns


context.install(ThreadContext.of_this_thread)

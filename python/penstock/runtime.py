"""`Runtime`: a long-lived scheduler that takes tasks one by one or by the million and gives futures."""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from penstock import _core
from penstock.engine import Engine
from penstock.errors import OptionError
from penstock.future import Future
from penstock.inputs import NODES
from penstock.interrupts import Mailbox, heed_interrupts
from penstock.observe.events import EventKind
from penstock.options import make_spec
from penstock.policies import Policy, resolve
from penstock.preemption import preemption_of
from penstock.result import RunResult, value_of
from penstock.run import Run, View, mask_of
from penstock.states import Cause, State
from penstock.task import Call, Task, as_task, call_of
from penstock.tidying import Tidying
from penstock.unfinished import tell_if_cut_off

if TYPE_CHECKING:
    from penstock.observe.attach import Observers
    from penstock.pipeline import Pipeline, Preempt

__all__ = ["Batch", "Runtime", "run_pipeline", "start_pipeline"]

P = ParamSpec("P")
R = TypeVar("R")

KEPT_EVENTS = 1 << 20
"""Rows of the event log that a runtime keeps beside those that a reader has not seen: some 32 MiB."""

MOST_REMEMBERED = 1024
"""Plain functions whose tasks a runtime keeps; a program that submits ever new lambdas must not fill the memory."""


class Runtime:
    """A context manager that runs tasks as they come.

    ```python
    with Runtime(workers=2) as runtime:
        future = runtime.submit(pow, 2, 10)
        print(future.result())
    ```

    Leaving the block waits for what was submitted, and ends a pause first; leaving it by an exception cancels what has
    not ended. One that is dropped without either runs what was submitted and then stops its workers, with a
    `ResourceWarning`. A result is kept by its future, and by its `Call` if there is one: later tasks may ask for it. Of
    batches it is kept until they are released. Of tasks that have ended, nothing else stays.

    Args:
        workers: threads; None for as many as the machine's cores and the tasks' demands call for.
        policy: "fifo", "priority", "utilisation", "hybrid", "product", or a `Policy`.
        limits, overcommit: how much of the machine may be used, as in `Pipeline.run`.
        preempt, preempt_gap: whether a much more urgent task takes the room of preemptible ones, as in `Pipeline.run`.
        name: for observers.
        on_event, alerts, secret: as in `Pipeline.run`.

    Raises:
        OptionError, ResourceError: an argument is not allowed; says which.
    """

    def __init__(
        self,
        workers: int | None = None,
        policy: str | Policy = "priority",
        limits: Mapping[str, object] | None = None,
        *,
        overcommit: float | None = None,
        preempt: Preempt = "off",
        preempt_gap: float = 10.0,
        name: str = "runtime",
        on_event: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
        alerts: Any = (),
        secret: str | Iterable[str] = (),
    ) -> None:
        from penstock.observe.attach import attach

        self._engine = Engine(
            policy=resolve(policy),
            limits=limits,
            workers=workers,
            overcommit=overcommit,
            preempt=preemption_of(preempt, preempt_gap),
        )
        self._engine.mask = mask_of(secret)
        self._engine.tidying = Tidying(self._engine, KEPT_EVENTS)
        self._closing = threading.Lock()
        self._closed = False
        self._tasks: dict[Any, Task[..., Any]] = {}
        self._view = View(self._engine, name)
        tell_if_cut_off(self._engine, f"runtime {name!r}")
        self._observers = attach(self._view, on_event=on_event, alerts=alerts, progress=False, trace=None)
        self._engine.log.append(int(EventKind.RUN_STARTED))
        self._if_dropped = weakref.finalize(self, _dropped, self._engine, self._observers, name)
        self._if_dropped.atexit = False

    def submit(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Add one task and return the future of its result.

        Args:
            task: a function, a `Task` (`task.with_options(...)` for options of this call alone), or a `Call`.
            args, kwargs: its arguments; calls may stand in them, which are submitted too unless they have been.

        Raises:
            ResourceError: it could never start here.
            Cancelled: the runtime is closed.
        """
        engine = self._engine
        made = self._task_of(task)
        if not kwargs and isinstance(made, Task) and made.is_plain and not any(isinstance(arg, NODES) for arg in args):
            made.check_arguments(args, kwargs)
            return Future.of(engine, engine.submit_plain(made.spec, args), alone=True)
        call = call_of(made, args, kwargs)
        return Future.of(engine, engine.submit_all([call])[0], alone=not isinstance(task, Call))

    def _task_of(self, function: Any) -> Any:
        """Return the task of a plain function, made once: reading its signature takes longer than running it."""
        if isinstance(function, (Task, Call)):
            return function
        made = self._tasks.get(function)
        if made is None:
            if len(self._tasks) >= MOST_REMEMBERED:
                self._tasks.clear()
            made = self._tasks[function] = as_task(function)
        return made

    def map(self, task: Callable[..., R], *iterables: Iterable[Any]) -> list[Future[R]]:
        """Add one task for each element, or each row of elements, in order; returns their futures in that order."""
        engine = self._engine
        task = self._task_of(task)
        calls = [call_of(task, row) for row in zip(*iterables, strict=False)]
        return [Future.of(engine, k, alone=True) for k in engine.submit_all(calls)]

    def submit_many(
        self,
        function: Callable[..., R] | Sequence[Callable[..., R]],
        arguments: Sequence[tuple[Any, ...] | None] | None = None,
        *,
        count: int | None = None,
        priority: Any = None,
        indptr: Any = None,
        indices: Any = None,
        pass_results: bool = False,
        **options: Any,
    ) -> Batch:
        """Add many tasks from arrays, without a Python object for each task.

        Args:
            function: what they all run, or one function for each.
            arguments: a tuple of positional arguments for each task, or None for none at all.
            count: how many, when neither `function` nor `arguments` nor `indptr` says it.
            priority: a number for all, or shape (n,), float64. Smaller starts first.
            indptr, indices: shapes (n + 1,) and (edges,), int64: task k waits for `indices[indptr[k]:indptr[k + 1]]`,
                where a number >= 0 is the id of a task of this runtime and ~j (that is -j - 1) the j-th of this batch.
            pass_results: the positional arguments of each task are the results of what it waits for, in that order.
            options: those of `@task` that are about scheduling, the same for all: cpu, memory, retries, timeout, ...

        Returns:
            The batch: its `range` of ids, its results, its end.

        Raises:
            OptionError: the lengths disagree, or an option is unknown.
            ResourceError: the tasks could never start here.
            CycleError: the edges have a cycle.
        """
        many = not callable(function)
        lengths = {
            "function": len(function) if many else None,  # type: ignore[arg-type]
            "arguments": None if arguments is None else len(arguments),
            "indptr": None if indptr is None else len(indptr) - 1,
            "count": count,
        }
        given = {name: n for name, n in lengths.items() if n is not None}
        if len(set(given.values())) != 1:
            shown = ", ".join(f"{name}: {n}" for name, n in given.items()) or "no length at all"
            raise OptionError(f"submit_many got {shown}; give count=, or arrays of one length.")
        if pass_results and (arguments is not None or indptr is None):
            raise OptionError(
                "pass_results=True takes its arguments from indptr= and indices=; give these, not arguments=."
            )
        n = next(iter(given.values()))
        engine = self._engine
        run: Any = function.spec.function if isinstance(function, Task) else function
        spec = make_spec(None if many else run, getattr(function, "__name__", "task"), options)
        with engine.lock:
            table: Any = arguments
            if pass_results:
                table = _core.Inputs(len(engine.functions), indptr, indices)
            ids = engine.submit_many(n, run, table, spec, priority=priority, indptr=indptr, indices=indices)
        return Batch(engine, ids)

    # -------------------------------------------------------------------------------------------------- control

    def set_policy(self, policy: str | Policy) -> None:
        """Rank all waiting tasks by another policy from now on."""
        self._engine.set_policy(resolve(policy))

    def set_priority(self, future: Future[Any], priority: float) -> None:
        """Give a task another priority, also while it waits."""
        self._engine.set_priority(future.task, priority)

    def set_limits(self, limits: Mapping[str, object] | None) -> None:
        """Change how much of the machine may be used; see `Run.set_limits`."""
        self._engine.set_limits(limits)

    def pause(self) -> None:
        """Start nothing more until `resume`."""
        self._engine.scheduler.pause()

    def resume(self) -> None:
        """Start tasks again."""
        self._engine.scheduler.resume()

    @property
    def view(self) -> View:
        """What observers see."""
        return self._view

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is unfinished; returns whether that came about within `timeout` seconds."""
        return self._engine.wait_idle(timeout)

    def close(self, *, cancel: bool = False) -> None:
        """Wait for what was submitted, or cancel it, and stop the workers. A closed runtime takes no more tasks.

        It ends a pause. When it is interrupted, by Ctrl-C say, it cancels what has not ended, and closes. In a process
        that was forked it does nothing: the runtime is the parent's.
        """
        engine = self._engine
        if engine.is_copy:
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._if_dropped.detach()
            engine.scheduler.resume()  # or what waits would never end
            try:
                if not cancel:
                    engine.wait_idle()
            except BaseException:
                cancel = True
                raise
            finally:
                if cancel:
                    engine.stop_starting()
                    engine.kill_running()
                engine.log.append(int(EventKind.RUN_FINISHED))
                engine.close()
                self._observers.close()
        if engine.bug is not None:
            raise engine.bug

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close(cancel=kind is not None)


def _dropped(engine: Engine, observers: Observers, name: str) -> None:
    if engine.is_ended:
        return
    engine.close_when_idle(observers.close)
    said = f"runtime {name!r} was never closed; use it in a with block, or call its close()."
    warnings.warn(said, ResourceWarning, stacklevel=2)


class Batch(Sequence[Any]):
    """Tasks that were submitted together. As a sequence: their results, each there once its task has succeeded."""

    def __init__(self, engine: Engine, ids: range) -> None:
        self._engine = engine
        self.ids = ids
        self._open_to = ids.stop  # from this one on, all have ended
        self._released = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all of them have ended; returns whether that came about within `timeout` seconds."""
        engine, first = self._engine, self.ids.start
        until = None if timeout is None else time.monotonic() + timeout
        # From the end, since most batches end there: then one wait is all it takes.
        while (open_to := engine.scheduler.unfinished_up_to(first, self._open_to)) > first:
            self._open_to = open_to
            last, bell = open_to - 1, _Bell()
            engine.await_end(last, bell)
            if engine.bug is not None:
                raise engine.bug
            if engine.scheduler.unfinished_up_to(last, open_to) == last:
                engine.settled([last])
            if not bell.event.wait(None if until is None else max(0.0, until - time.monotonic())):
                engine.give_up_waiting(last, bell)
                return False
        self._open_to = first
        return True

    def results(self) -> list[Any]:
        """Wait for all and return their results in order.

        Raises:
            TaskFailed, Cancelled: of the first task without a result.
        """
        self._require_kept()
        self.wait()
        engine = self._engine
        states = engine.scheduler.count_state(self.ids.start, self.ids.stop, int(State.SUCCEEDED))
        if states != len(self.ids):
            for task in self.ids:
                value_of(engine, task)
        return engine.results[self.ids.start : self.ids.stop]

    def cancel(self) -> None:
        """Cancel those that have not ended."""
        self._engine.cancel(self.ids, Cause.CANCELLED)

    def release(self) -> None:
        """Wait for the end of all of them, then let go of their results and of all that is kept of them.

        For a runtime that lives long, which keeps batches until it is closed: later tasks may name theirs. After this
        nothing may: neither a later batch by their ids, nor this one for results.
        """
        if self._released:
            return
        self.wait()
        self._released = True
        self._engine.release_many(self.ids)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Release them; after an exception cancel first what has not ended."""
        if kind is not None:
            self.cancel()
        self.release()

    def _require_kept(self) -> None:
        if self._released:
            raise OptionError(f"{self!r} has been released, so its results are gone; take them before `release()`.")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, k: Any) -> Any:
        self._require_kept()
        if isinstance(k, slice):
            return [value_of(self._engine, task) for task in self.ids[k]]
        return value_of(self._engine, self.ids[k])

    def __iter__(self) -> Iterator[Any]:
        self._require_kept()
        return (value_of(self._engine, task) for task in self.ids)

    def __repr__(self) -> str:
        return f"<Batch of {len(self.ids)} tasks, ids {self.ids.start} to {self.ids.stop - 1}>"


class _Bell:
    """Waits for one task's end on behalf of a batch."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def settle(self) -> None:
        self.event.set()


def start_pipeline(pipeline: Pipeline, **options: Any) -> Run:
    """Start a pipeline; see `Pipeline.start`, which has the options."""
    return Run(pipeline, **options)


def run_pipeline(pipeline: Pipeline, **options: Any) -> RunResult:
    """Run a pipeline to its end; see `Pipeline.run`, which has the options."""
    news = Mailbox()
    with heed_interrupts(news):  # from before the first task starts
        return Run(pipeline, news=news, **options).wait()

"""What came of a run: `RunResult`, as a mapping the values of its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from penstock import _core
from penstock.errors import Cancelled, PenstockError, ResultError, TaskFailed, message_of
from penstock.observe.events import one_each, read
from penstock.states import Cause, State
from penstock.task import Call

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from penstock.engine import Engine
    from penstock.executors import Usage
    from penstock.journal.keeper import Journal
    from penstock.run import View

__all__ = ["RunResult", "value_of"]

T = TypeVar("T")


class RunResult(Mapping[str, Any]):
    """What came of a run. As a mapping: a succeeded task's name, or its call, gives its value.

    Attributes:
        name: the pipeline's name.
        ok: no task failed or was cancelled; skipped tasks and those that may fail (`allow_failure`) do not count.
        interrupted: Ctrl-C ended the run.
        timed_out: its timeout did.
        states: the final `State` of each task by name.
        causes: the `Cause` by name, of tasks that did not succeed.
        errors: by name, the last error of each task that failed.
        attempts: by name, how many attempts were started.
        usage: by name, what the last finished attempt used beside what it had declared; only of tasks in processes and
            commands.
        view: what observers see of the run.
        store, run_number: where the run is recorded, and as which; None where it is not.
        store_error: why it could not be recorded to its end, or None.
        taken_over: names of tasks whose results an earlier process had committed, and which did not run.
        again: names of tasks that had finished before and ran again, with the reason.
    """

    def __init__(self, engine: Engine, view: View, *, interrupted: bool) -> None:
        scheduler = engine.scheduler
        self.name = view.name
        self.view = view
        self.interrupted = interrupted
        self.timed_out = engine.timed_out
        self._engine = engine
        ids = range(len(engine.names))
        self._ids = {name: task for task, name in enumerate(engine.names)}
        self.states = {engine.names[t]: State(scheduler.state(t)) for t in ids}
        self.causes = {engine.names[t]: Cause(scheduler.cause(t)) for t in ids if scheduler.state(t) != State.SUCCEEDED}
        self.errors = {
            engine.names[t]: engine.errors[t] for t in ids if scheduler.state(t) == State.FAILED and t in engine.errors
        }
        self.attempts = {engine.names[t]: engine.attempts(t) for t in ids}
        self.usage: Mapping[str, Usage] = {engine.names[t]: engine.usage[t] for t in ids if t in engine.usage}
        self.ok = not (interrupted or self.timed_out) and all(
            state == State.SUCCEEDED
            or self.causes[name] == Cause.SKIPPED
            or (state != State.CANCELLED and engine.specs[task].allow_failure)
            for task, (name, state) in enumerate(self.states.items())
        )
        self.run_number: int | None = None
        self.taken_over: tuple[str, ...] = ()
        self.again: Mapping[str, str] = MappingProxyType({})
        self.store: Path | None = None
        self.store_error: PenstockError | None = None
        self._events: npt.NDArray[np.void] | None = None

    def keep(self, journal: Journal) -> None:
        """Close the run's journal, and take up what it has to say."""
        journal.close("interrupted" if self.interrupted else "succeeded" if self.ok else "failed")
        self.store, self.run_number, self.store_error = journal.store, journal.number, journal.error
        self.taken_over = tuple(journal.recall.taken_over)
        self.again = MappingProxyType(dict(journal.recall.again))
        if journal.error is not None and journal.must_record:
            self.ok = False

    @property
    def events(self) -> npt.NDArray[np.void]:
        """All events in order: a structured array with the fields of `observe.events.EVENT`; times in ns."""
        if self._events is None:
            (self._events,) = one_each(read(self.view.log))
        return self._events

    @overload
    def __getitem__(self, task: str) -> Any: ...
    @overload
    def __getitem__(self, task: Call[T]) -> T: ...
    @overload
    def __getitem__(self, task: T) -> T: ...
    def __getitem__(self, task: Any) -> Any:
        """The value of a task.

        Raises:
            ResultError: there is no such task in this run.
            TaskFailed: it failed, or something that it needs did; the error is its `__cause__`.
            Cancelled: it was cancelled or skipped.
        """
        if not isinstance(task, (str, Call)):
            raise ResultError(f"{task!r} is no call and no name of a task of run {self.name!r}.")
        found = self._engine.ids.get(task) if isinstance(task, Call) else self._ids.get(task)
        if found is None:
            shown = task.name if isinstance(task, Call) else task
            raise ResultError(f"run {self.name!r} has no task {shown!r}.")
        return value_of(self._engine, found)

    def __iter__(self) -> Iterator[str]:
        """The names of the tasks that succeeded."""
        return (name for name, state in self.states.items() if state == State.SUCCEEDED)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, task: object) -> bool:
        name = task.name if isinstance(task, Call) else task
        return self.states.get(name) == State.SUCCEEDED  # type: ignore[call-overload, no-any-return]

    def table(self) -> str:
        """The table of tasks and the line of totals, as text."""
        from penstock.observe.table import render

        return render(self.view)

    def save_events(self, path: str | PathLike[str]) -> None:
        """Write the run to a file: its events, tasks and limits, for `penstock simulate` and `penstock.simulate`.

        Args:
            path: of the file, which should end in ".npz".
        """
        from penstock.workloads.recording import save_recording

        slots = self._engine.scheduler.capacity(_core.THREAD_SLOTS)
        save_recording(self.view, path, workers=slots)

    @property
    def totals(self) -> Any:
        """Makespan, average CPU against the limit, critical path and counts."""
        from penstock.observe.table import totals

        return totals(self.view)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for name, state in self.states.items():
            skipped = self.causes.get(name) == Cause.SKIPPED
            word = "skipped" if skipped else state.name.lower()
            counts[word] = counts.get(word, 0) + 1
        shown = ", ".join(f"{count} {word}" for word, count in counts.items())
        return f"<RunResult {self.name!r}: {shown or 'no tasks'}{', interrupted' if self.interrupted else ''}>"


def _reason_of(error: BaseException | None) -> str:
    if error is None:
        return "no reason was recorded"
    if isinstance(error, TaskFailed):
        return error.reason
    said, kind = message_of(error), type(error).__name__
    return said if said and isinstance(error, PenstockError) else f"{kind}: {said}" if said else kind


def value_of(engine: Engine, task: int) -> Any:
    """Return the value of a task that has ended, or raise what became of it; see `RunResult.__getitem__`."""
    state = State(engine.scheduler.state(task))
    cause = Cause(engine.scheduler.cause(task))
    name = engine.names[task]
    if state == State.SUCCEEDED:
        return engine.results[task]
    error = engine.errors.get(task)
    if state == State.FAILED:
        code, number = (error.exit_code, error.signal) if isinstance(error, TaskFailed) else (None, None)
        raise TaskFailed(name, _reason_of(error), cause, engine.attempts(task), code, number) from error
    if state == State.UPSTREAM_FAILED:
        blame = engine.failed_before(task)
        raise TaskFailed(name, f"{blame} ended without a result", Cause.UPSTREAM, 0) from error
    if state == State.CANCELLED:
        raise Cancelled(f"task {name!r} was {'skipped' if cause == Cause.SKIPPED else 'cancelled'}.")
    raise ResultError(f"task {name!r} has not finished; it is {state.name.lower()}.")

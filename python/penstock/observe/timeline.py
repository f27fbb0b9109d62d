"""The event stream folded into columns by task: state, attempts, waits, run times, use.

The progress display and the closing table both read these columns. Folding is incremental and done a
batch at a time in numpy, so that a run of a million events costs its readers milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.observe.events import NO_TASK, STATE_AFTER, EventKind, one_each, read
from penstock.states import Cause, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["Gauge", "TaskRow", "Timeline", "batches", "task_rows"]

NEVER = -1
"""In a column of instants or amounts: not known (yet)."""

BATCH_ROWS = 65536

_CHANGES_STATE = np.zeros(256, dtype=np.bool_)
_STATE_AFTER = np.zeros(256, dtype=np.uint8)
for _kind, _state in STATE_AFTER.items():
    _CHANGES_STATE[_kind] = _kind is not EventKind.SUBMITTED
    _STATE_AFTER[_kind] = _state
_HAS_CAUSE = np.zeros(256, dtype=np.bool_)
for _kind in (
    EventKind.FAILED,
    EventKind.RETRYING,
    EventKind.CANCELLED,
    EventKind.UPSTREAM_FAILED,
    EventKind.TIMED_OUT,
    EventKind.FALLBACK,
):
    _HAS_CAUSE[_kind] = True
_IS_FINAL = np.zeros(256, dtype=np.bool_)
_IS_FINAL[[state for state in State if state.is_final]] = True


@dataclass(slots=True)
class Gauge:
    """One measured signal of the machine, in the resource's unit (milli-cores, bytes, bytes/s)."""

    latest: int
    at_ns: int
    weighted: float = 0.0
    weight_ns: int = 0

    def add(self, value: int, at_ns: int, since_ns: int) -> None:
        """Take a reading that stands for the time from `since_ns` to `at_ns`."""
        self.latest = value
        span = max(at_ns - since_ns, 0)
        self.weighted += float(value) * span
        self.weight_ns += span
        self.at_ns = at_ns

    @property
    def average(self) -> float:
        """The mean over the time read so far, each reading weighted by the time it stands for."""
        return self.weighted / self.weight_ns if self.weight_ns else float(self.latest)


class Timeline:
    """Columns indexed by task id, as of the last batch given to `update`.

    All columns have length `len(self)`. Instants and spans are int64 nanoseconds on the run's clock;
    -1 (`NEVER`) is "not known".

    - `state`: uint8, a `State`; `since_ns`: when it was entered.
    - `starts`: how often it was started; `deferrals`: how often it then waited for tasks that it had made, after
      which the start that follows is of the same attempt (see `attempts`). `cause`: uint8, of the last failure, cancellation or timeout.
    - `submitted_ns`, `first_started_ns`, `finished_ns`.
    - `wait_ns`: time spent ready (all dependencies met, not yet running), over all attempts.
    - `run_ns`: time spent running, over all attempts, failed ones included.
    - `cpu_ns`: CPU time over all attempts. `peak_memory`, `gpu_memory`: bytes, the largest of all attempts. `io_bytes`:
      bytes from and to devices, over all attempts.
    - `worker`: of the last start. `retry_ns`: when the next attempt is due. `fell_back`, `late` (its deadline was
      missed): bool.

    A task that waits or runs at this instant has only its finished spans in `wait_ns` and `run_ns`; add
    the time since `since_ns`.
    """

    def __init__(self) -> None:
        self._n = 0
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.full(0, fill, dtype=kind) for name, (kind, fill) in _COLUMNS.items()
        }
        self.started_ns: int | None = None
        self.ended_ns: int | None = None
        self.latest_ns: int | None = None
        self.rows_seen = 0
        self.paused = False
        self.interrupted_until_ns: int | None = None
        """Ctrl-C was pressed: until when running tasks are waited for, which is in the past when they are being killed."""
        self.late_reports = 0
        self.gauges: dict[int, Gauge] = {}
        self.capacity: dict[int, int] = {}

    def __len__(self) -> int:
        return self._n

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return the live column `name` (a view: the next `update` may change or replace it)."""
        return self._columns[name][: self._n]

    def attempts(self) -> npt.NDArray[np.int64]:
        """Return how many attempts each task has had, shape (len(self),)."""
        starts, deferrals = self.column("starts"), self.column("deferrals")
        attempts: npt.NDArray[np.int64] = starts - np.minimum(deferrals, np.maximum(starts - 1, 0))
        return attempts

    def tasks_in(self, state: State) -> npt.NDArray[np.intp]:
        """Return the ids of the tasks in `state`, ascending."""
        return np.flatnonzero(self.column("state") == int(state))

    def counts(self) -> dict[State, int]:
        """Return how many tasks are in each state, all states present."""
        found = np.bincount(self.column("state"), minlength=len(State))
        return {state: int(found[state]) for state in State}

    @property
    def finished(self) -> int:
        """How many tasks have reached a final state."""
        return int(np.count_nonzero(_IS_FINAL[self.column("state")]))

    @property
    def origin_ns(self) -> int:
        """When the run started: the instant of its first event if the start itself is not (yet) seen."""
        return self.started_ns if self.started_ns is not None else 0

    @property
    def makespan_ns(self) -> int:
        """From the start of the run to its end, or to the latest event while it goes on."""
        if self.started_ns is None or self.latest_ns is None:
            return 0
        return (self.ended_ns if self.ended_ns is not None else self.latest_ns) - self.started_ns

    def update(self, rows: Events) -> None:
        """Fold the next rows of the log, in log order, into the columns."""
        if len(rows) == 0:
            return
        kind = rows["kind"]
        if self.started_ns is None:
            self.started_ns = int(rows["time"][0])
        self.latest_ns = max(int(rows["time"].max()), self.latest_ns or 0)
        self.rows_seen += len(rows)
        self._submit(rows[kind == EventKind.SUBMITTED])
        changes = rows[_CHANGES_STATE[kind]]
        if len(changes):
            self._grow(int(changes["task"].max()) + 1)
            self._change(changes)
            self._note_starts(changes[changes["kind"] == EventKind.STARTED])
        self._note_facts(rows)
        for row in rows[kind >= EventKind.PAUSED].tolist():
            self._note_run(row)
        for row in rows[kind == EventKind.CAPACITY_CHANGED].tolist():
            self.capacity[row[4]] = row[1]

    def _submit(self, rows: Events) -> None:
        if not len(rows):
            return
        firsts = rows["task"].astype(np.int64)
        counts = np.maximum(rows["value"], 1)
        self._grow(int((firsts + counts).max()))
        begin = np.cumsum(counts) - counts
        ids = np.arange(int(counts.sum())) - np.repeat(begin, counts) + np.repeat(firsts, counts)
        times = np.repeat(rows["time"], counts)
        self._columns["submitted_ns"][ids] = times
        self._columns["since_ns"][ids] = times

    def _change(self, rows: Events) -> None:
        # Per task, each change closes the span that its previous one opened: sort by task, keeping log
        # order within one, and look one row back; the first row of a task looks into the columns.
        columns = self._columns
        order = np.argsort(rows["task"], kind="stable")
        task = rows["task"][order].astype(np.intp)
        time = rows["time"][order]
        after = _STATE_AFTER[rows["kind"][order]]
        first = np.concatenate(([True], task[1:] != task[:-1]))
        last = np.concatenate((first[1:], [True]))
        before = np.concatenate((after[:1], after[:-1]))
        before[first] = columns["state"][task[first]]
        since = np.concatenate((time[:1], time[:-1]))
        since[first] = columns["since_ns"][task[first]]
        spent = np.maximum(time - since, 0)
        ready, running = before == int(State.READY), before == int(State.RUNNING)
        # Quick tasks are started several at a time, by one worker: the time before its turn is a task's wait.
        timed = running & (rows["kind"][order] == EventKind.SUCCEEDED)
        turn = np.zeros_like(spent)
        turn[timed] = np.maximum(spent[timed] - rows["value"][order][timed], 0)
        np.add.at(columns["wait_ns"], task[ready], spent[ready])
        np.add.at(columns["wait_ns"], task[timed], turn[timed])
        np.add.at(columns["run_ns"], task[running], (spent - turn)[running])
        columns["state"][task[last]] = after[last]
        columns["since_ns"][task[last]] = time[last]
        final = last & _IS_FINAL[after]
        columns["finished_ns"][task[final]] = time[final]

    def _note_starts(self, rows: Events) -> None:
        columns, task = self._columns, rows["task"]
        # The attempt's number, not a count of rows: an attempt that an idle worker takes over is said to start twice.
        np.maximum.at(columns["starts"], task, rows["attempt"])
        columns["worker"][task] = rows["worker"]
        unset = columns["first_started_ns"][task] == NEVER
        # Backwards, so that of several starts in one batch the earliest is written last.
        columns["first_started_ns"][task[unset][::-1]] = rows["time"][unset][::-1]

    def _note_facts(self, rows: Events) -> None:
        columns, kind = self._columns, rows["kind"]
        caused = rows[_HAS_CAUSE[kind] & (rows["task"] < self._n)]
        columns["cause"][caused["task"]] = caused["cause"]
        for of, fold in _FACTS.items():
            found = rows[(kind == of) & (rows["task"] < self._n)]
            if len(found):
                fold(columns, found["task"], found["value"])
        self.late_reports += int(np.count_nonzero(kind == EventKind.LATE_REPORT))

    def _note_run(self, row: tuple[Any, ...]) -> None:
        time, value, _task, _attempt, worker, kind = row[:6]
        if kind == EventKind.GAUGE:
            gauge = self.gauges.get(worker)
            if gauge is None:
                gauge = self.gauges[worker] = Gauge(value, self.origin_ns)
            gauge.add(value, time, gauge.at_ns)
        elif kind == EventKind.PAUSED:
            self.paused = True
        elif kind == EventKind.RESUMED:
            self.paused = False
        elif kind == EventKind.INTERRUPTED:
            self.interrupted_until_ns = time + value
        elif kind == EventKind.RUN_STARTED:
            self.started_ns = time
        elif kind == EventKind.RUN_FINISHED:
            self.ended_ns = time

    def _grow(self, n: int) -> None:
        if n <= self._n:
            return
        size = len(self._columns["state"])
        if n > size:
            more = max(n, 2 * size, 64) - size
            for name, (kind, fill) in _COLUMNS.items():
                tail = np.full(more, fill, dtype=kind)
                self._columns[name] = np.concatenate((self._columns[name], tail))
        self._n = n


_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "state": (np.uint8, int(State.WAITING)),
    "since_ns": (np.int64, 0),
    "starts": (np.int64, 0),
    "deferrals": (np.int64, 0),
    "cause": (np.uint8, int(Cause.NONE)),
    "submitted_ns": (np.int64, NEVER),
    "first_started_ns": (np.int64, NEVER),
    "finished_ns": (np.int64, NEVER),
    "wait_ns": (np.int64, 0),
    "run_ns": (np.int64, 0),
    "cpu_ns": (np.int64, NEVER),
    "peak_memory": (np.int64, NEVER),
    "io_bytes": (np.int64, NEVER),
    "gpu_memory": (np.int64, NEVER),
    "worker": (np.uint32, NO_TASK),
    "retry_ns": (np.int64, NEVER),
    "fell_back": (np.bool_, 0),
    "late": (np.bool_, 0),
}


Fold = Callable[["dict[str, npt.NDArray[Any]]", "npt.NDArray[Any]", "npt.NDArray[Any]"], None]


def _sum_in(name: str) -> Fold:
    def add(columns: dict[str, npt.NDArray[Any]], task: npt.NDArray[Any], value: npt.NDArray[Any]) -> None:
        column = columns[name]
        column[task] = np.maximum(column[task], 0)
        np.add.at(column, task, value)

    return add


def _largest_in(name: str) -> Fold:
    def raise_to(columns: dict[str, npt.NDArray[Any]], task: npt.NDArray[Any], value: npt.NDArray[Any]) -> None:
        np.maximum.at(columns[name], task, value)

    return raise_to


def _set_retry(columns: dict[str, npt.NDArray[Any]], task: npt.NDArray[Any], value: npt.NDArray[Any]) -> None:
    columns["retry_ns"][task] = value


def _count_deferral(columns: dict[str, npt.NDArray[Any]], task: npt.NDArray[Any], _value: npt.NDArray[Any]) -> None:
    np.add.at(columns["deferrals"], task, 1)


def _set_fallback(columns: dict[str, npt.NDArray[Any]], task: npt.NDArray[Any], _value: npt.NDArray[Any]) -> None:
    columns["fell_back"][task] = True


def _set_late(columns: dict[str, npt.NDArray[Any]], task: npt.NDArray[Any], _value: npt.NDArray[Any]) -> None:
    columns["late"][task] = True


_FACTS: dict[EventKind, Fold] = {
    EventKind.CPU_USED: _sum_in("cpu_ns"),
    EventKind.PEAK_MEMORY: _largest_in("peak_memory"),
    EventKind.IO_USED: _sum_in("io_bytes"),
    EventKind.PEAK_GPU_MEMORY: _largest_in("gpu_memory"),
    EventKind.RETRYING: _set_retry,
    EventKind.FALLBACK: _set_fallback,
    EventKind.DEFERRED: _count_deferral,
    EventKind.DEADLINE_MISSED: _set_late,
}


def batches(view: RunView, start: int = 0) -> Iterator[Events]:
    """Yield all rows published now, from row `start` on, at most 65,536 a batch."""
    end = len(view.log)
    start = max(start, view.log.first)
    while start < end:
        rows = read(view.log, start, min(BATCH_ROWS, end - start))
        if len(rows) == 0:
            return
        yield from one_each(rows, BATCH_ROWS)
        start += len(rows)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task as the closing table shows it. None is "not known" or "never happened".

    What was declared stands beside it: amounts by resource, in the core's units; see `resources.Demand`.
    """

    id: int
    name: str
    state: State
    attempts: int
    wait_s: float | None
    run_s: float | None
    cpu_s: float | None
    peak_memory: int | None
    cause: Cause
    fell_back: bool
    late: bool
    io_bytes: int | None = None
    gpu_memory: int | None = None
    declared: dict[str, int] = field(default_factory=dict)

    @property
    def cores(self) -> float | None:
        """How many cores it kept busy on average, over all attempts."""
        return self.cpu_s / self.run_s if self.cpu_s is not None and self.run_s else None

    @property
    def outcome(self) -> str:
        """The state in words, with what is worth knowing about it: `failed (timeout)`, `skipped`, `succeeded (late)`."""
        if self.state is State.CANCELLED and self.cause is Cause.SKIPPED:
            return "skipped"
        word = self.state.name.lower().replace("_", " ")
        if self.state is State.FAILED and self.cause not in (Cause.NONE, Cause.EXCEPTION):
            return f"{word} ({self.cause.name.lower()})"
        if self.state is State.SUCCEEDED and self.fell_back:
            return f"{word} (fallback, late)" if self.late else f"{word} (fallback)"
        return f"{word} (late)" if self.late else word


def task_rows(view: RunView, timeline: Timeline) -> list[TaskRow]:
    """Return one row a task, in submission order."""
    names, specs = view.names, view.specs
    names_of = (
        "state", "wait_ns", "run_ns", "cpu_ns", "peak_memory", "cause", "fell_back", "late",
        "io_bytes", "gpu_memory",
    )  # fmt: skip
    columns = [timeline.attempts().tolist(), *(timeline.column(name).tolist() for name in names_of)]
    return [
        TaskRow(
            id=task,
            name=names[task],
            state=State(state),
            attempts=attempts,
            wait_s=wait / 1e9 if attempts else None,
            run_s=run / 1e9 if attempts else None,
            cpu_s=cpu / 1e9 if cpu != NEVER else None,
            peak_memory=peak if peak != NEVER else None,
            cause=Cause(cause),
            fell_back=fell_back,
            late=late,
            io_bytes=moved if moved != NEVER else None,
            gpu_memory=gpu if gpu != NEVER else None,
            declared=dict(specs[task].demand),
        )
        for task, (attempts, state, wait, run, cpu, peak, cause, fell_back, late, moved, gpu) in enumerate(
            zip(*columns, strict=True)
        )
    ]

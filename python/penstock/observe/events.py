"""The rows of the event log as Python sees them.

A row is a fixed 32 bytes; `EventKind` and the field order mirror `cpp/include/penstock/event_log.hpp`.
Bulk readers take whole batches as numpy structured arrays (`read`, `as_array`); hooks get one `Event`
object a row (`Event.of`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from penstock.states import Cause, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from penstock.observe.protocol import EventLog, RunView

    Events = npt.NDArray[np.void]

__all__ = ["NO_TASK", "Event", "EventKind", "as_array", "dtype", "events_of", "one_each", "read"]

NO_TASK = 0xFFFFFFFF
"""The task number of a row that is about no task (a gauge, a policy change, the run itself)."""

ROW_BYTES = 32
RANGE_SHIFT = 8


class EventKind(IntEnum):
    """What a row says. `worker` and `value` mean what the kind says they mean."""

    NONE = 0
    SUBMITTED = 1
    """`task` is the first id of the batch, `value` their count."""
    READY = 2
    """In the log, one row may speak for a range of tasks; readers get one row each, see `one_each`."""
    STARTED = 3
    """`worker` runs it; `value` is the executor lane. In the log, one row may speak for a range, as above. Told again, of the
    same attempt, when an idle worker takes over what another has in its hand and has not begun."""
    SUCCEEDED = 4
    """`value` is the run time in nanoseconds."""
    FAILED = 5
    """Final: no attempt is left and no fallback helps."""
    RETRYING = 6
    """`value` is the instant (ns) at which the next attempt may start."""
    CANCELLED = 7
    UPSTREAM_FAILED = 8
    DEFERRED = 9
    """The task waits for tasks it made while it ran."""
    RANK_CHANGED = 10
    POLICY_CHANGED = 11
    CAPACITY_CHANGED = 12
    """`worker` is the resource, `value` the amount."""
    PAUSED = 13
    RESUMED = 14
    LATE_REPORT = 15
    """A report of an attempt that was already given up; dropped."""
    FALLBACK = 16
    RESERVED = 17
    RUN_STARTED = 18
    RUN_FINISHED = 19
    CPU_USED = 20
    """`value` is CPU time of one attempt in nanoseconds."""
    PEAK_MEMORY = 21
    """`value` is the peak memory of one attempt in bytes."""
    GAUGE = 22
    """`worker` is the resource, `value` what the whole machine uses of it."""
    TIMED_OUT = 23
    INTERRUPTED = 24
    """By Ctrl-C: nothing more starts. `worker` is how many tasks run, `value` how long they are waited for in nanoseconds, 0 when
    they are killed."""
    RUN_TIMED_OUT = 25
    """The run's own timeout has passed. `worker` is how many tasks ran, `value` the timeout in nanoseconds."""
    DEADLINE_AT_RISK = 26
    """The task has not ended, and will hardly end in time; `value` is how many nanoseconds are left."""
    DEADLINE_MISSED = 27
    """The task had not ended at its deadline."""
    BREAKER_OPENED = 28
    """`value` attempts of the task's breaker have failed in a row, the last of them of this task."""
    BREAKER_CLOSED = 29
    """An attempt of the task, let through to try, has succeeded."""
    SUSPENDED = 30
    """The running attempt stands still for a more urgent task: it keeps its memory and has given back its CPU."""
    PROCEEDED = 31
    """A suspended attempt goes on."""
    GUARD_CLOSED = 32
    """Memory is short, so nothing starts while a task runs. `value` is the memory in use in bytes."""
    GUARD_OPENED = 33
    """`value` is the memory in use in bytes."""
    EVICTED = 34
    """The running attempt is being ended, for memory or for a more urgent task, and starts again later. `value` is the memory
    that it used in bytes."""
    IO_USED = 35
    """`value` is what one attempt read from devices and wrote to them, in bytes."""
    PEAK_GPU_MEMORY = 36
    """`value` is the peak memory of one attempt on all GPUs together, in bytes."""


STATE_AFTER: dict[EventKind, State] = {
    EventKind.SUBMITTED: State.WAITING,
    EventKind.READY: State.READY,
    EventKind.STARTED: State.RUNNING,
    EventKind.RETRYING: State.BACKOFF,
    EventKind.SUCCEEDED: State.SUCCEEDED,
    EventKind.FAILED: State.FAILED,
    EventKind.CANCELLED: State.CANCELLED,
    EventKind.UPSTREAM_FAILED: State.UPSTREAM_FAILED,
    EventKind.DEFERRED: State.WAITING,
}
"""The state of a task after an event of this kind; kinds that are absent change no state."""


@functools.lru_cache(maxsize=1)
def dtype() -> np.dtype[np.void]:
    """Return the numpy dtype of one row (32 bytes, packed, little-endian)."""
    import numpy as np

    return np.dtype(
        [
            ("time", "<i8"),
            ("value", "<i8"),
            ("task", "<u4"),
            ("attempt", "<u4"),
            ("worker", "<u4"),
            ("kind", "u1"),
            ("cause", "u1"),
            ("state", "u1"),
            ("version", "u1"),
        ]
    )


def as_array(rows: bytes | bytearray | memoryview) -> Events:
    """View the bytes of whole rows as a structured array, without copying.

    Args:
        rows: a multiple of 32 bytes, as the core's log hands them out.

    Returns:
        Shape (n_rows,), dtype `dtype()`; read-only when `rows` is `bytes`.

    Raises:
        ValueError: the length is no multiple of 32.
    """
    import numpy as np

    size = memoryview(rows).nbytes
    if size % ROW_BYTES:
        raise ValueError(f"event rows are {ROW_BYTES} bytes each, but {size} bytes were given; pass whole rows only")
    return np.frombuffer(rows, dtype=dtype())


def one_each(rows: Events, at_most: int | None = None) -> Iterator[Events]:
    """Yield the rows with one for each task where the log has one for a range of tasks.

    In the log, a READY or STARTED row stands for `task` and the ids that follow it, as many more as `value` says above
    its lowest 8 bits. Here each task gets its own row, and `value` is what the lowest 8 bits say.

    Args:
        rows: shape (n_rows,), as the log has them.
        at_most: longest piece to yield, >= 1; None: all in one.
    """
    import numpy as np

    ranged = (rows["kind"] == EventKind.READY) | (rows["kind"] == EventKind.STARTED)
    counts = np.where(ranged, (rows["value"] >> RANGE_SHIFT) + 1, 1)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    step = total if at_most is None else at_most
    if total == len(rows) <= step:
        yield rows
        return
    for first in range(0, total, step):
        numbers = np.arange(first, min(first + step, total))
        of = np.searchsorted(ends, numbers, side="right")
        piece = rows[of]
        piece["task"] += (numbers - (ends - counts)[of]).astype(np.uint32) * ranged[of]
        piece["value"][ranged[of]] &= (1 << RANGE_SHIFT) - 1
        yield piece


def read(log: EventLog, start: int = 0, limit: int = -1) -> Events:
    """Return rows `start`, `start + 1`, ... of the log, at most `limit` (-1: all there are)."""
    return as_array(log.read_bytes(start, limit))


@dataclass(frozen=True, slots=True)
class Event:
    """One row, as hooks receive it.

    Attributes:
        elapsed_s: seconds from the start of the run.
        time_ns: the instant on the run's monotonic clock.
        kind, cause, state: the row's enums.
        task: the task's id, or None when the row is about no task.
        name: the task's name, or None.
        attempt: 1 for the first attempt, 0 when there is none.
        worker, value: as `EventKind` says for the kind.
    """

    elapsed_s: float
    time_ns: int
    kind: EventKind
    task: int | None
    name: str | None
    attempt: int
    worker: int
    cause: Cause
    state: State
    value: int

    def __str__(self) -> str:
        about = f" '{self.name}'" if self.name is not None else ""
        attempt = f" attempt {self.attempt}" if self.attempt > 1 else ""
        cause = f" ({self.cause.name.lower()})" if self.cause is not Cause.NONE else ""
        kind = self.kind.name.lower().replace("_", " ")
        return f"[{self.elapsed_s:8.3f}s] {kind}{about}{attempt}{cause}"


def events_of(view: RunView, rows: Events, origin_ns: int) -> Iterator[Event]:
    """Yield one `Event` a row, in log order; `origin_ns` is the instant the run started."""
    names = view.names
    for row in rows.tolist():
        yield _event(row, names, origin_ns)


def _event(row: tuple[Any, ...], names: Any, origin_ns: int) -> Event:
    time_ns, value, task, attempt, worker, kind, cause, state, _version = row
    # A batch's submission names its first task only: `value` says how many it is about.
    known = task != NO_TASK and kind not in _ABOUT_NO_TASK and task < len(names)
    return Event(
        elapsed_s=(time_ns - origin_ns) / 1e9,
        time_ns=time_ns,
        kind=EventKind(kind),
        task=task if known else None,
        name=names[task] if known else None,
        attempt=attempt,
        worker=worker,
        cause=Cause(cause),
        state=State(state),
        value=value,
    )


_ABOUT_NO_TASK = frozenset(
    {
        EventKind.POLICY_CHANGED,
        EventKind.CAPACITY_CHANGED,
        EventKind.PAUSED,
        EventKind.RESUMED,
        EventKind.RUN_STARTED,
        EventKind.RUN_FINISHED,
        EventKind.GAUGE,
        EventKind.INTERRUPTED,
        EventKind.RUN_TIMED_OUT,
    }
)

"""Writes a run as a Chrome trace (JSON array form), which Perfetto and chrome://tracing open.

One process stands for the run. Its threads are the lanes: one a worker thread, and one a place that a
process or command took. An attempt is a complete event ("X"), a dependency a flow arrow ("s" to "f"), a
measured signal a counter ("C"), and a retry, failure, fallback or cancellation an instant ("i").

The file is written while the run goes on. The closing bracket of this form is optional, so the trace of a
run that was killed opens too, up to its last rows.

Source: "Trace Event Format", Google; Perfetto documentation, "Other trace formats".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from penstock.errors import OptionError
from penstock.observe.events import EventKind
from penstock.observe.subscription import Subscription
from penstock.observe.text import resource_name
from penstock.observe.timeline import batches
from penstock.resources import RESOURCES
from penstock.states import Cause

if TYPE_CHECKING:
    from os import PathLike

    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["TraceWriter", "write_trace"]

PID = 1
RUN_LANE = 0
"""The lane of what is about no worker: cancellations of waiting tasks, pauses, policy changes."""

LANES = ("worker", "process", "command", "beside a worker")
BESIDE = 3
"""The lanes of attempts that overlap another one of the same worker thread."""

LANE_STRIDE = 10_000
"""Lanes of one executor are numbered from `1 + executor * LANE_STRIDE`."""

SETTLE_S = 0.25

CROSSED_NS = 1000
"""Stamps of two attempts of one worker may cross by so much; then the later one is drawn where the other ends."""

UNLIMITED = 2**62
"""A capacity above this is none."""

_COUNTER_UNITS = {
    "cpu": ("cores", 1000.0),
    "memory": ("MiB", 2.0**20),
    "disk": ("MB/s", 1e6),
    "network": ("MB/s", 1e6),
    "gpu": ("GPUs", 1000.0),
    "gpu_memory": ("MiB", 2.0**20),
}
_ENDS = {
    EventKind.SUCCEEDED: "succeeded",
    EventKind.FAILED: "failed",
    EventKind.RETRYING: "failed, retried",
    EventKind.CANCELLED: "cancelled",
    EventKind.DEFERRED: "deferred",
}
_INSTANTS = {
    EventKind.FAILED: "failed",
    EventKind.RETRYING: "retry",
    EventKind.CANCELLED: "cancelled",
    EventKind.FALLBACK: "fallback",
    EventKind.TIMED_OUT: "timed out",
    EventKind.PAUSED: "paused",
    EventKind.RESUMED: "resumed",
    EventKind.POLICY_CHANGED: "policy changed",
    EventKind.INTERRUPTED: "interrupted",
}


@dataclass(slots=True)
class _Open:
    """An attempt that is running, and what was said of it meanwhile: (word, time, cause)."""

    start_ns: int
    attempt: int
    executor: int
    worker: int
    notes: list[tuple[str, int, Cause]]


class TraceWriter:
    """Writes the events given to `feed` to an open text file; `close` ends the JSON.

    An attempt is written when it ends. Slices of one lane never overlap and come in the order of their starts.
    Memory: one small record a finished task, for the arrows that start there.

    Args:
        view: the run.
        file: written to, not closed.
    """

    def __init__(self, view: RunView, file: TextIO) -> None:
        self._view = view
        self._file = file
        self._origin_ns: int | None = None
        self._last_ns = 0
        self._flow = 0
        self._open: dict[int, _Open] = {}
        self._ended: dict[int, tuple[int, int]] = {}
        """By task: the lane of its last slice, and an instant inside it where its arrows start."""
        self._free_ns: dict[int, list[int]] = {}
        """By executor and lane: the end of the lane's latest slice."""
        self._running = -1
        self._first = True
        self._emit(name="process_name", ph="M", pid=PID, tid=RUN_LANE, args={"name": f"penstock {view.name}"})
        self._name_lane(RUN_LANE, "run")

    def feed(self, rows: Events) -> None:
        """Write what the next rows of the log say."""
        for time, value, task, attempt, worker, kind, cause, _state, _version in rows.tolist():
            if self._origin_ns is None:
                self._origin_ns = time
            if kind == EventKind.STARTED:
                self._open[task] = _Open(time, attempt, value, worker, [])
                self._count_running(time)
            elif kind in _ENDS and task in self._open:
                self._end(task, EventKind(kind), Cause(cause), time, value)
            elif kind == EventKind.GAUGE:
                self._counter(f"{resource_name(worker)} in use", resource_name(worker), value, time)
            elif kind == EventKind.CAPACITY_CHANGED:
                if not attempt and worker < len(RESOURCES) and value < UNLIMITED:
                    self._counter(f"{resource_name(worker)} for tasks", resource_name(worker), value, time)
            elif (word := _INSTANTS.get(EventKind(kind))) is not None:
                self._note(word, task, Cause(cause), time)
            self._last_ns = max(self._last_ns, time)
        self._file.flush()

    def close(self) -> None:
        """End slices that are still open where the log ends, name the lanes, and close the JSON array."""
        for task in list(self._open):
            self._end(task, None, Cause.NONE, self._last_ns, 0)
        self._file.write("\n]\n" if not self._first else "[]\n")
        self._file.flush()

    # ---------------------------------------------------------------------------------------------- slices, arrows

    def _end(self, task: int, kind: EventKind | None, cause: Cause, time: int, value: int) -> None:
        """Write the slice of an attempt that has ended, the arrows that lead to it, and what was said of it."""
        attempt = self._open.pop(task)
        start = attempt.start_ns
        if kind is EventKind.SUCCEEDED:
            # Quick tasks are started several at a time; the run time tells when this one had its turn.
            start = max(start, time - value)
        lane, start = self._place(attempt, start)
        end = max(time, start + 1)  # a slice of length 0 could not hold the ends of arrows
        executor, place = divmod(lane - 1, LANE_STRIDE)
        self._free_ns[executor][place] = end
        how = _ENDS[kind] if kind is not None else "not ended"
        args: dict[str, Any] = {"task": task, "attempt": attempt.attempt, "end": how}
        if cause is not Cause.NONE:
            args["cause"] = cause.name.lower()
        ts, name = self._us(start), self._view.names[task]
        self._emit(name=name, cat="task", ph="X", ts=ts, dur=(end - start) / 1000, pid=PID, tid=lane, args=args)
        for before in self._view.predecessors(task):
            if (ended := self._ended.get(before)) is not None and ended[1] < start:
                self._arrow(ended, lane, start)
        self._ended[task] = (lane, end - 1)
        for word, at, why in attempt.notes:
            self._instant(f"{word}: {name}", why, at, lane)
        if kind is not None and (last_word := _INSTANTS.get(kind)) is not None:
            self._instant(f"{last_word}: {name}", cause, time, lane)
        self._count_running(time)

    def _arrow(self, start: tuple[int, int], lane: int, time: int) -> None:
        self._flow += 1
        flow = {"name": "dependency", "cat": "dependency", "id": self._flow, "pid": PID}
        self._emit(**flow, ph="s", ts=self._us(start[1]), tid=start[0])
        self._emit(**flow, ph="f", bp="e", ts=self._us(time), tid=lane)

    def _place(self, attempt: _Open, start: int) -> tuple[int, int]:
        """Return a lane in which nothing runs from `start` on, and the start, moved where stamps of threads crossed."""
        executor = min(attempt.executor, BESIDE)
        free = self._lanes(executor, attempt.worker + 1)
        if executor == 0:
            over = free[attempt.worker] - start
            if over <= CROSSED_NS:
                return _lane(0, attempt.worker), start + max(over, 0)
            executor, free = BESIDE, self._lanes(BESIDE, 0)
        place = next((k for k, until in enumerate(free) if until <= start), len(free))
        self._lanes(executor, place + 1)
        return _lane(executor, place), start

    def _lanes(self, executor: int, count: int) -> list[int]:
        """Return the ends of an executor's lanes, of which there are then at least `count`."""
        free = self._free_ns.setdefault(executor, [])
        while len(free) < count:
            free.append(0)
            self._name_lane(_lane(executor, len(free) - 1), f"{LANES[executor]} {len(free) - 1}")
        return free

    def _name_lane(self, lane: int, name: str) -> None:
        self._emit(name="thread_name", ph="M", pid=PID, tid=lane, args={"name": name})
        self._emit(name="thread_sort_index", ph="M", pid=PID, tid=lane, args={"sort_index": lane})

    # --------------------------------------------------------------------------------------- instants and counters

    def _note(self, word: str, task: int, cause: Cause, time: int) -> None:
        """Write an instant: with the attempt it is about when one runs, else on the lane of the run."""
        if (attempt := self._open.get(task)) is not None:
            attempt.notes.append((word, time, cause))
        else:
            names = self._view.names
            self._instant(f"{word}: {names[task]}" if task < len(names) else word, cause, time, RUN_LANE)

    def _instant(self, name: str, cause: Cause, time: int, lane: int) -> None:
        args = {"cause": cause.name.lower()} if cause is not Cause.NONE else {}
        self._emit(name=name, cat="event", ph="i", s="t", ts=self._us(time), pid=PID, tid=lane, args=args)

    def _counter(self, title: str, resource: str, value: int, time: int) -> None:
        unit, scale = _COUNTER_UNITS.get(resource, ("units", 1000.0))
        self._emit(name=f"{title} ({unit})", ph="C", ts=self._us(time), pid=PID, args={unit: value / scale})

    def _count_running(self, time: int) -> None:
        if len(self._open) != self._running:
            self._running = len(self._open)
            self._emit(name="tasks running", ph="C", ts=self._us(time), pid=PID, args={"tasks": self._running})

    # ---------------------------------------------------------------------------------------------------- writing

    def _us(self, time: int) -> float:
        return (time - (self._origin_ns or 0)) / 1000

    def _emit(self, **record: Any) -> None:
        self._file.write("[\n" if self._first else ",\n")
        self._first = False
        self._file.write(json.dumps(record, separators=(",", ":")))


def _lane(executor: int, place: int) -> int:
    return 1 + executor * LANE_STRIDE + place


def open_trace(path: str | PathLike[str]) -> TextIO:
    """Open a trace file for writing.

    Raises:
        OptionError: it cannot be written; says why.
    """
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"trace={str(path)!r} cannot be written: {error.strerror or error}; give a path in a directory that exists"
            " and that you may write to."
        ) from None


def watch_trace(view: RunView, path: str | PathLike[str]) -> Subscription:
    """Start writing the trace of a run to `path`, on a thread of its own.

    Raises:
        OptionError: the file cannot be opened for writing.
    """
    file = open_trace(path)
    writer = TraceWriter(view, file)

    def end() -> None:
        with file:
            writer.close()

    return Subscription(view, writer.feed, name="trace", settle_s=SETTLE_S, on_end=end).start()


def write_trace(view: RunView, path: str | PathLike[str]) -> None:
    """Write the trace of what has happened in a run so far to `path`.

    Raises:
        OptionError: the file cannot be opened for writing.
    """
    with open_trace(path) as file:
        writer = TraceWriter(view, file)
        for rows in batches(view):
            writer.feed(rows)
        writer.close()

"""Progress as plain lines, for output that is no terminal: one a fact, stamped, and few enough to read.

A small run gets a line for every start and end. A large one spends an allowance of lines that refills with
the run's clock; what does not get a line is counted, and a summary follows within a second or, later, ten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import numpy as np

from penstock.observe.alerts import error_line
from penstock.observe.events import EventKind
from penstock.observe.text import interrupted_text, plural, span_text
from penstock.observe.timeline import Timeline
from penstock.states import Cause, State

if TYPE_CHECKING:
    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["Lines"]

LINES_AT_ONCE = 200
LINES_A_SECOND = 10
NS = 1_000_000_000

_TOLD = (
    EventKind.STARTED,
    EventKind.SUCCEEDED,
    EventKind.FAILED,
    EventKind.RETRYING,
    EventKind.CANCELLED,
    EventKind.FALLBACK,
    EventKind.DEFERRED,
    EventKind.PAUSED,
    EventKind.RESUMED,
    EventKind.INTERRUPTED,
    EventKind.RUN_TIMED_OUT,
    EventKind.DEADLINE_MISSED,
    EventKind.BREAKER_OPENED,
    EventKind.BREAKER_CLOSED,
)


class Lines:
    """Turns rows of the log into lines on `file`. Time is the rows' own; no clock is read.

    Args:
        view: the run.
        file: text is written and flushed a batch at a time; not closed.
    """

    def __init__(self, view: RunView, file: TextIO) -> None:
        self._view = view
        self._file = file
        self._timeline = Timeline()
        self._allowance = float(LINES_AT_ONCE)
        self._refilled_ns = 0
        self._summed_up_ns = 0
        self._wait_ns = NS
        self._left_out = 0
        self._announced = 0
        self._started: dict[int, int] = {}
        self._falling_back: set[int] = set()
        self._deferred: set[int] = set()

    def feed(self, rows: Events) -> None:
        """Write the lines that the next rows of the log call for."""
        self._timeline.update(rows)
        self._announce(int(rows["time"][0]))
        told = rows[np.isin(rows["kind"], _TOLD)]
        for time, value, task, attempt, worker, kind, cause, _state, _version in told.tolist():
            if kind == EventKind.INTERRUPTED:
                # Someone sits there and waits for the answer to his Ctrl-C: it gets its line in any case.
                self._say(time, interrupted_text(worker, value / NS))
                continue
            line = self._line(EventKind(kind), task, attempt, Cause(cause), value, time)
            if line is None:
                continue
            if self._may_say(time, important=kind == EventKind.FAILED):
                self._say(time, line)
            else:
                self._left_out += 1
        self._sum_up()
        self._file.flush()

    def quiet(self, now_ns: int) -> None:
        """Write how the run stands; for when nothing has happened for long."""
        self._say(now_ns, self._standing(still=True))
        self._file.flush()

    def close(self) -> None:
        """Write the last line: how the run ended."""
        timeline = self._timeline
        if timeline.ended_ns is not None:
            self._say(timeline.ended_ns, self._standing(still=False))
        self._file.flush()

    def _announce(self, time: int) -> None:
        """Say once how much there is to do, and later when tasks have been added."""
        if not len(self._timeline):
            return
        if self._announced == 0:
            self._announced = len(self._timeline)
            cores = self._view.limits.get("cpu")
            limit = f", CPU limit {cores / 1000:g} cores" if cores is not None else ""
            self._say(time, f"{self._view.name}: {plural(len(self._timeline), 'task')}{limit}")

    def _line(self, kind: EventKind, task: int, attempt: int, cause: Cause, value: int, time: int) -> str | None:
        if kind is EventKind.PAUSED or kind is EventKind.RESUMED:
            return kind.name.lower()
        if kind is EventKind.RUN_TIMED_OUT:
            return f"timed out  the run has had its {span_text(value / NS)}: what runs is ended, nothing more starts"
        name = self._view.names[task]
        if kind is EventKind.DEADLINE_MISSED:
            return f"late       {name}: its deadline has passed"
        if kind is EventKind.BREAKER_OPENED or kind is EventKind.BREAKER_CLOSED:
            return self._breaker_line(kind, task, name, value)
        if kind is EventKind.STARTED:
            self._started[task] = time
            if task in self._deferred:
                return f"resumed    {name}"
            again = f" (attempt {attempt})" if attempt > 1 else ""
            if task in self._falling_back:
                again = " (fallback)"
            return f"started    {name}{again}"
        ran = self._started.pop(task, None)
        took = f" after {span_text((time - ran) / 1e9)}" if ran is not None else ""
        if kind is EventKind.SUCCEEDED:
            return f"finished   {name}{took}"
        if kind is EventKind.DEFERRED:
            self._deferred.add(task)
            return f"waiting    {name}{took}: for {plural(value, 'task')} that it made"
        error = error_line(self._view.error(task), cause)
        if kind is EventKind.FAILED:
            return f"FAILED     {name}{took}: {error}"
        if kind is EventKind.FALLBACK:
            self._falling_back.add(task)
            return f"fallback   {name}{took}: {error}"
        if kind is EventKind.RETRYING:
            if task in self._falling_back:  # the fallback is an attempt too, and has had its line
                return None
            return f"retrying   {name} in {span_text((value - time) / 1e9)}: attempt {attempt} failed{took}: {error}"
        return f"{'skipped' if cause is Cause.SKIPPED else 'cancelled':<10} {name}{took}"

    def _breaker_line(self, kind: EventKind, task: int, name: str, value: int) -> str:
        breaker = self._view.specs[task].breaker
        said = f"breaker    {breaker.name if breaker else ''}"
        if kind is EventKind.BREAKER_CLOSED:
            return f"{said} closed: {name} has got through"
        return f"{said} opened: {plural(value, 'attempt')} failed in a row, the last of {name}"

    def _may_say(self, time: int, *, important: bool) -> bool:
        # A quarter of the allowance is kept for failures.
        self._allowance = min(float(LINES_AT_ONCE), self._allowance + (time - self._refilled_ns) / NS * LINES_A_SECOND)
        self._refilled_ns = time
        if self._allowance < (1 if important else LINES_AT_ONCE / 4):
            return False
        self._allowance -= 1
        return True

    def _sum_up(self) -> None:
        now = self._timeline.latest_ns or 0
        if self._left_out and now - self._summed_up_ns >= self._wait_ns:
            self._say(now, self._standing(still=False))
            self._left_out = 0
            self._summed_up_ns = now
            self._wait_ns = min(2 * self._wait_ns, 10 * NS)

    def _standing(self, *, still: bool) -> str:
        counts = self._timeline.counts()
        waiting = counts[State.WAITING] + counts[State.READY] + counts[State.BACKOFF]
        parts = [f"{self._timeline.finished:,}/{len(self._timeline):,} finished"]
        if running := counts[State.RUNNING]:
            parts.append(f"{running:,} running{self._running_names() if still else ''}")
        parts += [
            f"{count:,} {word}"
            for word, count in (
                ("waiting", waiting),
                ("failed", counts[State.FAILED]),
                ("cancelled or skipped", counts[State.CANCELLED]),
                ("not run", counts[State.UPSTREAM_FAILED]),
            )
            if count
        ]
        return ", ".join(parts)

    def _running_names(self) -> str:
        tasks = self._timeline.tasks_in(State.RUNNING)[:5].tolist()
        return f" ({', '.join(self._view.names[task] for task in tasks)})"

    def _say(self, time: int, line: str) -> None:
        elapsed = max(time - self._timeline.origin_ns, 0) / 1e9
        self._file.write(f"[{elapsed:8.2f}s] {line}\n")

"""Hooks on a run: `on_event=` is called with every event, `alerts=[...]` with what went wrong.

Each hook has a thread of its own (see `subscription`), so a hook that raises, blocks or is slow costs the
run nothing but its share of the processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import TaskFailed, message_of
from penstock.observe.events import Event, EventKind, events_of
from penstock.observe.subscription import Subscription
from penstock.observe.timeline import Timeline
from penstock.states import Cause, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["Alert", "AlertKind", "watch_alerts", "watch_events"]

MOST_CHARACTERS = 300
"""An error's line is cut there: some libraries put a whole array into theirs."""


class AlertKind(str, Enum):
    """What an alert is about; compares equal to its text, so `alert.kind == "failed"` works."""

    FAILED = "failed"
    """A task failed for good."""
    RETRYING = "retrying"
    """An attempt failed, another one follows."""
    TIMED_OUT = "timed_out"
    """An attempt was given up at its timeout; FAILED, RETRYING or FALLBACK follows."""
    FALLBACK = "fallback"
    """No attempt is left, and the task's fallback is asked for the result."""
    RUN_FAILED = "run_failed"
    """The run is over and some task failed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Alert:
    """Something went wrong in a run.

    Attributes:
        kind: what happened.
        pipeline: the pipeline's name.
        task: the task's name; None for RUN_FAILED.
        attempt: the attempt that failed; 0 for RUN_FAILED.
        cause: why, apart from the state.
        error: the task's exception when it is known.
        text: the error in one line, or for RUN_FAILED a sentence about the run.
        elapsed_s: seconds from the start of the run.
    """

    kind: AlertKind
    pipeline: str
    task: str | None
    attempt: int
    cause: Cause
    error: BaseException | None
    text: str
    elapsed_s: float

    def __str__(self) -> str:
        if self.task is None:
            return f"[{self.pipeline}] {self.text}"
        kind = self.kind.value.replace("_", " ")
        return f"[{self.pipeline}] '{self.task}' {kind} (attempt {self.attempt}): {self.text}"


_ALERTS = {
    EventKind.FAILED: AlertKind.FAILED,
    EventKind.RETRYING: AlertKind.RETRYING,
    EventKind.TIMED_OUT: AlertKind.TIMED_OUT,
    EventKind.FALLBACK: AlertKind.FALLBACK,
}


def error_line(error: BaseException | None, cause: Cause = Cause.NONE) -> str:
    """Return an error as one short line; when the error is unknown, its cause in words."""
    if error is None:
        return cause.name.lower() if cause is not Cause.NONE else "unknown error"
    if isinstance(error, TaskFailed):  # the line names the task already
        return error.reason
    first = next(iter(message_of(error).strip().splitlines()), "")
    if len(first) > MOST_CHARACTERS:
        first = f"{first[: MOST_CHARACTERS - 1]}…"
    name = type(error).__name__
    return f"{name}: {first}" if first else name


def watch_events(view: RunView, hook: Callable[[Event], object]) -> Subscription:
    """Start calling `hook` with each event of the run, in log order, on a thread of its own."""

    origin_ns: int | None = None

    def deliver(rows: Events) -> None:
        nonlocal origin_ns
        if origin_ns is None and len(rows):
            origin_ns = int(rows["time"][0])
        for event in events_of(view, rows, origin_ns or 0):
            if subscription.abandoned:
                return
            subscription.shield(hook, event)

    subscription = Subscription(view, deliver, name=f"on_event hook {_name_of(hook)}")
    return subscription.start()


def watch_alerts(view: RunView, target: Callable[[Alert], object]) -> Subscription:
    """Start calling `target` with each `Alert` of the run, on a thread of its own."""

    timeline = Timeline()
    fallen_back: set[int] = set()

    def deliver(rows: Events) -> None:
        timeline.update(rows)
        for alert in _alerts_in(view, rows, timeline, fallen_back):
            if subscription.abandoned:
                return
            subscription.shield(target, alert)

    subscription = Subscription(view, deliver, name=f"alert target {_name_of(target)}")
    return subscription.start()


def _alerts_in(view: RunView, rows: Events, timeline: Timeline, fallen_back: set[int]) -> Iterable[Alert]:
    telling = rows[np.isin(rows["kind"], (*_ALERTS, EventKind.RUN_FINISHED))]
    for event in events_of(view, telling, timeline.origin_ns):
        if event.kind is EventKind.RUN_FINISHED:
            yield from _run_failed(view, event, timeline)
        elif event.task is not None:
            if event.kind is EventKind.FALLBACK:
                fallen_back.add(event.task)
            elif event.kind is EventKind.RETRYING and event.task in fallen_back:
                continue  # the fallback is the next attempt, and its alert has been sent
            error = view.error(event.task)
            yield Alert(
                kind=_ALERTS[event.kind],
                pipeline=view.name,
                task=event.name,
                attempt=event.attempt,
                cause=event.cause,
                error=error,
                text=error_line(error, event.cause),
                elapsed_s=event.elapsed_s,
            )


def _run_failed(view: RunView, event: Event, timeline: Timeline) -> Iterable[Alert]:
    failed = timeline.tasks_in(State.FAILED).tolist()
    if not failed:
        return
    held_up = timeline.counts()[State.UPSTREAM_FAILED]
    shown = ", ".join(f"'{view.names[task]}'" for task in failed[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    after = f"; {held_up} that depend on them never ran" if held_up else ""
    yield Alert(
        kind=AlertKind.RUN_FAILED,
        pipeline=view.name,
        task=None,
        attempt=0,
        cause=Cause.NONE,
        error=None,
        text=f"{len(failed)} of {len(timeline)} tasks failed: {shown}{more}{after}",
        elapsed_s=event.elapsed_s,
    )


def _name_of(hook: object) -> str:
    return repr(getattr(hook, "__qualname__", None) or type(hook).__qualname__)

"""What is worth telling somebody about a run, as it happens: `Alert` and the kinds of it, and `on_event=` hooks.

Each reader has a thread of its own (see `subscription`), so a hook that raises, blocks or is slow costs the
run nothing but its share of the processor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import BreakerOpen, TaskFailed, message_of
from penstock.observe.alert_rules import RetryStorm, Stall
from penstock.observe.events import Event, EventKind, events_of
from penstock.observe.subscription import Subscription
from penstock.observe.tally import Tally
from penstock.observe.text import plural, size_text, span_text
from penstock.states import Cause, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penstock.observe.alerting import Alerts
    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["Alert", "AlertKind", "AlertStream", "watch_events"]

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
    """No attempt is left, and a fallback is asked for the result."""
    RETRY_STORM = "retry_storm"
    """Many attempts of the run have failed and follow one another within a short time."""
    STALLED = "stalled"
    """Nothing has finished for many times as long as a task usually takes."""
    DEADLINE_AT_RISK = "deadline_at_risk"
    """A task will hardly end by its deadline."""
    DEADLINE_MISSED = "deadline_missed"
    """A task had not ended at its deadline."""
    BREAKER_OPENED = "breaker_opened"
    """A circuit breaker stops its tasks from being tried."""
    MEMORY_GUARD = "memory_guard"
    """Memory is short, and penstock starts less, or ended a task to start it again later."""
    RUN_TIMED_OUT = "run_timed_out"
    """The run's own timeout is over."""
    RUN_FAILED = "run_failed"
    """The run is over and some task failed."""
    RUN_FINISHED = "run_finished"
    """The run is over and none failed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should know about a run.

    Attributes:
        kind: what happened.
        pipeline: the pipeline's name.
        task: the task's name; None when it is about the run.
        attempt: the attempt that failed; 0 when it is about none.
        cause: why, apart from the state.
        error: the task's exception when it is known.
        text: the error in one line, or a sentence.
        elapsed_s: seconds from the start of the run.
        family: the name of the task that it was a call of; what alerts are grouped by.
        count: how many alerts of one kind, family and cause this one stands for; the others' names are in `others`.
        others: names of the other tasks, at most ten.
    """

    kind: AlertKind
    pipeline: str
    task: str | None
    attempt: int
    cause: Cause
    error: BaseException | None
    text: str
    elapsed_s: float
    family: str | None = None
    count: int = 1
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.task is None:
            return f"[{self.pipeline}] {self.text}"
        kind = self.kind.value.replace("_", " ")
        more = ""
        if self.count > 1:
            named = ", ".join(f"'{name}'" for name in self.others)
            more = f" (and {self.count - 1} more like it{f': {named}' if named else ''})"
        attempt = f" (attempt {self.attempt})" if self.attempt else ""
        return f"[{self.pipeline}] '{self.task}' {kind}{attempt}: {self.text}{more}"


_ALERTS = {
    EventKind.FAILED: AlertKind.FAILED,
    EventKind.RETRYING: AlertKind.RETRYING,
    EventKind.TIMED_OUT: AlertKind.TIMED_OUT,
    EventKind.FALLBACK: AlertKind.FALLBACK,
    EventKind.DEADLINE_AT_RISK: AlertKind.DEADLINE_AT_RISK,
    EventKind.DEADLINE_MISSED: AlertKind.DEADLINE_MISSED,
    EventKind.BREAKER_OPENED: AlertKind.BREAKER_OPENED,
}
_GUARD = {
    EventKind.GUARD_CLOSED: "memory is short, so at most one task runs until there is room",
    EventKind.EVICTED: "it was ended for its memory and starts again later",
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

    subscription = Subscription(view, deliver, name=f"on_event hook {name_of(hook)}")
    return subscription.start()


class AlertStream:
    """Finds what is worth an alert in a run's log.

    Args:
        view: the run.
        wanted: the kinds that are asked for, and the thresholds of those that are rules.
    """

    def __init__(self, view: RunView, wanted: Alerts) -> None:
        self._view = view
        self._kinds = frozenset(AlertKind) if wanted.kinds is None else frozenset(wanted.kinds)
        self._tally = Tally(lambda task: not view.specs[task].allow_failure)
        self._fallen_back: set[int] = set()
        self._storm = RetryStorm(wanted.storm_retries, wanted.storm_within_s)
        self._stall = Stall(wanted.stalled_times, wanted.stalled_least_s)

    def feed(self, rows: Events) -> Iterable[Alert]:
        """Yield the alerts that the next rows of the log call for."""
        self._tally.update(rows)
        self._stall.feed(rows)
        view, origin_ns = self._view, self._tally.started_ns
        telling = rows[np.isin(rows["kind"], (*_ALERTS, *_GUARD, EventKind.RUN_FINISHED, EventKind.RUN_TIMED_OUT))]
        for event in events_of(view, telling, origin_ns):
            for alert in self._of(event):
                if alert.kind in self._kinds:
                    yield alert

    def quiet(self, now_ns: int) -> Iterable[Alert]:
        """Yield the alert that nothing has finished for long, once for each time that it comes to that."""
        if AlertKind.STALLED not in self._kinds or not self._stall.is_due(now_ns, self._expected_ns()):
            return
        names = [f"'{self._view.names[task]}'" for task in self._tally.running(3)]
        running = self._tally.counts()[State.RUNNING]
        listed = (
            f"; {plural(running, 'task')} running: {', '.join(names)}{', ...' if running > 3 else ''}" if names else ""
        )
        text = (
            f"nothing has finished for {span_text(self._stall.still_s(now_ns))}, "
            f"where a task takes {span_text(self._stall.usual_s)}{listed or '; nothing runs'}"
        )
        yield self._about_run(AlertKind.STALLED, text, (now_ns - self._tally.started_ns) / 1e9)

    def patience_s(self, now_ns: int) -> float | None:
        """Return after how many seconds `quiet` should be asked; None for not before the next event."""
        counts = self._tally.counts()
        unfinished = counts[State.RUNNING] + counts[State.READY] + counts[State.BACKOFF]
        if AlertKind.STALLED not in self._kinds or not unfinished or self._tally.paused:
            return None
        return self._stall.patience_s(now_ns, self._expected_ns())

    def _expected_ns(self) -> int:
        """The longest time that a task which runs now was said to take."""
        running = self._tally.running(64)
        return int(max((self._view.specs[task].duration_s or 0.0 for task in running), default=0.0) * 1e9)

    def _of(self, event: Event) -> Iterable[Alert]:
        if event.kind is EventKind.RUN_FINISHED:
            yield self._end(event)
        elif event.kind is EventKind.RUN_TIMED_OUT:
            text = f"the run's timeout of {span_text(event.value / 1e9)} is over; {plural(event.worker, 'task')} ran"
            yield self._about_run(AlertKind.RUN_TIMED_OUT, text, event.elapsed_s)
        elif event.kind in _GUARD:
            if event.cause in (Cause.NONE, Cause.OOM):  # else it was ended for a more urgent task
                used = f" ({size_text(event.value)} in use)" if event.value else ""
                yield self._about(AlertKind.MEMORY_GUARD, event, _GUARD[event.kind] + used, None)
        elif event.task is not None:
            yield from self._of_task(event, event.task)

    def _of_task(self, event: Event, task: int) -> Iterable[Alert]:
        if event.kind is EventKind.FALLBACK:
            self._fallen_back.add(task)
        elif event.kind is EventKind.RETRYING:
            if task in self._fallen_back:
                return  # the fallback is the next attempt, and its alert has been sent
            if (storm := self._storm.feed(event.time_ns)) is not None:
                text = f"{storm} attempts failed and are tried again within {span_text(self._storm.within_s)}, the last of '{event.name}'"
                yield self._about_run(AlertKind.RETRY_STORM, text, event.elapsed_s)
        error = self._view.error(task)
        if event.kind is EventKind.DEADLINE_AT_RISK:
            yield self._about(
                AlertKind.DEADLINE_AT_RISK,
                event,
                f"{span_text(event.value / 1e9)} are left; {self._view.why(task)}",
                None,
            )
        elif event.kind is EventKind.DEADLINE_MISSED:
            yield self._about(AlertKind.DEADLINE_MISSED, event, self._view.why(task), None)
        elif event.kind is EventKind.BREAKER_OPENED:
            breaker = self._view.specs[task].breaker
            said = error.last if isinstance(error, BreakerOpen) else error_line(error)  # it may have come so far since
            text = f"breaker '{breaker.name if breaker else ''}' opened after {plural(event.value, 'failure')} in a row; {said}"
            yield self._about(AlertKind.BREAKER_OPENED, event, text, error)
        else:
            yield self._about(_ALERTS[event.kind], event, error_line(error, event.cause), error)

    def _about(self, kind: AlertKind, event: Event, text: str, error: BaseException | None) -> Alert:
        family = None if event.task is None else self._view.specs[event.task].name
        return Alert(
            kind=kind,
            pipeline=self._view.name,
            task=event.name,
            attempt=event.attempt,
            cause=event.cause,
            error=error,
            text=text,
            elapsed_s=event.elapsed_s,
            family=family,
        )

    def _about_run(self, kind: AlertKind, text: str, elapsed_s: float) -> Alert:
        return Alert(kind, self._view.name, None, 0, Cause.NONE, None, text, elapsed_s)

    def _end(self, event: Event) -> Alert:
        tally = self._tally
        counts, (failed, first) = tally.counts(), tally.failed()
        if not failed:
            text = f"all is done: {plural(len(tally), 'task')} in {span_text(event.elapsed_s)}"
            cancelled = counts[State.CANCELLED]
            if cancelled:
                text += f", {cancelled} of them cancelled or skipped"
            return self._about_run(AlertKind.RUN_FINISHED, text, event.elapsed_s)
        held_up = counts[State.UPSTREAM_FAILED]
        shown = ", ".join(f"'{self._view.names[task]}'" for task in first)
        more = f" and {failed - len(first)} more" if failed > len(first) else ""
        after = f"; {held_up} that depend on them never ran" if held_up else ""
        text = f"{failed} of {len(tally)} tasks failed: {shown}{more}{after}"
        return self._about_run(AlertKind.RUN_FAILED, text, event.elapsed_s)


def name_of(hook: object) -> str:
    """Return what a hook is called in messages."""
    return repr(getattr(hook, "__qualname__", None) or type(hook).__qualname__)


def now_ns() -> int:
    """The instant on the clock of the run's events."""
    return time.monotonic_ns()

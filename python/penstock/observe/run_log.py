"""A run's events as records of the standard library's `logging`, with their fields as `extra`.

The logger is `penstock.run`. Nothing is read and no thread started unless it is enabled for INFO, as by
`logging.basicConfig(level=logging.INFO)`. The start and end of a run, and tasks that end without a result because of others,
are INFO; what went wrong once is WARNING; a task that failed for good is ERROR; the rest is DEBUG.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from penstock.observe.alerts import error_line
from penstock.observe.events import EventKind, events_of
from penstock.observe.subscription import Subscription

if TYPE_CHECKING:
    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["LOGGER", "watch_log"]

LOGGER = logging.getLogger("penstock.run")

_LEVELS = {
    EventKind.RUN_STARTED: logging.INFO,
    EventKind.RUN_FINISHED: logging.INFO,
    EventKind.CANCELLED: logging.INFO,
    EventKind.UPSTREAM_FAILED: logging.INFO,
    EventKind.RETRYING: logging.WARNING,
    EventKind.TIMED_OUT: logging.WARNING,
    EventKind.FALLBACK: logging.WARNING,
    EventKind.INTERRUPTED: logging.WARNING,
    EventKind.DEADLINE_AT_RISK: logging.WARNING,
    EventKind.DEADLINE_MISSED: logging.WARNING,
    EventKind.BREAKER_OPENED: logging.WARNING,
    EventKind.BREAKER_CLOSED: logging.INFO,
    EventKind.RUN_TIMED_OUT: logging.ERROR,
    EventKind.FAILED: logging.ERROR,
}
_WITH_ERROR = (EventKind.RETRYING, EventKind.TIMED_OUT, EventKind.FALLBACK, EventKind.FAILED)


def watch_log(view: RunView) -> Subscription | None:
    """Start writing a run's events to the logger; None when it is not enabled for INFO."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return None
    origin_ns: int | None = None

    def deliver(rows: Events) -> None:
        nonlocal origin_ns
        if origin_ns is None and len(rows):
            origin_ns = int(rows["time"][0])
        for event in events_of(view, rows, origin_ns or 0):
            if subscription.abandoned:
                return
            level = _LEVELS.get(event.kind, logging.DEBUG)
            if not LOGGER.isEnabledFor(level):
                continue
            error = view.error(event.task) if event.task is not None and event.kind in _WITH_ERROR else None
            said = "" if error is None else f": {error_line(error, event.cause)}"
            fields = {
                "pipeline": view.name,
                "event": event.kind.name.lower(),
                "task": event.name,
                "task_id": event.task,
                "attempt": event.attempt,
                "cause": event.cause.name.lower(),
                "state": event.state.name.lower(),
                "value": event.value,
                "elapsed_s": round(event.elapsed_s, 6),
                "error_type": None if error is None else type(error).__name__,
            }
            LOGGER.log(level, "%s %s%s", view.name, event, said, extra=fields)

    subscription = Subscription(view, deliver, name="logging of the run")
    return subscription.start()

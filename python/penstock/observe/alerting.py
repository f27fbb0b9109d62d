"""`alerts=`: who is told of what, how often, and the threads that see to it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import OptionError, did_you_mean
from penstock.observe.alert_targets import Target, target_of
from penstock.observe.alerts import Alert, AlertKind, AlertStream, now_ns
from penstock.observe.outbox import Outbox
from penstock.observe.subscription import Subscription

if TYPE_CHECKING:
    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["URGENT", "AlertWatch", "Alerts", "watch_alerts"]

URGENT = (
    AlertKind.FAILED,
    AlertKind.RETRY_STORM,
    AlertKind.STALLED,
    AlertKind.DEADLINE_AT_RISK,
    AlertKind.DEADLINE_MISSED,
    AlertKind.BREAKER_OPENED,
    AlertKind.MEMORY_GUARD,
    AlertKind.RUN_TIMED_OUT,
    AlertKind.RUN_FAILED,
    AlertKind.RUN_FINISHED,
)
"""What is sent to addresses unless `kinds=` says otherwise: all but single retries, timeouts and fallbacks."""


class Alerts:
    """Alerts with settings: `alerts=[Alerts("mailto://...", kinds=["failed", "run_finished"], every_s=600)]`.

    A function or address that is given to `alerts=` as it is has the settings that are the defaults here.

    Args:
        targets: functions of one `Alert`; webhook URLs (http:// and https://), which get JSON by POST; addresses that
            Apprise knows, such as mailto:// and slack://, with the extra `alerts`.
        kinds: what is told, as `AlertKind` or its text. None: to functions everything, to addresses `URGENT`.
        every_s: alerts of one kind, task and cause are one message in so many seconds, the first at once. None: for
            functions 0, each alert by itself; for addresses 30.
        at_most: messages to one target within `per_s` seconds; what is above waits and is put together.
        per_s: seconds.
        tries: how often a message is tried, >= 1, with waits of 0.5 s, 1 s, 2 s and so on between them, at most 30 s.
        storm_retries, storm_within_s: so many retries within so many seconds are a retry storm.
        stalled_times, stalled_least_s: nothing finished for so many times the usual run time, and at least for so many
            seconds, is a stall.

    Raises:
        OptionError: a value is not allowed; names it.
        ExtraMissingError: an address needs Apprise, which is not installed.
    """

    def __init__(
        self,
        *targets: Callable[[Alert], object] | str,
        kinds: Sequence[AlertKind | str] | None = None,
        every_s: float | None = None,
        at_most: int = 20,
        per_s: float = 600.0,
        tries: int = 5,
        storm_retries: int = 20,
        storm_within_s: float = 60.0,
        stalled_times: float = 10.0,
        stalled_least_s: float = 60.0,
    ) -> None:
        for name, count in (("at_most", at_most), ("tries", tries), ("storm_retries", storm_retries)):
            if type(count) is not int or count < 1:
                raise OptionError(f"Alerts({name}={count!r}): allowed is a whole number from 1 up.")
        for name, seconds in (
            ("per_s", per_s),
            ("storm_within_s", storm_within_s),
            ("stalled_times", stalled_times),
            ("stalled_least_s", stalled_least_s),
            ("every_s", 1 if every_s is None else every_s + 1),
        ):
            if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
                raise OptionError(f"Alerts({name}={locals()[name]!r}): allowed is a number above 0.")
        self.targets: tuple[Target, ...] = tuple([target_of(target) for target in targets])
        self.kinds = None if kinds is None else tuple([_kind(kind) for kind in kinds])
        self.every_s = every_s
        self.at_most = at_most
        self.per_s = per_s
        self.tries = tries
        self.storm_retries = storm_retries
        self.storm_within_s = storm_within_s
        self.stalled_times = stalled_times
        self.stalled_least_s = stalled_least_s


def _kind(given: object) -> AlertKind:
    try:
        return AlertKind(given)
    except ValueError:
        names = [kind.value for kind in AlertKind]
        raise OptionError(
            f"Alerts(kinds=[{given!r}]): allowed are {', '.join(names)}.{did_you_mean(str(given), names)}"
        ) from None


class AlertWatch:
    """One reader of a run's log, and the outboxes of those whom it tells.

    Attributes:
        goes_out: whether one of them is not in this process.
    """

    def __init__(self, view: RunView, wanted: Alerts) -> None:
        self._outboxes = [
            Outbox(
                target,
                every_s=(30.0 if target.is_address else 0.0) if wanted.every_s is None else wanted.every_s,
                at_most=wanted.at_most if target.is_address or wanted.every_s is not None else None,
                per_s=wanted.per_s,
                tries=wanted.tries,
            )
            for target in wanted.targets
        ]
        self.goes_out = any(target.is_address for target in wanted.targets)
        self._everything = wanted.kinds is not None
        self._stream = AlertStream(view, wanted)
        names = ", ".join(target.name for target in wanted.targets)
        self._subscription = Subscription(view, self._deliver, name=f"alerts to {names}", on_end=self._end)

    def start(self) -> AlertWatch:
        """Start the threads and return this."""
        for outbox in self._outboxes:
            outbox.start()
        self._subscription.start()
        return self

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait until all is told, at most `timeout_s`; return whether it is. Call it after the log was closed."""
        until = None if timeout_s is None else time.monotonic() + timeout_s

        def left() -> float | None:
            return None if until is None else max(0.0, until - time.monotonic())

        done = self._subscription.close(left())
        for outbox in self._outboxes:
            done = outbox.close(left()) and done
        return done

    def _deliver(self, rows: Events) -> None:
        alerts: Iterable[Alert] = self._stream.feed(rows) if len(rows) else self._stream.quiet(now_ns())
        for alert in alerts:
            for outbox in self._outboxes:
                if self._everything or not outbox.target.is_address or alert.kind in URGENT:
                    outbox.put(alert)
        self._subscription.tick_s = self._stream.patience_s(now_ns())

    def _end(self) -> None:
        for outbox in self._outboxes:
            outbox.finish()


def watch_alerts(view: RunView, wanted: Alerts | Callable[[Alert], object] | str) -> AlertWatch:
    """Start telling a target, or those of an `Alerts`, of a run; each on a thread of its own."""
    return AlertWatch(view, wanted if isinstance(wanted, Alerts) else Alerts(wanted)).start()


def alerts_of(given: Any) -> list[Alerts]:
    """Return what `alerts=` was given as `Alerts`, one for each entry.

    Raises:
        OptionError: an entry is none of what is allowed.
        ExtraMissingError: an address needs Apprise.
    """
    items = (given,) if callable(given) or isinstance(given, (str, Alerts)) else given
    if items is None:
        return []
    if not isinstance(items, Iterable):
        items = (items,)
    return [item if isinstance(item, Alerts) else Alerts(item) for item in items]

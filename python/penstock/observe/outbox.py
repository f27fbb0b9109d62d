"""Alerts on their way to one target: grouped, not too many, tried again, on a thread that the run never waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.errors import message_of
from penstock.observe.alert_targets import Refused

if TYPE_CHECKING:
    from penstock.observe.alert_targets import Target
    from penstock.observe.alerts import Alert

__all__ = ["Outbox"]

logger = logging.getLogger("penstock.observe")

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
MOST_WAITING = 10_000
"""Alerts that wait for a target which does not answer; those above are counted and dropped."""

MOST_NAMED = 10


class Outbox:
    """Delivers alerts to one target.

    Args:
        target: where they go.
        every_s: alerts of one kind, family and cause are put together for so long, after the first; 0 for never.
        at_most, per_s: so many messages within so many seconds; None for any number.
        tries: how often each message is tried, >= 1.
    """

    def __init__(self, target: Target, *, every_s: float, at_most: int | None, per_s: float, tries: int) -> None:
        self.target = target
        self._every_s = every_s
        self._at_most = at_most
        self._per_s = per_s
        self._tries = tries
        self._news = threading.Condition()
        self._waiting: deque[Alert] = deque()  # guarded by `_news`
        self._dropped = 0
        self._finished = False
        self._abandoned = False
        self._groups: dict[Hashable, Alert] = {}  # the thread's own
        self._sent_s: dict[Hashable, float] = {}
        self._messages: deque[float] = deque(maxlen=at_most)
        self._thread = threading.Thread(target=self._run, name=f"penstock alerts to {target.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, alert: Alert) -> None:
        """Take an alert; never blocks."""
        with self._news:
            if len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
                return
            self._waiting.append(alert)
            self._news.notify()

    def finish(self) -> None:
        """Say that none follows: what is waiting is sent without regard for the groups' time."""
        with self._news:
            self._finished = True
            self._news.notify()

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait until all is sent or given up, at most `timeout_s`; return whether that came about."""
        self.finish()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        with self._news:
            self._abandoned = True
            self._news.notify()
        logger.warning(
            "alert target %s did not take its alerts within %.3g s after the run and is left behind",
            self.target.name,
            timeout_s or 0.0,
        )
        return False

    def _run(self) -> None:
        while not self._abandoned:
            with self._news:
                if not self._waiting and not self._finished:
                    self._news.wait(self._patience_s())
                taken, finished, dropped = list(self._waiting), self._finished, self._dropped
                self._waiting.clear()
                self._dropped = 0
            if dropped:
                logger.warning("alert target %s is too slow; %d alerts were dropped", self.target.name, dropped)
            for alert in taken:
                self._group(alert)
            if due := self._due(everything=finished):
                self._send(due)
            if finished and not self._groups:
                with self._news:
                    if not self._waiting:
                        return

    def _key(self, alert: Alert) -> Hashable:
        return (alert.kind, alert.family, alert.cause) if self._every_s > 0 else id(alert)

    def _group(self, alert: Alert) -> None:
        key = self._key(alert)
        first = self._groups.get(key)
        if first is None:
            self._groups[key] = alert
            return
        others = first.others
        if alert.task is not None and alert.task not in (first.task, *others) and len(others) < MOST_NAMED:
            others = (*others, alert.task)
        self._groups[key] = replace(first, count=first.count + 1, others=others)

    def _due_s(self, key: Hashable) -> float:
        """When a group is due: at once, unless one like it was sent a moment ago."""
        sent_s = self._sent_s.get(key)
        return 0.0 if sent_s is None else sent_s + self._every_s

    def _free_s(self) -> float:
        """When there may be a message again."""
        if self._at_most is None or len(self._messages) < self._at_most:
            return 0.0
        return self._messages[0] + self._per_s

    def _patience_s(self) -> float | None:
        if not self._groups:
            return None
        due_s = max(min(self._due_s(key) for key in self._groups), self._free_s())
        return max(0.0, due_s - time.monotonic())

    def _due(self, *, everything: bool) -> list[Alert]:
        now = time.monotonic()
        if not everything and now < self._free_s():
            return []
        keys = [key for key in self._groups if everything or self._due_s(key) <= now]
        if self._every_s > 0:
            for key in keys:
                self._sent_s[key] = now
        return [self._groups.pop(key) for key in keys]

    def _send(self, alerts: list[Alert]) -> None:
        messages = [alerts] if self.target.is_address else [[alert] for alert in alerts]
        for message in messages:
            self._messages.append(time.monotonic())
            self._try(message)

    def _try(self, message: list[Alert]) -> None:
        wait_s = FIRST_WAIT_S
        for number in range(1, self._tries + 1):
            try:
                self.target.send(message)
                return
            except BaseException as error:  # noqa: BLE001  also sys.exit() in a function: it must end nothing here
                last = number == self._tries or isinstance(error, Refused) or self._abandoned
                logger.warning(
                    "alert target %s failed with %s: %s; %s",
                    self.target.name,
                    type(error).__name__,
                    message_of(error),
                    f"{sum(alert.count for alert in message)} alerts were not delivered, after {number} tries"
                    if last
                    else f"it is tried again in {wait_s:g} s",
                )
                if last:
                    return
            with self._news:
                self._news.wait_for(lambda: self._abandoned, wait_s)
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

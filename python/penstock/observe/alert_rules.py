"""The two alerts that no single event stands for: a retry storm, and a run that has stalled. Pure; time is an argument."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from penstock.observe.events import EventKind

if TYPE_CHECKING:
    from penstock.observe.events import Events

__all__ = ["RetryStorm", "Stall"]

SEEN = 512
"""Run times of so many tasks, the latest, say what is usual."""

_ENDINGS = (EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED, EventKind.UPSTREAM_FAILED, EventKind.RESUMED)


class RetryStorm:
    """Counts retries within a time.

    Args:
        retries: so many are a storm, >= 1.
        within_s: seconds; also how long a storm is not told again.
    """

    def __init__(self, retries: int, within_s: float) -> None:
        self.within_s = within_s
        self._times: deque[int] = deque(maxlen=retries)
        self._silent_until_ns: int | None = None

    def feed(self, time_ns: int) -> int | None:
        """Take a retry; return how many there were when that makes a storm which has not been told yet."""
        self._times.append(time_ns)
        if len(self._times) < (self._times.maxlen or 1) or time_ns - self._times[0] > self.within_s * 1e9:
            return None
        if self._silent_until_ns is not None and time_ns < self._silent_until_ns:
            return None
        self._silent_until_ns = time_ns + int(self.within_s * 1e9)
        return len(self._times)


class Stall:
    """Knows how long a task usually takes and when the last one finished.

    Args:
        times: nothing finished for so many times the usual is a stall, > 0.
        least_s: but never less than so many seconds.
    """

    def __init__(self, times: float, least_s: float) -> None:
        self._times = times
        self._least_ns = int(least_s * 1e9)
        self._spans: deque[int] = deque(maxlen=SEEN)
        self._last_ns: int | None = None
        self._told = False

    def feed(self, rows: Events) -> None:
        """Take the next rows of the log."""
        if not len(rows):
            return
        if self._last_ns is None:
            self._last_ns = int(rows["time"][0])
        endings = rows[np.isin(rows["kind"], _ENDINGS)]
        if len(endings):
            self._last_ns = max(self._last_ns, int(endings["time"].max()))
            self._told = False
            done = endings[endings["kind"] == EventKind.SUCCEEDED]
            self._spans.extend(done["value"][-SEEN:].tolist())

    @property
    def usual_s(self) -> float:
        """The median run time of the tasks that have succeeded lately, in seconds; 0 when none has."""
        return float(np.median(self._spans)) / 1e9 if self._spans else 0.0

    def still_s(self, now_ns: int) -> float:
        """Return for how many seconds nothing has finished."""
        return 0.0 if self._last_ns is None else (now_ns - self._last_ns) / 1e9

    def is_due(self, now_ns: int, expected_ns: int) -> bool:
        """Return whether it has come to a stall that has not been told, and take it as told.

        Args:
            now_ns: the instant.
            expected_ns: how long what runs now was said to take.
        """
        patience_s = self.patience_s(now_ns, expected_ns)
        if patience_s is None or patience_s > 0:
            return False
        self._told = True
        return True

    def patience_s(self, now_ns: int, expected_ns: int) -> float | None:
        """Return how many seconds are left until it is one; None when what is usual is not known, or it was told."""
        usual_ns = max(self.usual_s * 1e9, expected_ns)
        if self._last_ns is None or self._told or usual_ns == 0:
            return None
        due_ns = self._last_ns + max(self._least_ns, int(self._times * usual_ns))
        return max(0.0, (due_ns - now_ns) / 1e9)

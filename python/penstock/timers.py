"""Callbacks at instants, for the control thread: it sleeps until the earliest is due, and nothing polls."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

__all__ = ["Timers"]


class Timers:
    """Callbacks with the instant at which each is due.

    Args:
        ring: wakes the thread that calls `run_due`, after an earlier instant has been added.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._lock = threading.Lock()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        """Let `callback` be called at an instant of `time.monotonic_ns`. Any thread; it is never called here."""
        with self._lock:
            first = not self._heap or due_ns < self._heap[0][0]
            heapq.heappush(self._heap, (due_ns, next(self._numbers), callback))
        if first:
            self._ring()

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._heap.clear()

    @property
    def next_due_ns(self) -> int | None:
        """The earliest instant; None when there is nothing to come."""
        with self._lock:
            return self._heap[0][0] if self._heap else None

    def run_due(self, now_ns: int) -> None:
        """Call what is due, in the order of the instants."""
        while True:
            with self._lock:
                if not self._heap or self._heap[0][0] > now_ns:
                    return
                callback = heapq.heappop(self._heap)[2]
            callback()

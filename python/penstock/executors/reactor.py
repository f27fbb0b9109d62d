"""One thread that waits for descriptors, timers and calls from other threads, and runs what they asked for.

It sleeps in one system call until one of the three is due: an idle reactor uses no CPU, and nothing polls.
Callbacks run one after another on that thread, so whatever only they touch needs no lock.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

__all__ = ["READ", "WRITE", "Reactor", "Timer"]

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

Callback = Callable[[], None]

log = logging.getLogger("penstock")


class Timer:
    """A callback at an instant, until it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Make nothing happen at its instant. Reactor thread only."""
        self.callback = None


class Reactor:
    """A selector loop on a thread of its own.

    `call` and `stop` may be used from any thread, everything else only in callbacks. A callback that raises is
    logged, and the loop goes on.
    """

    def __init__(self, name: str) -> None:
        """Open the descriptors; the thread begins with `start`.

        Args:
            name: the thread's name.
        """
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._lock = threading.Lock()  # of what other threads touch: the two below, and the pipe's life
        self._calls: deque[Callback] = deque()
        self._closed = False
        self._stopping = False
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._selector.register(self._wake_in, READ, self._woken)
        self._thread.start()

    def stop(self) -> None:
        """Run what was asked for before, end the thread, wait for it, and close the reactor's own descriptors."""
        self.call(self._stop)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def call(self, callback: Callback) -> None:
        """Run `callback` on the reactor's thread, after those given before. Ignored after the reactor stopped."""
        with self._lock:
            if self._closed:
                return
            self._calls.append(callback)
            if len(self._calls) == 1:
                os.write(self._wake_out, b"!")

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Run `callback` whenever `fd` is ready for `events`; replaces an earlier watch of `fd`.

        Args:
            fd: a descriptor, not closed before `unwatch`.
            events: READ, WRITE, or both.
        """
        try:
            self._selector.modify(fd, events, callback)
        except KeyError:
            self._selector.register(fd, events, callback)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`. Nothing happens when it is not watched."""
        try:
            self._selector.unregister(fd)
        except KeyError:
            return

    def after(self, delay_s: float, callback: Callback) -> Timer:
        """Run `callback` once, `delay_s` seconds from now, unless the timer is cancelled."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._numbers), timer))
        return timer

    def _stop(self) -> None:
        self._stopping = True

    def _woken(self) -> None:
        with self._lock:
            os.read(self._wake_in, 64)
            calls, self._calls = self._calls, deque()
        for callback in calls:
            self._guarded(callback)

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(self._patience_s()):
                if self._selector.get_map().get(key.fd) is key:  # not unwatched by a callback before it
                    self._guarded(key.data)
            self._run_timers()
        with self._lock:
            self._closed = True
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _patience_s(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                self._guarded(timer.callback)

    @staticmethod
    def _guarded(callback: Callback) -> None:
        try:
            callback()
        except BaseException:  # one attempt's trouble must not take the others' thread away
            log.exception("penstock: a callback of an executor failed; this is a bug in penstock")

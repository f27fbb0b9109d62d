"""What both executors are: a thread of their own, and the promise of exactly one report for each launch."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial

from penstock.errors import InternalError
from penstock.executors.guardian import Guardian
from penstock.executors.protocol import Launch, Report
from penstock.executors.reactor import Reactor

__all__ = ["ReactorExecutor"]

log = logging.getLogger("penstock")


class ReactorExecutor(ABC):
    """An `Executor` whose work is done by callbacks on a reactor's thread."""

    def __init__(self, name: str, grace_s: float) -> None:
        """Make the parts; nothing runs before `start`.

        Args:
            name: of the thread.
            grace_s: seconds between SIGTERM and SIGKILL for an attempt that is killed, >= 0.
        """
        self._grace_s = grace_s
        self._reactor = Reactor(name)
        self._guardian = Guardian()
        self._report: Callable[[Report], None] | None = None
        self._lock = threading.Lock()
        self._open = False
        self._closing = False  # the reactor's thread only
        self._empty = threading.Event()

    def start(self, report: Callable[[Report], None]) -> None:
        """Begin; see `Executor.start`."""
        self._report = report
        self._reactor.start()
        self._open = True

    def launch(self, launch: Launch) -> None:
        """Start one attempt; see `Executor.launch`."""
        with self._lock:
            if not self._open:
                raise InternalError(f"task {launch.name!r} was launched while its executor was not running")
            self._reactor.call(partial(self._begin, launch))

    def kill(self, task: int, attempt: int, within_s: float | None = None) -> None:
        """End an attempt and all processes that it started; see `Executor.kill`."""
        self._reactor.call(partial(self._end, task, attempt, within_s))

    def hold(self, task: int, attempt: int, *, held: bool) -> None:
        """Let an attempt's processes stand still or go on; see `Executor.hold`."""
        self._reactor.call(partial(self._hold, task, attempt, held))

    @abstractmethod
    def roots(self) -> Mapping[tuple[int, int], int]:
        """Return the process of each attempt that runs; see `Executor.roots`."""

    def close(self, *, kill: bool, within_s: float | None = None) -> None:
        """End the executor; see `Executor.close`. Not from a report.

        A second call, with `kill=True`, hurries one without that waits on another thread.
        """
        if self._report is None:
            return
        with self._lock:
            self._open = False
        self._reactor.call(partial(self._close, kill, within_s))
        self._empty.wait()
        self._reactor.stop()
        with self._lock:  # the other one of two closes; the guardian is for one thread
            self._guardian.close()

    def _close(self, kill: bool, within_s: float | None) -> None:
        self._closing = True
        self._end_all(kill, within_s)
        self._note_empty()

    def _note_empty(self) -> None:
        """To be called whenever a process has gone."""
        if self._closing and not self._has_processes():
            self._empty.set()

    def _deliver(self, report: Report) -> None:
        assert self._report is not None
        try:
            self._report(report)
        except BaseException:
            log.exception("penstock: the report of an attempt was not taken; this is a bug in penstock")

    @abstractmethod
    def _begin(self, launch: Launch) -> None:
        """Start an attempt, or deliver the report of its failure."""

    @abstractmethod
    def _end(self, task: int, attempt: int, within_s: float | None) -> None:
        """Kill an attempt, if it runs."""

    @abstractmethod
    def _hold(self, task: int, attempt: int, held: bool) -> None:
        """Let an attempt stand still or go on, if it runs."""

    @abstractmethod
    def _end_all(self, kill: bool, within_s: float | None) -> None:
        """Let processes go that run no attempt, and with `kill` all others."""

    @abstractmethod
    def _has_processes(self) -> bool:
        """Return whether a process is left."""

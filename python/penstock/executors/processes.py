"""The executor of processes: runs each attempt in a worker process, which is kept for the next one.

A worker runs one attempt at a time, so that an attempt can be killed, can crash and can be measured alone. There is no
queue: what is launched runs at once, in an idle worker with the same environment or in a new one. How many run at the
same time is the scheduler's decision.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from penstock.errors import InternalError, PickleError, TaskFailed
from penstock.executors.base import ReactorExecutor
from penstock.executors.pickling import dump_arguments, dump_function
from penstock.executors.protocol import Launch, Report
from penstock.executors.worker import Worker, failure
from penstock.states import Cause

__all__ = ["Processes"]


class Processes(ReactorExecutor):
    """Runs functions in worker processes; an `Executor`.

    A worker is a fresh interpreter in a session and process group of its own. It does not hear Ctrl-C, shares standard
    output and error with this process, and does not outlive it. Arguments are pickled and results unpickled on the
    executor's thread.
    """

    def __init__(self, *, keep: int | None = None, grace_s: float = 5.0) -> None:
        """Make an executor; nothing runs before `start`.

        Args:
            keep: how many idle workers are kept, >= 0; None: as many as the machine has cores.
            grace_s: seconds between SIGTERM and SIGKILL for an attempt that is killed, >= 0.
        """
        super().__init__("penstock-processes", grace_s)
        self._keep = (os.cpu_count() or 1) if keep is None else keep
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []  # the one used last at the end
        self._running: dict[tuple[int, int], Worker] = {}

    def roots(self) -> Mapping[tuple[int, int], int]:
        """Return the worker process of each attempt; see `Executor.roots`."""
        return {attempt: worker.pid for attempt, worker in self._running.copy().items()}

    def _begin(self, launch: Launch) -> None:
        try:
            if launch.function is None:
                raise InternalError(f"task {launch.name!r} has no function to run in a process")
            function = dump_function(launch.name, launch.function)
            arguments = dump_arguments(launch.name, launch.function, launch.args, launch.kwargs)
            while not (worker := self._worker(launch.env)).begin(launch, function, arguments):
                pass  # it died while it was idle, so another one is taken
        except (PickleError, InternalError) as error:
            self._deliver(failure(launch, error, Cause.EXCEPTION))
        except (OSError, ValueError, MemoryError) as error:
            reason = f"no worker process could be started for it: {error}"
            lost = TaskFailed(launch.name, reason, Cause.LOST, launch.attempt)
            self._deliver(failure(launch, lost, Cause.LOST))
        else:
            self._running[launch.task, launch.attempt] = worker

    def _worker(self, env: Mapping[str, str]) -> Worker:
        for worker in reversed(self._idle):
            if worker.env == env:
                self._idle.remove(worker)
                return worker
        worker = Worker(self._reactor, self._guardian, dict(env), self._grace_s, self._ended, self._gone)
        self._workers.add(worker)
        return worker

    def _ended(self, worker: Worker, report: Report) -> None:
        """Take the report of a worker; called once for each attempt that it began."""
        del self._running[report.task, report.attempt]
        if worker.usable:
            self._idle.append(worker)
            kept = 0 if self._closing else self._keep
            while len(self._idle) > kept:
                self._idle.pop(0).retire()
        self._deliver(report)

    def _gone(self, worker: Worker) -> None:
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._note_empty()

    def _end(self, task: int, attempt: int, within_s: float | None) -> None:
        worker = self._running.get((task, attempt))
        if worker is not None:
            worker.kill(within_s)

    def _hold(self, task: int, attempt: int, held: bool) -> None:
        worker = self._running.get((task, attempt))
        if worker is not None:
            worker.hold(held=held)

    def _end_all(self, kill: bool, within_s: float | None) -> None:
        while self._idle:
            self._idle.pop().retire()
        if kill:
            for worker in self._running.values():
                worker.kill(within_s)

    def _has_processes(self) -> bool:
        return bool(self._workers)

"""The lanes of processes and commands: their executors, and the attempts that are with them now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from penstock import forked
from penstock.errors import BreakerOpen, Cancelled
from penstock.fallback import Value
from penstock.states import Cause
from penstock.template import CommandTemplate

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.executors import Executor, Report
    from penstock.executors.memory_group import Place

__all__ = ["LANES", "Lanes"]

LANES = {"threads": 0, "processes": 1, "commands": 2}


class Lanes:
    """Hands the attempts that the core starts to executors, and their reports to the engine.

    `launch` is the control thread's; reports come on the executors' threads, and `kill` may be called from any.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._executors: dict[int, Executor] = {}
        self._leases: dict[tuple[int, int], int] = {}  # of the attempts that are out
        self._launched: dict[tuple[int, int], Executor] = {}
        self._launched_ns: dict[tuple[int, int], int] = {}

    @cached_property
    def _place(self) -> Place | None:
        from penstock.caps import find_place

        return find_place(self._engine.admission.machine.groups)[0]

    def ensure(self, name: str) -> None:
        """Start the executor of a lane, unless it runs."""
        lane = LANES[name]
        if lane not in self._executors:
            from penstock.executors import make_executor

            executor = make_executor(name)
            executor.start(self._reported)
            self._executors[lane] = executor

    def launch(self, lane: int, task: int, attempt: int, lease: int, devices: int) -> None:
        """Let an executor begin an attempt; exactly one report of it reaches the engine."""
        from penstock.executors import Launch

        engine, executor, key = self._engine, self._executors[lane], (task, attempt)
        with engine.lock:
            self._leases[key] = lease
        if not engine.is_running(task, attempt):  # cancelled since the core started it
            self._answer(task, attempt, None, Cancelled(f"task {engine.names[task]!r} was cancelled."))
            return
        try:
            args, kwargs = engine.bound(task)
        except Exception as error:  # noqa: BLE001  whatever putting the arguments together raises is the task's failure
            self._answer(task, attempt, None, error)
            return
        if engine.is_gather(task):  # nothing is left to run, and what it gives need not be picklable
            self._answer(task, attempt, args[0], None)
            return
        instead = engine.stand_in(task)
        if isinstance(instead, Value):
            self._answer(task, attempt, instead.value, None)
            return
        if engine.recall is not None and (known := engine.recall.answer(engine, task, args, kwargs)) is not None:
            self._answer(task, attempt, known[0], None)
            return
        spec = engine.specs[task]
        if spec.is_watched:
            try:
                engine.attempts_of.begin(task, attempt)
            except BreakerOpen as error:
                self._answer(task, attempt, None, error)
                return
        if engine.mask is not None and args and isinstance(args[0], CommandTemplate):
            engine.mask.learn(args[0].env)
        self._launched[key] = executor
        self._launched_ns[key] = time.monotonic_ns()
        engine.admission.begin(key, spec)
        executor.launch(
            Launch(
                task=task,
                attempt=attempt,
                name=engine.names[task],
                function=engine.functions[task],
                args=args,
                kwargs=kwargs,
                spec=spec,
                env=engine.admission.environment(spec, devices),
                cpus=engine.admission.cpus(key, spec),
                groups=None if spec.memory_limit is None else self._place,
            )
        )
        engine.guard.wake()
        # A cancel that looked into `_launched` too early finds the attempt there from now on; one that came before is
        # seen here.
        if not engine.is_running(task, attempt):
            executor.kill(task, attempt)

    def kill(self, task: int, attempt: int, within_s: float | None = None) -> None:
        """End an attempt that is with an executor; its report follows. `within_s`: as in `Executor.kill`."""
        executor = self._launched.get((task, attempt))
        if executor is not None:
            executor.kill(task, attempt, within_s)

    def hold(self, task: int, attempt: int, *, held: bool) -> None:
        """Let an attempt that is with an executor stand still, or go on."""
        executor = self._launched.get((task, attempt))
        if executor is not None:
            executor.hold(task, attempt, held=held)

    def roots(self) -> Mapping[tuple[int, int], int]:
        """Return the process of each attempt that runs in one."""
        found: dict[tuple[int, int], int] = {}
        for executor in list(self._executors.values()):
            found.update(executor.roots())
        return found

    def lease(self, task: int, attempt: int) -> int | None:
        """Return the lease of an attempt that is out, or None."""
        return self._leases.get((task, attempt))

    def launched_ns(self, task: int, attempt: int) -> int:
        """Return when an attempt was given to its executor; 0 when it is not out."""
        return self._launched_ns.get((task, attempt), 0)

    def launched(self) -> list[tuple[int, int]]:
        """Return the attempts that are with executors, as (task, attempt)."""
        return list(self._launched.copy())

    @property
    def any_out(self) -> bool:
        """Whether an attempt is with an executor."""
        return bool(self._launched)

    def close(self, *, kill_s: float | None = None) -> None:
        """End what runs, and the executors.

        Args:
            kill_s: seconds until what does not end when it is asked to is killed; None for what its executor gives it.
        """
        for executor in self._executors.values():
            executor.close(kill=True, within_s=kill_s)

    def _answer(self, task: int, attempt: int, value: object, error: BaseException | None) -> None:
        """Report an attempt that no executor was needed for."""
        from penstock.executors import Report, Usage

        now = time.monotonic_ns()
        cause = Cause.NONE if error is None else Cause.EXCEPTION
        self._reported(Report(task, attempt, value, error, cause, now, now, Usage(None, None)))

    def _reported(self, report: Report) -> None:
        engine, key = self._engine, (report.task, report.attempt)
        try:
            with engine.lock:
                lease = self._leases.pop(key)
                self._launched.pop(key, None)
                self._launched_ns.pop(key, None)
            engine.reported(report, lease)
        except BaseException as bug:  # noqa: BLE001  a bug of ours must end the run, not the executor's thread
            engine.broken(bug)
        if engine.is_copy:  # a callback has forked, and this thread is the copy's only one
            forked.leave(None)

"""What an executor is: it starts attempts where it is told to, and reports each one exactly once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.executors.memory_group import Place
from penstock.options import TaskSpec
from penstock.resources import Demand
from penstock.states import Cause

__all__ = ["UNKNOWN", "Executor", "Launch", "Report", "Usage"]

NOTHING = Demand()


@dataclass(frozen=True, slots=True)
class Launch:
    """One attempt that is to start now.

    Attributes:
        task: the task's id, >= 0.
        attempt: 1 for the first attempt.
        name: the call's name, for messages.
        function: what to call; None for a command.
        args, kwargs: its arguments, with results in the places of calls. A command has one argument, its resolved
            `CommandTemplate`.
        spec: the task's options.
        env: environment variables that the attempt's process gets on top of penstock's own, such as OMP_NUM_THREADS.
        cpus: numbers of the CPUs that it is to run on; None for all.
        groups: where a control group for its `memory_limit` can be made; None: nowhere.
    """

    task: int
    attempt: int
    name: str
    function: Callable[..., Any] | None
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    spec: TaskSpec
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: frozenset[int] | None = None
    groups: Place | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one attempt used, its whole process tree. None means unknown, never zero.

    Attributes:
        cpu_s: seconds of CPU time, user and system, of the process and of its children that have ended.
        peak_memory: bytes; the highest resident memory of its process, the interpreter included, or, where that was more
            when it was sampled, of the process and all that it started.
        io_bytes: bytes read from devices and written to them, by the process and its children that have ended. What came
            out of the page cache is not among them.
        gpu_memory: bytes; the most that was seen in use on all GPUs together.
        declared: what the task had asked for.
    """

    cpu_s: float | None
    peak_memory: int | None
    io_bytes: int | None = None
    gpu_memory: int | None = None
    declared: Demand = NOTHING


UNKNOWN = Usage(None, None)


@dataclass(frozen=True, slots=True)
class Report:
    """How one attempt ended.

    Attributes:
        task, attempt: which one.
        value: its result; None when it failed.
        error: why it failed, or None.
        cause: NONE when it succeeded.
        started_ns, finished_ns: `time.monotonic_ns` around the function or command, without the start of a worker process
            and with what it imports for the function.
        usage: what it used.
    """

    task: int
    attempt: int
    value: object
    error: BaseException | None
    cause: Cause
    started_ns: int
    finished_ns: int
    usage: Usage


class Executor(Protocol):
    """Runs attempts somewhere else. Every method may be called from any thread and returns soon, `close` excepted."""

    def start(self, report: Callable[[Report], None]) -> None:
        """Begin.

        Args:
            report: called once for each launched attempt, on the executor's own thread, so it must not block.
        """

    def launch(self, launch: Launch) -> None:
        """Start one attempt. Exactly one report follows, whatever happens to it.

        Raises:
            InternalError: `start` was not called, or `close` was.
        """

    def kill(self, task: int, attempt: int, within_s: float | None = None) -> None:
        """End an attempt with all processes that it started; its report follows. Without effect when it has ended.

        Args:
            task, attempt: which one.
            within_s: seconds between SIGTERM and SIGKILL; None for the executor's own grace time.
        """

    def hold(self, task: int, attempt: int, *, held: bool) -> None:
        """Let all processes of an attempt stand still, or go on. Without effect when it has ended, or is being killed.

        One that stands still can be killed, and goes on so far as to heed the SIGTERM.
        """

    def roots(self) -> Mapping[tuple[int, int], int]:
        """Return, by task and attempt, the process in whose tree each attempt runs now."""

    def close(self, *, kill: bool, within_s: float | None = None) -> None:
        """Wait until the attempts that run have ended, then end everything; no process, thread or descriptor is left.

        Args:
            kill: end running attempts as `kill` does rather than let them finish.
            within_s: seconds that those then have between SIGTERM and SIGKILL; None for the executor's own grace time.
        """

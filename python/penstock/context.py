"""What a running task can ask about itself: its name, its attempt, and leave to add or skip work.

This module knows no runtime. Whoever runs tasks, the runtime on its worker threads and the worker loop in a
process of its own, installs a *provider* once; the functions here only ask it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from penstock.errors import PenstockError

__all__ = ["NoRunningTaskError", "Provider", "TaskContext", "current", "install", "running", "skip"]

P = ParamSpec("P")
R = TypeVar("R")


class NoRunningTaskError(PenstockError, RuntimeError):
    """`current()` or `skip()` was called by code that no penstock run is executing."""


class TaskContext(Protocol):
    """The running task as its own code sees it. `penstock.current()` returns one."""

    @property
    def name(self) -> str:
        """The name of the call, unique in its pipeline."""

    @property
    def task(self) -> int:
        """The task's id in this run, >= 0."""

    @property
    def attempt(self) -> int:
        """1 for the first attempt, 2 for the first retry."""

    def submit(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Add a task to the run that this task belongs to.

        Args:
            task: a `Task`, a plain function, or a `Call` that was built in this task (then no arguments follow).
            args, kwargs: its arguments; they may hold `Call`s.

        Returns:
            The `Call`, typed as the value that it stands for: pass it to other tasks, or return it from this task,
            whose result is then the result of that call.
        """

    def skip(self, *targets: object) -> None:
        """Skip tasks that have not started: the given calls or names, or all that depend on this task.

        What depends on a skipped task is skipped too, unless it was declared with needs="any" and another of its
        predecessors succeeds. This task goes on, and its result counts.

        Raises:
            PenstockError: a target is no call or name of this run.
        """


Provider = Callable[[], "TaskContext | None"]

_provider: Provider | None = None


def install(provider: Provider | None) -> Provider | None:
    """Make `provider` the one that `current` asks; for drivers and worker processes, not for tasks.

    Args:
        provider: called on the asking thread, often, so it should cost well under a microsecond; returns the context of
            the task that runs on that thread, or None. `None` instead of a provider uninstalls.

    Returns:
        The provider that was installed before.
    """
    global _provider
    before, _provider = _provider, provider
    return before


def running() -> bool:
    """Return whether a penstock task is running on this thread."""
    return _provider is not None and _provider() is not None


def current() -> TaskContext:
    """Return the context of the task that is running on this thread.

    Raises:
        NoRunningTaskError: no task is. Threads that a task starts itself do not inherit its context.
    """
    context = None if _provider is None else _provider()
    if context is None:
        raise NoRunningTaskError(
            "penstock.current() was called outside a running task; call it on the thread that runs the task's function, "
            "and pass what other threads need to them."
        )
    return context


def skip(*targets: object) -> None:
    """Skip tasks of this run that have not started; shorthand for `current().skip(...)`.

    Args:
        targets: calls, or names of calls; none at all means everything that depends on the running task.

    Raises:
        NoRunningTaskError: called outside a running task.
        PenstockError: a target is no call or name of this run.
    """
    current().skip(*targets)

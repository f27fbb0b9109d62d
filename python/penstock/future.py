"""`Future`: what `Runtime.submit` and `Run.future` return."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from penstock.explain import succeeded, why
from penstock.states import State

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.executors import Usage

__all__ = ["Future"]

T = TypeVar("T")
SOON_S = 0.001
_FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED)


class Future(concurrent.futures.Future, Generic[T]):  # type: ignore[type-arg]
    """The result of a task that may still be running: a `concurrent.futures.Future` that can say more.

    `result()` raises the task's own exception, as futures do. It may be waited for with
    `concurrent.futures.wait` and `as_completed`, and wrapped by `asyncio.wrap_future`.
    """

    def __init__(self, engine: Engine, task: int, *, alone: bool = False) -> None:
        super().__init__()
        self._engine = engine
        self._alone = alone
        self.task = task
        # Once it has ended, since the engine may let go of it:
        self._name: str | None = None
        self._attempts = 0
        self._usage: Usage | None = None
        self._why: str | None = None  # None: it has succeeded

    @classmethod
    def of(cls, engine: Engine, task: int, *, alone: bool = False) -> Future[Any]:
        """Return a future of a task of `engine`, settled at once when the task has ended.

        Args:
            engine: whose task it is.
            task: its id.
            alone: nobody can ask for the result but through the future, so the engine need not keep it.
        """
        with engine.lock:  # of two threads that ask, both get the same
            known = [found for found in engine.waiters(task) if isinstance(found, Future)]
            future: Future[Any] = known[0] if known else cls(engine, task, alone=alone)
            if not known:
                engine.await_end(task, future)
        # Ended, or broken, before anyone could see that it is watched.
        if engine.scheduler.state(task) in _FINAL or engine.bug is not None:
            engine.settled([task])
        return future

    def result(self, timeout: float | None = None) -> T:
        """Return the task's value, or raise what it raised, as futures do.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
        """
        if (timeout is None or timeout > SOON_S) and not self.done() and self._engine.ends_soon(self.task):
            self._engine.settled([self.task])  # unless its worker has
        value: T = super().result(timeout)
        return value

    @property
    def name(self) -> str:
        return self._engine.names[self.task] if self._name is None else self._name

    @property
    def attempts(self) -> int:
        """How many attempts have been started."""
        return self._engine.attempts(self.task) if self._name is None else self._attempts

    @property
    def usage(self) -> Usage | None:
        """What the last finished attempt used, or None where it was not measured."""
        return self._engine.usage.get(self.task) if self._name is None else self._usage

    def why(self) -> str:
        """One sentence: why the task is not running now."""
        if self._name is None:
            return why(self._engine, self.task)
        return self._why or succeeded(self._name)

    def running(self) -> bool:
        return not self.done() and self._engine.scheduler.state(self.task) == State.RUNNING

    def cancel(self) -> bool:
        """Cancel the task unless it is running or has ended; returns whether it is cancelled now."""
        if self._engine.scheduler.state(self.task) != State.RUNNING:
            self._engine.cancel([self.task])
        return self.cancelled()

    def settle(self) -> None:
        """Take the task's outcome; called once, by the engine."""
        try:
            self._take_outcome()
        finally:
            self._keep_what_is_asked_for()
            if self._alone:
                self._engine.release(self.task)

    def _keep_what_is_asked_for(self) -> None:
        engine, task = self._engine, self.task
        if engine.scheduler.state(task) != State.SUCCEEDED:
            self._why = why(engine, task)
        self._usage, self._attempts, self._name = engine.usage.get(task), engine.attempts(task), engine.names[task]

    def _take_outcome(self) -> None:
        engine, task = self._engine, self.task
        state = State(engine.scheduler.state(task))
        if state == State.SUCCEEDED:
            self.set_running_or_notify_cancel()
            self.set_result(engine.results[task])
        elif state not in _FINAL and engine.bug is not None:
            self.set_running_or_notify_cancel()
            self.set_exception(engine.bug)
        elif state == State.CANCELLED or state not in _FINAL:  # the latter: its engine was closed
            super().cancel()
            self.set_running_or_notify_cancel()
        else:
            self.set_running_or_notify_cancel()
            error = engine.errors.get(task) if state == State.FAILED else None
            self.set_exception(error if error is not None else _outcome(engine, task))


def _outcome(engine: Engine, task: int) -> BaseException:
    from penstock.result import value_of

    try:
        value_of(engine, task)
    except Exception as error:  # noqa: BLE001  the outcome, whatever it is, is what the future holds
        return error
    raise AssertionError(f"task {task} has a result")

"""`Future`: what `Runtime.submit` and `Run.future` return."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from penstock.states import State

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.executors import Usage

__all__ = ["Future"]

T = TypeVar("T")
_FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED)


class Future(concurrent.futures.Future, Generic[T]):  # type: ignore[type-arg]
    """The result of a task that may still be running: a `concurrent.futures.Future` that can say more.

    `result()` raises the task's own exception, as futures do. It may be waited for with
    `concurrent.futures.wait` and `as_completed`, and wrapped by `asyncio.wrap_future`.
    """

    def __init__(self, engine: Engine, task: int) -> None:
        super().__init__()
        self._engine = engine
        self.task = task

    @classmethod
    def of(cls, engine: Engine, task: int) -> Future[Any]:
        """Return a future of a task of `engine`, settled at once when the task has ended."""
        for found in engine.waiters(task):
            if isinstance(found, Future):
                return found
        future: Future[Any] = cls(engine, task)
        engine.await_end(task, future)
        if engine.scheduler.state(task) in _FINAL:  # ended before anyone could see that it is watched
            engine.settled([task])
        return future

    @property
    def name(self) -> str:
        return self._engine.names[self.task]

    @property
    def attempts(self) -> int:
        """How many attempts have been started."""
        return self._engine.attempts(self.task)

    @property
    def usage(self) -> Usage | None:
        """What the last finished attempt used, or None where it was not measured."""
        return self._engine.usage.get(self.task)

    def why(self) -> str:
        """One sentence: why the task is not running now."""
        from penstock.explain import why

        return why(self._engine, self.task)

    def running(self) -> bool:
        return not self.done() and self._engine.scheduler.state(self.task) == State.RUNNING

    def cancel(self) -> bool:
        """Cancel the task unless it is running or has ended; returns whether it is cancelled now."""
        if self._engine.scheduler.state(self.task) != State.RUNNING:
            self._engine.cancel([self.task])
        return self.cancelled()

    def settle(self) -> None:
        """Take the task's outcome; called once, by the engine."""
        engine, task = self._engine, self.task
        state = State(engine.scheduler.state(task))
        if state == State.SUCCEEDED:
            self.set_running_or_notify_cancel()
            self.set_result(engine.results[task])
        elif state == State.CANCELLED:
            super().cancel()
            self.set_running_or_notify_cancel()
        else:
            self.set_running_or_notify_cancel()
            error = engine.errors.get(task) if state == State.FAILED else None
            self.set_exception(error if error is not None else _outcome(engine, task))


def _outcome(engine: Engine, task: int) -> BaseException:
    from penstock.run import value_of

    try:
        value_of(engine, task)
    except Exception as error:  # noqa: BLE001  the outcome, whatever it is, is what the future holds
        return error
    raise AssertionError(f"task {task} has a result")

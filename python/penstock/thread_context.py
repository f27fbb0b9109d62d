"""What `penstock.current()` is for a task that runs on one of the engine's threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from penstock import _core

if TYPE_CHECKING:
    from penstock.engine import Engine

__all__ = ["ThreadContext", "enter_worker"]

_local = threading.local()


def enter_worker(engine: Engine) -> None:
    """Mark this thread as a worker of `engine`."""
    _local.engine = engine


class ThreadContext:
    """The running task as its own code sees it; see `context.TaskContext`."""

    __slots__ = ("_engine", "attempt", "task")

    def __init__(self, engine: Engine, task: int, attempt: int) -> None:
        self._engine = engine
        self.task = task
        self.attempt = attempt

    @classmethod
    def of_this_thread(cls) -> ThreadContext | None:
        task = _core.current_task()
        return None if task < 0 else cls(_local.engine, task, _core.current_attempt())

    @property
    def name(self) -> str:
        return self._engine.names[self.task]

    @property
    def gpus(self) -> list[str]:
        """UUIDs of the GPUs that this attempt holds."""
        return self._engine.admission.uuids(_core.current_devices())

    def submit(self, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self._engine.submit_in_task(target, args, kwargs)

    def skip(self, *targets: object) -> None:
        self._engine.skip(self.task, targets)

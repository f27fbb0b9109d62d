"""Retry rules written with tenacity, asked between the attempts of a task. penstock does the waiting, and holds no worker.

tenacity itself is never required: who passes one of its objects has it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.errors import ResultRefused

if TYPE_CHECKING:
    from random import Random

    from penstock.retry import Failure

__all__ = ["TenacityRetry", "is_tenacity"]

_PARTS = ("stop", "wait", "retry")
_UNHEARD = ("before", "after", "before_sleep", "retry_error_callback")


def is_tenacity(value: object) -> bool:
    """Return whether `value` is a tenacity object, or a list or tuple of nothing else."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(is_tenacity(one) for one in value)
    return _part_of(value) is not None or _is_retrying(value)


def _is_retrying(value: object) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in (*_PARTS, "iter"))


def _part_of(value: object) -> str | None:
    for base in type(value).__mro__:
        if base.__module__.startswith("tenacity") and base.__name__.endswith("_base"):
            return base.__name__.removesuffix("_base")
    return None


@dataclass(frozen=True, slots=True)
class TenacityRetry:
    """The stop, wait and retry rules of a `tenacity.Retrying`.

    Attributes:
        retrying: the object; its `sleep` is never called.
    """

    retrying: Any

    @classmethod
    def of(cls, value: object) -> TenacityRetry:
        """Return the rules in a `Retrying`, in one of its parts (`stop_after_attempt(3)`), or in a list of parts.

        Parts that are not given are tenacity's own defaults: never stop, no wait, retry after every exception.

        Raises:
            ValueError: two parts are of one kind, or it has a part that penstock would not call; says which.
        """
        if _is_retrying(value):
            retrying: Any = value
        else:
            parts: dict[str, object] = {}
            for part in value if isinstance(value, Sequence) else [value]:
                kind = _part_of(part)
                if kind not in _PARTS:
                    raise ValueError(f"{part!r} is no stop, wait or retry rule of tenacity")
                if kind in parts:
                    raise ValueError(f"it has two {kind} rules; combine them with | or &")
                parts[kind] = part
            import tenacity

            retrying = tenacity.Retrying(**parts)  # type: ignore[arg-type]
        if "tenacity.asyncio" in {base.__module__ for base in type(retrying).__mro__}:
            raise ValueError("it is asynchronous; give a tenacity.Retrying, since tasks are plain functions")
        for name in _UNHEARD:
            given = getattr(retrying, name, None)
            if given is not None and getattr(given, "__name__", "") not in ("before_nothing", "after_nothing"):
                raise ValueError(
                    f"it has {name}=, which penstock does not call; leave it out and use on_event=, alerts= or fallback="
                )
        return cls(retrying)

    def next_wait_s(self, failure: Failure, rng: Random) -> float | None:
        """Return the seconds until the next attempt, or None when there is to be none; see `Retry.next_wait_s`."""
        state = self._state(failure.attempt, failure.elapsed_s, failure.waited_s)
        error = failure.error
        if isinstance(error, ResultRefused):
            state.set_result(error.value)
        else:
            state.set_exception((type(error), error, error.__traceback__))
            if not _explicit(error) and not self.retrying.retry(state):
                return None
        state.upcoming_sleep = self.retrying.wait(state) if self.retrying.wait is not None else 0.0
        if self.retrying.stop is not None and self.retrying.stop(state):
            return None
        return max(0.0, float(state.upcoming_sleep))

    def refuses(self, value: object, attempt: int) -> bool:
        """Return whether the retry rule asks for another attempt although this one has returned `value`."""
        state = self._state(attempt, 0.0, 0.0)
        state.set_result(value)
        return bool(self.retrying.retry(state))

    def _state(self, attempt: int, elapsed_s: float, waited_s: float) -> Any:
        import tenacity

        state = tenacity.RetryCallState(self.retrying, None, (), {})
        state.start_time = time.monotonic() - elapsed_s
        state.attempt_number = attempt
        state.idle_for = waited_s
        return state


def _explicit(error: BaseException) -> bool:
    """Return whether the task asked for another attempt with `raise tenacity.TryAgain`."""
    import tenacity

    return isinstance(error, tenacity.TryAgain)

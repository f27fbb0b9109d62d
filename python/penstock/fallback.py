"""What stands in for a task whose attempts have all failed: another function or command, or simply a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

__all__ = ["Fallback", "Value", "value"]


@dataclass(frozen=True, slots=True)
class Value:
    """A fallback that calls nothing: this is the task's result then. Made by `penstock.value`."""

    value: object

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Return the value, whatever the task was given."""
        return self.value


def value(result: object) -> Value:
    """Return a fallback that is a value: `@task(fallback=penstock.value(0.0))`.

    Args:
        result: what the task's result is when every attempt, and every fallback before this one, has failed. The same
            object for every call of the task, so nobody should change it.
    """
    return Value(result)


Fallback = Callable[..., Any] | Value
"""What a task of a function falls back to; a command falls back to a `CommandTemplate` or a `Value`."""

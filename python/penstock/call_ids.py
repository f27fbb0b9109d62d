"""Which task each call is: for good, or for as long as anybody else holds the call."""

from __future__ import annotations

import weakref
from collections import deque
from functools import partial
from typing import Any

from penstock.task import Call

__all__ = ["CallIds"]


class CallIds(dict[Call[Any], int]):
    """Ids by call. A call that was let go of is still found, until nothing but this knows it.

    `ids[call]` finds both kinds; so does `find`. All other methods know only those that are held.

    Attributes:
        gone: ids of the calls that nobody holds any more, since somebody last emptied it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gone: deque[int] = deque()
        self._weak: dict[int, tuple[weakref.ref[Call[Any]], int]] = {}  # by id() of the call

    def __missing__(self, call: Call[Any]) -> int:
        known, task = self._weak.get(id(call), (None, 0))
        if known is None or known() is not call:
            raise KeyError(call)
        return task

    def find(self, call: Call[Any]) -> int | None:
        """Return the id of a call, or None."""
        try:
            return self[call]
        except KeyError:
            return None

    def let_go(self, call: Call[Any]) -> None:
        """Hold a call no longer. When nobody does, its id comes into `gone`, in whatever thread that happens."""
        key, task = id(call), self.pop(call)
        self._weak[key] = weakref.ref(call, partial(self._gone, key, task)), task

    def _gone(self, key: int, task: int, _: object) -> None:
        del self._weak[key]  # before the call's memory is used again: the interpreter calls this first
        self.gone.append(task)

"""Checks a call's arguments against the function's signature when the call is written, not when it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Arguments"]

_VARIABLE = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


class Arguments:
    """What arguments one function takes.

    Most functions have only plain parameters; theirs are checked by counting, about ten times as fast as
    `inspect.signature(...).bind`, which decides the rest and words every refusal.
    """

    __slots__ = ("_function", "_names", "_required", "_signature")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._signature: inspect.Signature | None = None
        self._names: tuple[str, ...] | None = None
        self._required = 0
        code = getattr(function, "__code__", None)
        if (
            code is not None
            and inspect.isfunction(function)
            and not hasattr(function, "__wrapped__")
            and not code.co_flags & _VARIABLE
            and not code.co_kwonlyargcount
            and not code.co_posonlyargcount
        ):
            self._names = code.co_varnames[: code.co_argcount]
            self._required = code.co_argcount - len(function.__defaults__ or ())

    def check(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str | None:
        """Return None when the function takes these arguments, else what is wrong, in Python's own words."""
        names = self._names
        if names is not None and len(args) <= len(names):
            left = names[len(args) :]
            if all(key in left for key in kwargs) and all(name in kwargs for name in names[len(args) : self._required]):
                return None
        if self._signature is None:
            try:
                self._signature = inspect.signature(self._function)
            except (TypeError, ValueError):  # some builtins tell nothing about themselves
                return None
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            return str(error)
        return None

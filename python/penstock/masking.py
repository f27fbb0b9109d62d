"""Keeps the values of secrets out of what penstock says: errors, and with them logs, alerts, tables and displays."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.errors import OptionError, TaskFailed, message_of

__all__ = ["MASK", "Mask"]

MASK = "***"
LEAST_CHARACTERS = 4
"""A value shorter than this is not masked: it would be found in half of all words."""

_log = logging.getLogger("penstock")


class Mask:
    """The values behind some names of environment variables, and what hides them.

    Args:
        names: of variables in penstock's own environment, or in the `env=` of commands.

    Raises:
        OptionError: a name is no text.
    """

    def __init__(self, names: str | Iterable[str]) -> None:
        self._names = (names,) if isinstance(names, str) else tuple(names)
        for name in self._names:
            if type(name) is not str or not name or "=" in name:
                raise OptionError(f"secret={name!r}; allowed are names of environment variables.")
        self._values: tuple[str, ...] = ()
        self.learn(os.environ)

    def learn(self, env: Mapping[str, object]) -> None:
        """Take the values that an environment gives the names."""
        found = {str(env[name]) for name in self._names if name in env}
        for value in found - set(self._values):
            if len(value) < LEAST_CHARACTERS:
                if value:
                    _log.warning("a secret has less than %d characters and is not masked", LEAST_CHARACTERS)
                continue
            # The longest first, so that of two values one of which contains the other nothing is left over.
            self._values = tuple(sorted({*self._values, value}, key=len, reverse=True))

    @property
    def names(self) -> tuple[str, ...]:
        """As given."""
        return self._names

    @property
    def as_bytes(self) -> tuple[bytes, ...]:
        """The values in UTF-8; bytes that hold one of them are not written to disk at all."""
        return tuple(value.encode("utf-8", "surrogateescape") for value in self._values)

    def hides(self, text: str) -> str:
        """Return the text with every secret replaced."""
        for value in self._values:
            text = text.replace(value, MASK)
        return text

    def cleaned(self, error: BaseException, task: str) -> BaseException:
        """Return an error that says no secret: itself, with the text in its arguments and attributes masked.

        Where that does not help, because it makes its message some other way, another error stands for it.
        """
        if not self._values:
            return error
        seen: set[int] = set()
        chain: list[BaseException | None] = [error]
        while chain:
            one = chain.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            self._clean(one)
            chain += [one.__cause__, one.__context__]
            inner = getattr(one, "exceptions", ())  # of an exception group
            chain += list(inner) if isinstance(inner, tuple) else []
        said = message_of(error)
        if self.hides(said) == said and self.hides(repr(error)) == repr(error):
            return error
        return TaskFailed(task, self.hides(f"{type(error).__name__}: {said}"))

    def _clean(self, error: BaseException) -> None:
        error.args = tuple([self._plain(value) for value in error.args])
        attributes = [*vars(error), "filename", "filename2", "strerror", "object", "obj", "name", "path", "msg", "text"]
        for attribute in attributes:
            value = getattr(error, attribute, None)
            clean = self._plain(value)
            if clean is not value:
                try:
                    setattr(error, attribute, clean)
                except (AttributeError, TypeError):  # it is looked at once more as a whole
                    continue

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            masked = self.hides(value)
            return value if masked == value else masked
        if isinstance(value, bytes):
            masked_bytes = value
            for secret in self._values:
                masked_bytes = masked_bytes.replace(secret.encode(), MASK.encode())
            return value if masked_bytes == value else masked_bytes
        if type(value) in (list, tuple):
            items = [self._plain(item) for item in value]
            return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
        if type(value) is dict:
            pairs = {self._plain(key): self._plain(item) for key, item in value.items()}
            same = all(value.get(key) is item for key, item in pairs.items()) and len(pairs) == len(value)
            return value if same else pairs
        return value

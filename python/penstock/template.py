"""What a command task runs: an argument list or a shell line, in which results of other tasks may stand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.inputs import Input, Lookup, inputs_of

if TYPE_CHECKING:
    from penstock.task import Call

__all__ = ["CommandTemplate", "Text", "as_text"]


def as_text(value: object, where: str) -> str:
    """Return `value` as the text of one command argument.

    Args:
        value: a str, bytes in UTF-8, a path, or a number.
        where: names the place in the message, such as "argument 2".

    Raises:
        TypeError: `value` is something else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return as_text(value.item(), where)
    raise TypeError(
        f"{where} is a {type(value).__qualname__}; a command takes text, paths and numbers. "
        "Turn it into text in the task that makes it."
    )


def _resolved(value: object, lookup: Lookup, where: str) -> str:
    """Return fixed text as it is, and a result without newlines at its end, as the shell's `$(...)` does."""
    if isinstance(value, Input):
        return as_text(value.resolve(lookup), where).rstrip("\n")
    return as_text(value, where)


@dataclass(frozen=True, slots=True)
class Text(Input):
    """Text put together from fixed pieces and results: `Text(("--rows=", count))`."""

    pieces: tuple[object, ...]

    def sources(self) -> Iterable[Call[Any]]:
        return inputs_of(self.pieces, {})

    def resolve(self, lookup: Lookup) -> str:
        return "".join([_resolved(piece, lookup, "a part of an argument") for piece in self.pieces])


@dataclass(frozen=True, slots=True)
class CommandTemplate(Input):
    """One command, in which any text may be a `Call`, a part of one, or a `Text`.

    As an input it stands for itself: `resolve` gives the command with all results filled in, which is what a
    command task finds as its only argument.

    Attributes:
        argv: the program and its arguments; with `shell`, the one line that /bin/sh reads.
        shell: whether `argv[0]` is a shell line. Results never become part of that line, only of `env`.
        env: added to the environment that penstock itself runs in.
        cwd: working directory; None is that of the penstock process.
        stdin: text or bytes for standard input, exactly as they are; None gives an empty one.
    """

    argv: tuple[object, ...]
    shell: bool = False
    env: Mapping[str, object] = field(default_factory=dict)
    cwd: object | None = None
    stdin: object | None = None

    def check(self) -> None:
        """Raise TypeError when a fixed value is of a kind that no command takes; names the place."""
        for place, value in self._places():
            for piece in value.pieces if isinstance(value, Text) else (value,):
                if not isinstance(piece, Input):
                    as_text(piece, place)

    def sources(self) -> Iterable[Call[Any]]:
        return inputs_of((self.argv, self.env, self.cwd, self.stdin), {})

    def resolve(self, lookup: Lookup) -> CommandTemplate:
        """Return this command as plain text.

        Args:
            lookup: gives the result of a call.

        Raises:
            TypeError: a result is neither text, nor a path, nor a number; names the place.
        """
        stdin = self.stdin.resolve(lookup) if isinstance(self.stdin, Input) else self.stdin
        return CommandTemplate(
            argv=tuple([_resolved(value, lookup, _argument(place)) for place, value in enumerate(self.argv)]),
            shell=self.shell,
            env={key: _resolved(value, lookup, _variable(key)) for key, value in self.env.items()},
            cwd=None if self.cwd is None else _resolved(self.cwd, lookup, "cwd"),
            stdin=stdin if stdin is None or isinstance(stdin, bytes) else as_text(stdin, "stdin"),
        )

    def _places(self) -> Iterator[tuple[str, object]]:
        """Yield every value with the name of its place."""
        yield from ((_argument(place), value) for place, value in enumerate(self.argv))
        yield from ((_variable(key), value) for key, value in self.env.items())
        yield from ((key, value) for key, value in (("cwd", self.cwd), ("stdin", self.stdin)) if value is not None)

    def __str__(self) -> str:
        """Return the command on one line, for people; calls show as their names in `${{ }}`."""
        return " ".join(" ".join(_shown(value) for value in self.argv).split())


def _argument(place: int) -> str:
    return f"argument {place}" if place else "the program"


def _variable(key: str) -> str:
    return f"environment variable {key}"


def _shown(value: object) -> str:
    if isinstance(value, Text):
        return "".join(_shown(piece) for piece in value.pieces)
    if isinstance(value, Input):
        return f"${{{{ {', '.join(source.name for source in value.sources())} }}}}"
    return str(value)

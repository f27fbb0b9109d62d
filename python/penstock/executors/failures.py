"""What becomes of an attempt's failure on its way from another process."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import penstock
from penstock.errors import PenstockError

__all__ = ["CommandFailed", "RemoteTraceback", "traceback_text"]

_OURS = str(Path(penstock.__file__).parent) + os.sep


class RemoteTraceback(Exception):
    """The traceback of an error that was raised in another process, as text; the error's `__cause__`.

    Attributes:
        text: what Python would have printed there, without frames of penstock's own.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n{self.text}"


class CommandFailed(PenstockError):
    """A command could not be started, exited with a code other than 0, or was killed.

    Attributes:
        task: the task's name.
        command: the command on one line.
        problem: what happened, the rest of a sentence that begins with the task.
        exit_code: its exit code, or None.
        signal: the number of the signal that killed it, or None.
        stderr: the end of what it wrote to standard error.
    """

    def __init__(
        self,
        task: str,
        command: str,
        problem: str,
        exit_code: int | None = None,
        signal: int | None = None,
        stderr: str = "",
    ) -> None:
        self.task = task
        self.command = command
        self.problem = problem
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr
        super().__init__(task, command, problem, exit_code, signal, stderr)

    def __str__(self) -> str:
        # The first line says it all, with the last that the command itself said: displays and alerts show no more.
        said = self.stderr.rstrip().splitlines()
        lines = [
            f"task {self.task!r} {self.problem}{f': {said[-1].strip()}' if said else ''}",
            f"command: {self.command}",
        ]
        if len(said) > 1:
            lines += ["the end of its standard error:", *said]
        return "\n".join(lines)


def traceback_text(error: BaseException) -> str:
    """Return the traceback of `error` and of its causes as text, without the frames of penstock's own files."""
    described = traceback.TracebackException(type(error), error, error.__traceback__)
    seen: set[int] = set()
    chain: list[traceback.TracebackException | None] = [described]
    while chain:
        one = chain.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.stack = traceback.StackSummary.from_list(
                [frame for frame in one.stack if not frame.filename.startswith(_OURS)]
            )
            chain += [one.__cause__, one.__context__]
    return "".join(described.format()).rstrip()

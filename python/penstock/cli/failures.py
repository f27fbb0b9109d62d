"""A failed task's error for people: the user's own frames, ours left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.errors import PickleError, TaskFailed
from penstock.executors.failures import CommandFailed, RemoteTraceback, traceback_text
from penstock.states import Cause

if TYPE_CHECKING:
    from penstock.result import RunResult

__all__ = ["failure_text", "user_traceback"]


def failure_text(result: RunResult, name: str) -> str:
    """Return a heading that says which task failed and how, and its error below."""
    cause, attempts = result.causes[name], result.attempts[name]
    how = f" ({cause.name.lower()})" if cause is not Cause.EXCEPTION else ""
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    return f"task '{name}' failed{tries}{how}\n{user_traceback(result.errors[name])}"


def user_traceback(error: BaseException) -> str:
    """Return an error as Python prints it, without the frames of penstock itself.

    The errors that it came from are shown the same way. An error from a task's own process has the traceback
    of that process. What penstock itself says of an attempt is its message, below the user's frames if it was his
    code that ended there; a command and what could not be pickled have none.
    """
    if isinstance(error, (CommandFailed, PickleError)):
        return str(error)
    if isinstance(error, TaskFailed):
        return error.reason if error.__cause__ is None else f"{_shown(error.__cause__)}\n{error.reason}"
    return _shown(error.__cause__ if isinstance(error.__cause__, RemoteTraceback) else error)


def _shown(error: BaseException) -> str:
    return error.text.rstrip() if isinstance(error, RemoteTraceback) else traceback_text(error)

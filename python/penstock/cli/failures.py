"""A failed task's error for people: the user's own frames, ours left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.executors.failures import CommandFailed, RemoteTraceback, traceback_text
from penstock.states import Cause

if TYPE_CHECKING:
    from penstock.run import RunResult

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
    of that process. A failed command is its message alone: there is no Python of the user's in it.
    """
    if isinstance(error.__cause__, RemoteTraceback):
        return error.__cause__.text.rstrip()
    if isinstance(error, CommandFailed):
        return str(error)
    return traceback_text(error)

"""Every error that penstock raises on purpose.

A user's mistake raises one of these, says which thing is wrong, what it was, what is allowed and what to
do; it never raises InternalError. All of them survive pickling with their attributes, so they can cross
from a worker process: the constructor's arguments are `args`, and `str()` builds the sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError

from penstock.states import Cause

__all__ = [
    "BreakerOpen",
    "Cancelled",
    "CycleError",
    "DuplicateNameError",
    "ExtraMissingError",
    "InternalError",
    "OptionError",
    "PenstockError",
    "PickleError",
    "PipelineFileError",
    "ResourceError",
    "ResultError",
    "ResultRefused",
    "TaskFailed",
    "did_you_mean",
    "failure_of",
    "message_of",
]


class PenstockError(Exception):
    """The base of all errors that penstock raises on purpose."""


class OptionError(PenstockError, ValueError):
    """An option has an unknown name or a value that is not allowed.

    Raised where the option is given: at decoration, at the call of a pipeline's or runtime's method, or
    on the command line.
    """


class ResourceError(PenstockError, ValueError):
    """An amount of a resource cannot be read, or a task asks for more than it can ever get.

    Raised where the amount is given, or at submission, before anything of the submitted batch starts.
    """


class CycleError(PenstockError, ValueError):
    """Tasks wait for one another in a ring, so none of them could start.

    Raised when a pipeline is frozen or when a running task submits edges; nothing is changed then.

    Attributes:
        cycle: names of the tasks, each once, in the order of the edges; the last one leads to the first.
    """

    def __init__(self, cycle: Iterable[str]) -> None:
        self.cycle: tuple[str, ...] = tuple(cycle)
        super().__init__(self.cycle)

    def __str__(self) -> str:
        ring = " -> ".join(repr(name) for name in (*self.cycle, *self.cycle[:1]))
        return f"{ring} is a cycle; remove one of these edges."


class DuplicateNameError(PenstockError, ValueError):
    """Two tasks of one pipeline were given the same explicit name.

    Raised when the pipeline is frozen.
    """


class PipelineFileError(PenstockError):
    """A pipeline file does not exist, does not parse, or holds no pipeline or no such pipeline.

    Raised by whatever loads the file, before anything runs.

    Attributes:
        problem: what is wrong and what to do, without the place.
        path: the file as the user named it.
        line: 1-based line of the problem, or None when it concerns the whole file.
        column: 1-based column, or None.
    """

    def __init__(self, problem: str, path: str, line: int | None = None, column: int | None = None) -> None:
        self.problem = problem
        self.path = path
        self.line = line
        self.column = column
        super().__init__(problem, path, line, column)

    def __str__(self) -> str:
        place = [str(part) for part in (self.path, self.line, self.column) if part is not None]
        return f"{':'.join(place)}: {self.problem}"


class ExtraMissingError(PenstockError, ImportError):
    """An optional part was asked for whose packages are not installed.

    Raised at the first use of the part, never at import of penstock.

    Attributes:
        extra: name of the extra, as in `pip install 'penstock[extra]'`.
        purpose: what needs it, the beginning of the sentence.
    """

    def __init__(self, extra: str, purpose: str = "this") -> None:
        self.extra = extra
        self.purpose = purpose
        super().__init__(extra, purpose)

    def __str__(self) -> str:
        return f"{self.purpose} needs the extra '{self.extra}': pip install 'penstock[{self.extra}]'"


class ResultError(PenstockError, KeyError):
    """A result was asked for that this run cannot give.

    Raised when a run's result is indexed with a call or a name that is not part of the run, with a name
    that several tasks share, or with a task that has not finished. A task that failed raises TaskFailed.
    """

    def __str__(self) -> str:  # KeyError shows the repr of its argument
        return str(self.args[0]) if self.args else ""


class TaskFailed(PenstockError):
    """A task has no result, because it failed or because a task that it needs did.

    Raised when its result is asked for. The error of the last attempt, where there is one, is `__cause__`.

    Attributes:
        task: the task's name.
        reason: what happened, as a sentence or the text of the last attempt's error.
        cause: why, as a Cause.
        attempts: how many attempts were made; 0 when it never ran.
        exit_code: of its process, where that ended without a report; else None.
        signal: the number of the signal that killed its process, or None.
    """

    def __init__(
        self,
        task: str,
        reason: str,
        cause: Cause = Cause.EXCEPTION,
        attempts: int = 1,
        exit_code: int | None = None,
        signal: int | None = None,
    ) -> None:
        self.task = task
        self.reason = reason
        self.cause = cause
        self.attempts = attempts
        self.exit_code = exit_code
        self.signal = signal
        super().__init__(task, reason, cause, attempts, exit_code, signal)

    def __str__(self) -> str:
        if self.attempts == 0:
            return f"task {self.task!r} did not run ({self.cause.name}): {self.reason}"
        tries = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"task {self.task!r} failed after {tries} ({self.cause.name}): {self.reason}"


class Cancelled(PenstockError, CancelledError):
    """A task has no result, because it was cancelled or skipped.

    Raised when its result is asked for. It is also a `concurrent.futures.CancelledError`, which is what
    users of futures catch.
    """


class BreakerOpen(PenstockError):
    """An attempt was not made, because the circuit breaker of its task is open.

    Attributes:
        task: the task's name.
        breaker: the breaker's name.
        failures: how many attempts of its tasks failed in a row.
        last: the last of their errors in one line.
    """

    def __init__(self, task: str, breaker: str, failures: int, last: str) -> None:
        self.task = task
        self.breaker = breaker
        self.failures = failures
        self.last = last
        super().__init__(task, breaker, failures, last)

    def __str__(self) -> str:
        return (
            f"task {self.task!r} was not tried: breaker {self.breaker!r} is open after {self.failures} failures in a row, "
            f"the last of them {self.last}; give the task a fallback=, or wait until an attempt that is let through succeeds."
        )


class ResultRefused(PenstockError):
    """An attempt returned, but the retry rule of its task does not take the result.

    Attributes:
        task: the task's name.
        value: what it returned.
    """

    def __init__(self, task: str, value: object) -> None:
        self.task = task
        self.value = value
        super().__init__(task, value)

    def __str__(self) -> str:
        return f"task {self.task!r} returned a {type(self.value).__qualname__} that its retry rule refuses."


class PickleError(PenstockError, TypeError):
    """An argument or a result of a process task cannot be pickled.

    It is the error of the attempt that needed it. What runs in threads passes anything at all.
    """


class InternalError(PenstockError):
    """penstock broke one of its own rules; a bug of penstock, never of its user.

    Attributes:
        problem: the rule and how it was broken.
        events: the events of the task concerned, in order, one line of text each; empty when unknown.
    """

    def __init__(self, problem: str, events: Sequence[str] = ()) -> None:
        self.problem = problem
        self.events: tuple[str, ...] = tuple(events)
        super().__init__(problem, self.events)

    def __str__(self) -> str:
        lines = [f"{self.problem} (this is a bug in penstock; please report it with the lines below)"]
        lines += [f"  {event}" for event in self.events]
        return "\n".join(lines)


def failure_of(task: str, attempt: int, error: BaseException) -> BaseException:
    """Return what a task's error is to be reported as: itself, unless it would end or interrupt who is told of it.

    Args:
        task: the task's name.
        attempt: the attempt that raised it.
        error: what it raised.
    """
    if isinstance(error, SystemExit):
        said = "sys.exit()" if error.code is None else f"sys.exit({error.code!r})"
        reason = f"it called {said}; return from the task to succeed, raise an exception to fail"
    elif isinstance(error, KeyboardInterrupt):
        reason = "it raised KeyboardInterrupt"
    else:
        return error
    failure = TaskFailed(task, reason, Cause.EXCEPTION, attempt)
    failure.__cause__ = error
    return failure


def message_of(error: BaseException) -> str:
    """Return `str(error)`, whatever a user's `__str__` does."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  also sys.exit() there
        return "(its message cannot be shown)"


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest allowed name, or an empty string when none is near.

    It begins with a space, so it can end any sentence.
    """
    from difflib import get_close_matches  # only on the way to an error

    names = list(allowed)
    plural = name.removesuffix("ys") + "ies"  # `retrys` is nearer to `retry`, and means `retries`
    near = [plural] if plural in names else get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""

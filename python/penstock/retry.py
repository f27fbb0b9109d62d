"""Retry rules: how often, after which failures, after how long a wait. Data only; the waiting is the scheduler's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from penstock.errors import OptionError
from penstock.states import Cause

if TYPE_CHECKING:
    from random import Random

__all__ = ["RETRYABLE", "Failure", "Retry", "RetryOn", "RetryRule", "parse_retry_on"]

RETRYABLE: tuple[Cause, ...] = (Cause.EXCEPTION, Cause.TIMEOUT, Cause.OOM, Cause.LOST)
"""The causes of failure after which another attempt makes sense. Cancelled and skipped tasks are not retried."""

RetryOn = type[BaseException] | Cause | str
"""One entry of `retry_on=`: an exception type, a `Cause`, or the name of one ("OOM")."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed, as a retry rule sees it.

    Attributes:
        attempt: how many attempts of the task have failed, this one included, >= 1.
        cause: why.
        error: what it raised, or what penstock says of its end.
        elapsed_s: seconds since the first attempt began.
        waited_s: seconds of those that were waits which the rule had asked for.
    """

    attempt: int
    cause: Cause
    error: BaseException
    elapsed_s: float
    waited_s: float


class RetryRule(Protocol):
    """Decides after each failure whether there is another attempt, and when."""

    def next_wait_s(self, failure: Failure, rng: Random) -> float | None:
        """Return the seconds until the next attempt, or None when there is to be none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When and how often a failed attempt is followed by another.

    The wait before attempt n + 1 is `first_wait_s * factor ** (n - 1)` plus a random part between 0 and `jitter_s`,
    at most `cap_s`. A waiting retry holds no worker and no resources. The defaults are those of the stamina package.

    Attributes:
        attempts: the first attempt and all retries together, >= 1. `retries=3` of a task means attempts=4.
        first_wait_s: seconds before the first retry, >= 0.
        factor: growth of the wait from one retry to the next, >= 1.
        cap_s: longest wait in seconds, jitter included, >= 0.
        jitter_s: longest random addition in seconds, >= 0; spreads tasks that failed together.
        total_s: seconds from the start of the first attempt after which none begins any more; None for no limit.
        on: exception types and causes that are retried. Empty: every exception, and TIMEOUT, OOM and LOST.

    Raises:
        OptionError: a value is out of its range; names the field.
    """

    attempts: int = 10
    first_wait_s: float = 0.1
    factor: float = 2.0
    cap_s: float = 5.0
    jitter_s: float = 1.0
    total_s: float | None = None
    on: tuple[type[BaseException] | Cause, ...] = ()

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise OptionError(
                f"Retry(attempts={self.attempts!r}): allowed is a whole number from 1 up, the first attempt counted; "
                "attempts=1 means no retry."
            )
        for field, least in (("first_wait_s", 0.0), ("factor", 1.0), ("cap_s", 0.0), ("jitter_s", 0.0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
                what = "a number" if field == "factor" else "a number of seconds"
                raise OptionError(f"Retry({field}={value!r}): allowed is {what} from {least:g} up.")
        total = self.total_s
        if total is not None and (type(total) not in (int, float) or not 0 < total < math.inf):
            raise OptionError(f"Retry(total_s={total!r}): allowed is a number of seconds above 0, or None.")
        try:
            object.__setattr__(self, "on", parse_retry_on(self.on))
        except ValueError as error:
            raise OptionError(f"Retry(on={self.on!r}): {error}") from None

    def wait_s(self, attempt: int, rng: Random) -> float:
        """Return the seconds between the failure of `attempt` (1 = the first) and the next one.

        Args:
            attempt: the attempt that failed, >= 1.
            rng: source of the jitter; the same generator in the same state gives the same wait.
        """
        try:
            wait = self.first_wait_s * self.factor ** (attempt - 1)
        except OverflowError:
            wait = math.inf
        return min(self.cap_s, wait + rng.uniform(0.0, self.jitter_s))

    def next_wait_s(self, failure: Failure, rng: Random) -> float | None:
        """Return the seconds until the next attempt, or None when there is to be none.

        Args:
            failure: the attempt that has just failed.
            rng: source of the jitter.
        """
        if failure.attempt >= self.attempts or not self.applies(failure.cause, failure.error):
            return None
        wait_s = self.wait_s(failure.attempt, rng)
        return wait_s if self.total_s is None or failure.elapsed_s + wait_s < self.total_s else None

    def applies(self, cause: Cause, error: BaseException | None) -> bool:
        """Return whether this failure is of a kind that is retried; how many attempts are left is not looked at.

        Args:
            cause: why the attempt failed. CANCELLED, UPSTREAM and SKIPPED never apply.
            error: what it raised, if anything. An exception type in `on` covers its subclasses.
        """
        if cause not in RETRYABLE:
            return False
        if not self.on:
            return True
        return any(cause == kind if isinstance(kind, Cause) else isinstance(error, kind) for kind in self.on)


def parse_retry_on(value: RetryOn | Iterable[RetryOn]) -> tuple[type[BaseException] | Cause, ...]:
    """Return `value` as a tuple of exception types and causes.

    Args:
        value: one entry, or several in a list or tuple. Names of causes are read in upper or lower case.

    Raises:
        ValueError: an entry is something else; says what is allowed.
    """
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(_parsed(entry) for entry in value)
    return (_parsed(value),)


def _parsed(entry: object) -> type[BaseException] | Cause:
    if isinstance(entry, str):
        found = Cause.__members__.get(entry.upper())
        if found is not None and found in RETRYABLE:
            return found
    elif isinstance(entry, Cause):
        if entry in RETRYABLE:
            return entry
    elif isinstance(entry, type) and issubclass(entry, BaseException):
        return entry
    names = ", ".join(cause.name for cause in RETRYABLE)
    shown = entry.name if isinstance(entry, Cause) else repr(entry)
    raise ValueError(f"{shown} is neither an exception type nor one of {names}.")

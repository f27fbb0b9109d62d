"""Circuit breakers: after some failures in a row, tasks of one family are not tried any more until one gets through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from penstock.errors import OptionError

__all__ = ["Breaker", "BreakerChange", "BreakerState"]

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Breaker:
    """The rule of a circuit breaker: `@task(breaker=Breaker("api", failures=3))`, or `breaker="api"` for the defaults.

    Attributes:
        name: tasks of a run with the same name share one breaker.
        failures: attempts that fail in a row, of any of its tasks, until it opens, >= 1. Cancelled ones do not count.
        cool_down_s: seconds that it stays open, > 0. While it is open its tasks go straight to their fallback, or
            fail where they have none. After that one attempt is let through: its success closes the breaker, its
            failure opens it for as long again.

    Raises:
        OptionError: a value is out of its range; names the field.
    """

    name: str
    failures: int = 5
    cool_down_s: float = 30.0

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name.strip():
            raise OptionError(f"Breaker(name={self.name!r}): allowed is any text that is not blank.")
        if type(self.failures) is not int or self.failures < 1:
            raise OptionError(f"Breaker(failures={self.failures!r}): allowed is a whole number from 1 up.")
        value = self.cool_down_s
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise OptionError(f"Breaker(cool_down_s={value!r}): allowed is a number of seconds above 0.")


class BreakerChange(Enum):
    """What a report did to a breaker."""

    NONE = 0
    OPENED = 1
    CLOSED = 2


class BreakerState:
    """One breaker of one run. Time is an argument; the caller holds a lock.

    Attributes:
        rule: the breaker.
        in_a_row: attempts that have failed since the last one that succeeded.
        opened_ns: since when it is open; None while it is closed.
        probe: (task, attempt) of the attempt that was let through, or None.
        last_error: of the latest attempt that failed, in one line.
    """

    def __init__(self, rule: Breaker) -> None:
        self.rule = rule
        self.in_a_row = 0
        self.opened_ns: int | None = None
        self.probe: tuple[int, int] | None = None
        self.last_error = ""

    def admits(self, task: int, attempt: int, now_ns: int, *, probe_runs: bool) -> bool:
        """Return whether an attempt that begins now may run; one that may while the breaker is open is its probe.

        Args:
            task, attempt: which one.
            now_ns: the instant.
            probe_runs: whether the attempt in `probe` is still running.
        """
        if self.opened_ns is None:
            return True
        if now_ns < self.opened_ns + self.rule.cool_down_s * NS or (self.probe is not None and probe_runs):
            return False
        self.probe = (task, attempt)
        return True

    def succeeded(self, task: int, attempt: int) -> BreakerChange:
        """Take note of an attempt that succeeded. One that began before the breaker opened does not close it."""
        if self.opened_ns is None:
            self.in_a_row = 0
            return BreakerChange.NONE
        if self.probe != (task, attempt):
            return BreakerChange.NONE
        self.opened_ns = self.probe = None
        self.in_a_row = 0
        return BreakerChange.CLOSED

    def failed(self, task: int, attempt: int, now_ns: int) -> BreakerChange:
        """Take note of an attempt that failed."""
        self.in_a_row += 1
        if self.opened_ns is None:
            if self.in_a_row < self.rule.failures:
                return BreakerChange.NONE
        elif self.probe != (task, attempt):
            return BreakerChange.NONE  # it began before
        self.opened_ns, self.probe = now_ns, None
        return BreakerChange.OPENED

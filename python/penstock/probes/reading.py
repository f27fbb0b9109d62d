"""A reading: a value or unknown, with its source and instant; and a counter turned into a rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Probe", "Rate", "Reading", "attempt"]

MAX_WINDOW_NS = 10_000_000_000
"""A rate over a longer window says nothing about now: the counter is read afresh instead."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal at one instant.

    Attributes:
        value: milli-cores, bytes, bytes per second or thousandths, as the signal says; None when unknown.
        source: where it was read, such as '/proc/meminfo' or 'NVML'.
        at: the instant, nanoseconds of `time.monotonic_ns()`.
        why: why it is unknown, a clause without a full stop; empty when it is known.
    """

    value: int | None
    source: str
    at: int
    why: str = ""

    @classmethod
    def of(cls, value: int, source: str, at: int | None = None) -> Reading:
        """Return a known reading, of now unless `at` is given."""
        return cls(value, source, time.monotonic_ns() if at is None else at)

    @classmethod
    def unknown(cls, why: str, source: str, at: int | None = None) -> Reading:
        """Return an unknown reading with the reason."""
        return cls(None, source, time.monotonic_ns() if at is None else at, why)

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def age_s(self, now_ns: int | None = None) -> float:
        """Return how old the reading is in seconds."""
        return ((time.monotonic_ns() if now_ns is None else now_ns) - self.at) / 1e9


class Probe(Protocol):
    """A signal that can be read again and again from one thread."""

    @property
    def name(self) -> str:
        """The name of the resource or signal."""

    def read(self, now_ns: int) -> Reading:
        """Return how much of it is in use on the whole machine; never blocks for long."""


class Rate:
    """Turns a growing counter into an amount per second over the window since the call before."""

    __slots__ = ("_at", "_counter")

    def __init__(self) -> None:
        self._at: int | None = None
        self._counter = 0

    def step(self, counter: int, now_ns: int) -> int | None:
        """Return the amount per second since the last call.

        None at the first call, when no time has passed, when the counter went backwards (a device was
        removed, a process left the tree), and when the window was longer than MAX_WINDOW_NS.
        """
        before, self._at, last, self._counter = self._at, now_ns, self._counter, counter
        if before is None or not 0 < now_ns - before <= MAX_WINDOW_NS or counter < last:
            return None
        return (counter - last) * 1_000_000_000 // (now_ns - before)

    def reading(self, counter: int, now_ns: int, source: str) -> Reading:
        """Return the rate as a reading."""
        rate = self.step(counter, now_ns)
        if rate is None:
            return Reading.unknown("a rate needs a second sample", source, now_ns)
        return Reading.of(rate, source, now_ns)


def attempt(read: Callable[[], Reading], source: str) -> Reading:
    """Return what `read` returns, or an unknown reading that says what it raised.

    A probe may be someone else's plug-in, and a file of the kernel may vanish at any time; neither may
    stop the sampling of the other signals.
    """
    try:
        return read()
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        return Reading.unknown(f"{error.strerror or type(error).__name__}{place}", source)
    except Exception as error:  # noqa: BLE001  whatever a plug-in raises is said in its reading
        return Reading.unknown(f"the probe raised {type(error).__name__}: {error}", source)

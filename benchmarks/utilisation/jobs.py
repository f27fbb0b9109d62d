"""What the three sides run: the same programs, with the same declared demands."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Done", "Job", "Outcome", "percentile"]

LOAD = Path(__file__).with_name("load.py")


@dataclass(frozen=True)
class Job:
    """One program and what is declared of it.

    Args:
        name: unique among its case's jobs.
        load: what `load.py` is told.
        cpu: cores declared.
        memory: bytes declared, or None for nothing.
        disk: bytes per second declared, or None.
    """

    name: str
    load: tuple[str, ...]
    cpu: float
    memory: int | None = None
    disk: int | None = None

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-S", "-E", str(LOAD), *self.load]


@dataclass(frozen=True)
class Done:
    """One job that ended well, in seconds on the machine's monotonic clock; `cpu_s` of its whole tree."""

    began: float
    ended: float
    cpu_s: float

    @classmethod
    def parse(cls, text: str) -> Done:
        return cls(**json.loads(text))

    def cpu_until(self, instant: float) -> float:
        """CPU seconds used up to an instant, as if evenly spread."""
        inside = max(0.0, min(self.ended, instant) - self.began)
        return self.cpu_s * inside / (self.ended - self.began)


@dataclass(frozen=True)
class Outcome:
    """What came of a side's jobs: those that ended well, by name, and the run's two ends."""

    begun: float
    ended: float
    done: dict[str, Done]

    @property
    def makespan_s(self) -> float:
        return self.ended - self.begun

    @property
    def tail(self) -> float:
        """When the last job begins: from then on nothing is left to start."""
        return max(one.began for one in self.done.values())

    def utilisation(self, cores: float) -> float:
        """CPU seconds that the jobs used over those that there were, from the start to the tail."""
        return sum(one.cpu_until(self.tail) for one in self.done.values()) / (cores * (self.tail - self.begun))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]

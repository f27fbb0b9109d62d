"""How a case is measured: sides in turn, a fresh start for each measurement, medians."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

__all__ = ["Case", "Comparison", "Side", "measure"]

NATIVE = "native"


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do the work of a case. Only `run` is timed.

    Args:
        prepare: makes what `run` needs, anew for each measurement.
        run: does the work.
        finish: checks the outcome and frees what was made.
    """

    prepare: Callable[[], Any]
    run: Callable[[Any], Any]
    finish: Callable[[Any], None]

    def start(self) -> Any:
        """Prepare, and leave no garbage of earlier measurements to be collected in this one."""
        prepared = self.prepare()
        gc.collect()
        return prepared

    def seconds(self) -> float:
        """Measure once."""
        prepared = self.start()
        begun = perf_counter()
        self.run(prepared)
        seconds = perf_counter() - begun
        self.finish(prepared)
        return seconds


@dataclass(frozen=True, slots=True)
class Case:
    """Some work, and the ways to do it that are compared.

    Args:
        name: one word.
        title: what is done, in a few words.
        amount: how many of `unit` one run does.
        unit: what is counted, in the plural.
        sides: by name; "native" is the one that the others are compared with.
    """

    name: str
    title: str
    amount: int
    unit: str
    sides: Mapping[str, Side] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `measure` found. `seconds[side]` has one number for each round."""

    case: Case
    seconds: Mapping[str, tuple[float, ...]]

    def median_s(self, side: str) -> float:
        return median(self.seconds[side])

    def rate(self, side: str) -> float:
        """Units of work per second."""
        return self.case.amount / self.median_s(side)

    def ratio(self, side: str) -> float:
        """How many times faster native is than `side`, by their medians."""
        return self.median_s(side) / self.median_s(NATIVE)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "case": self.case.name,
            "title": self.case.title,
            "amount": self.case.amount,
            "unit": self.case.unit,
            "seconds": {side: list(times) for side, times in self.seconds.items()},
            "median_s": {side: self.median_s(side) for side in self.seconds},
            "ratio": {side: self.ratio(side) for side in self.seconds if side != NATIVE},
        }

    def __str__(self) -> str:
        each_ns = {side: self.median_s(side) / self.case.amount * 1e9 for side in self.seconds}
        shown = ", ".join(f"{side} {_nanoseconds(ns)}" for side, ns in each_ns.items())
        ratios = ", ".join(f"{self.ratio(side):.1f} x {side}" for side in self.seconds if side != NATIVE)
        return f"{self.case.name}: {shown} each of {self.case.amount:,} {self.case.unit}; native is {ratios}"


def measure(case: Case, rounds: int = 5) -> Comparison:
    """Measure each side `rounds` times, in turn, so that a slow minute of the machine is everyone's."""
    if rounds < 1:
        raise ValueError(f"rounds={rounds}; at least 1 is needed")
    times: dict[str, list[float]] = {side: [] for side in case.sides}
    for _ in range(rounds):
        for name, side in case.sides.items():
            times[name].append(side.seconds())
    return Comparison(case, {side: tuple(seconds) for side, seconds in times.items()})


def _nanoseconds(ns: float) -> str:
    return f"{ns:.0f} ns" if ns < 10_000 else f"{ns / 1000:.1f} us"

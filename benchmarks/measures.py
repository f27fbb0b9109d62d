"""What a case is made of: measures, each of which gives figures for one side or for a few that take turns.

A measure runs in a process of its own (`child`), so that no rival's threads, caches or garbage are there while another
is timed. Inside it, `timed` does the work once to warm up and once for the figure.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from types import ModuleType
from typing import Any

__all__ = ["PENSTOCK", "Absent", "Case", "Figures", "Measure", "Work", "need", "require", "side", "timed"]

PENSTOCK = "penstock"
"""The side that the others are compared with."""

LONG_S = 3.0
"""A first run that took longer is the figure: warming up changes little of it, and time is better spent on rounds."""

Figures = dict[str, Any]
"""What a measure found for one side. Timed ones have `seconds` and `amount`; the others say what they have."""


class Absent(Exception):
    """A side cannot be measured here; the message is the sentence that the report shows."""


def need(module: str, package: str | None = None) -> ModuleType:
    """Import a rival.

    Raises:
        Absent: it is not installed, or does not load.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = package or module.partition(".")[0]
        raise Absent(f"{name} is left out: it is not installed ({error}); pip install '.[bench]' brings it") from error


def require(what: str, found: object, expected: object) -> None:
    """Refuse a wrong outcome: nobody is fast by doing less."""
    if found != expected:
        raise AssertionError(f"{what}: {found}; it should be {expected}")


@dataclass(frozen=True)
class Work:
    """Something to time. Only `run` is timed; it gets what `prepare` returned, as does `finish`.

    Args:
        amount: how many units one run does.
        run: does the work, and may return more figures.
        prepare: makes what `run` needs, anew each time.
        finish: checks the outcome and frees what was made.
    """

    amount: int
    run: Callable[[Any], Figures | None]
    prepare: Callable[[], Any] = lambda: None
    finish: Callable[[Any], None] = lambda _: None


@dataclass(frozen=True)
class Measure:
    """Figures for some sides, taken together in one process.

    Args:
        sides: whose figures `run` returns, by these names.
        run: gets the scale, a share of the full size.
        limit_s: after so many seconds the process is ended and its sides are left out.
        once: its figures hold their own repetitions, or do not vary: one round is enough.
    """

    sides: tuple[str, ...]
    run: Callable[[float], dict[str, Figures]]
    limit_s: float = 150.0
    once: bool = False


@dataclass(frozen=True)
class Case:
    """One table of the report.

    Args:
        name: one word, as `--only` takes it.
        title: what is measured.
        unit: what `amount` counts, in the singular.
        note: what a reader should know about the figures.
    """

    name: str
    title: str
    unit: str
    measures: tuple[Measure, ...]
    note: str = ""
    rounds: int = 5
    sides: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(name for measure in self.measures for name in measure.sides)
        if len(set(names)) != len(names):
            raise ValueError(f"case {self.name!r} names a side twice: {', '.join(names)}")
        object.__setattr__(self, "sides", names)


def side(name: str, make: Callable[[float], Work], *, limit_s: float = 150.0) -> Measure:
    """Return the measure of one side that is timed."""
    return Measure((name,), lambda scale: {name: timed(make(scale))}, limit_s=limit_s)


def timed(work: Work) -> Figures:
    """Do the work twice and return the figures of the second run, or of the first when that took long."""
    figures = _once(work)
    return figures if figures["seconds"] > LONG_S else _once(work)


def _once(work: Work) -> Figures:
    prepared = work.prepare()
    gc.collect()
    gc.freeze()  # the input is not garbage; collections during the run need not walk through it, whoever's it is
    try:
        begun = perf_counter()
        more = work.run(prepared)
        seconds = perf_counter() - begun
    finally:
        gc.unfreeze()
    work.finish(prepared)
    return {"seconds": seconds, "amount": work.amount, **(more or {})}

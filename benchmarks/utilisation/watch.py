"""Looks at the CPU of the whole machine and of our own processes while a side runs, so that a figure can say what others took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import psutil

from penstock.probes.tree import ProcessTree

__all__ = ["LOOK_S", "Look", "Looks", "repeated", "watched"]

LOOK_S = 0.25


@dataclass(frozen=True)
class Look:
    """CPU seconds that have been used so far, at an instant of the machine's monotonic clock."""

    at: float
    everyone: float
    own: float


class Looks:
    """All looks, in order; more may come."""

    def __init__(self, looks: Sequence[Look] = ()) -> None:
        self.all = list(looks)

    def shares(self, cores: float) -> list[float]:
        """Return the share of the machine's CPU in use between each look and the next."""
        return [(b.everyone - a.everyone) / (b.at - a.at) / cores for a, b in pairwise(self.all)]

    def used(self, begin: float, end: float) -> tuple[float, float]:
        """Return the CPU seconds that everyone, and we, used between two instants, as if evenly spread between looks."""
        first, last = self._at(begin), self._at(end)
        return last.everyone - first.everyone, last.own - first.own

    def of_the_rest(self, cores: float, begin: float, end: float) -> tuple[float, float]:
        """Return how much of what others left we used, and which share of the machine others used, between two instants."""
        everyone, own = self.used(begin, end)
        there_is, others = cores * (end - begin), max(0.0, everyone - own)
        return own / (there_is - others), others / there_is

    def _at(self, instant: float) -> Look:
        for a, b in pairwise(self.all):
            if instant <= b.at:
                part = max(0.0, (instant - a.at) / (b.at - a.at))
                return Look(instant, a.everyone + part * (b.everyone - a.everyone), a.own + part * (b.own - a.own))
        return self.all[-1]


@contextmanager
def repeated(look: Callable[[], None], every_s: float) -> Iterator[None]:
    """Look every so many seconds while the block runs, on a thread of its own."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every_s):
            look()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def watched() -> Iterator[Looks]:
    """Look every LOOK_S, from before the block begins until after it has ended."""
    looks, tree = Looks(), ProcessTree()

    def look() -> None:
        own_ns = tree.measure().cpu_ns or 0
        times = psutil.cpu_times()
        rest = (getattr(times, name, 0.0) for name in ("irq", "softirq", "steal"))  # of Linux
        looks.all.append(Look(time.monotonic(), times.user + times.nice + times.system + sum(rest), own_ns / 1e9))

    look()
    try:
        with repeated(look, LOOK_S):
            yield looks
    finally:
        look()

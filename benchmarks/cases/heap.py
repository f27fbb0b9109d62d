"""The ready heap from Python: pairs of a float and an int pushed, then popped in order."""

from __future__ import annotations

from functools import cache
from heapq import heapify, heappop, heappush
from itertools import repeat
from queue import PriorityQueue
from typing import Any

import numpy as np

from benchmarks.measures import Case, Figures, Work, require, side
from benchmarks.work import count
from penstock import _core

__all__ = ["CASE"]

FULL = 1_000_000
BATCH = 1_000

Pair = tuple[float, int]


@cache
def _ranks(n: int) -> Any:
    return np.random.default_rng(1).random(n)


def _pairs(n: int) -> list[Pair]:
    return list(zip(_ranks(n).tolist(), range(n), strict=True))


def in_batches(scale: float) -> Work:
    n = count(FULL, scale, least=BATCH) // BATCH * BATCH
    ranks, numbers = _ranks(n), np.arange(n)

    def run(_: object) -> None:
        heap = _core.PriorityHeap()
        for k in range(0, n, BATCH):
            heap.push_many(ranks[k : k + BATCH], numbers[k : k + BATCH])
        popped = b"".join([heap.pop_many(BATCH)[1] for _ in range(0, n, BATCH)])
        left.append(popped)

    left: list[bytes] = []
    expected = np.argsort(ranks, kind="stable")

    def finish(_: object) -> None:
        order = np.frombuffer(left.pop(), dtype=np.int64)
        require("entries that left in order", int((order == expected).sum()), n)

    return Work(n, run, finish=finish)


def _one_at_a_time(n: int, make: Any, push: str, pop: str, *, pairs: bool) -> Work:
    """A side with a push and a pop method; `pairs`: push takes the pair as one argument."""
    given = _pairs(n)
    left: list[list[Pair]] = []

    def run(_: object) -> None:
        heap = make()
        push_one, pop_one = getattr(heap, push), getattr(heap, pop)
        if pairs:
            for pair in given:
                push_one(pair)
        else:
            for rank, number in given:
                push_one(rank, number)
        left.append([pop_one() for _ in repeat(None, n)])

    return Work(n, run, finish=lambda _: _in_order(left.pop(), given))


def _in_order(popped: list[Pair], given: list[Pair]) -> None:
    require("the entries left in order", popped == sorted(given), True)


def one_at_a_time(scale: float) -> Work:
    return _one_at_a_time(count(FULL, scale), _core.PriorityHeap, "push", "pop", pairs=False)


def priority_queue(scale: float) -> Work:
    return _one_at_a_time(count(FULL // 5, scale), PriorityQueue, "put", "get", pairs=True)


def heapq_each(scale: float) -> Work:
    n = count(FULL, scale)
    given = _pairs(n)
    left: list[list[Pair]] = []

    def run(_: object) -> None:
        heap: list[Pair] = []
        for pair in given:
            heappush(heap, pair)
        left.append([heappop(heap) for _ in repeat(None, n)])

    return Work(n, run, finish=lambda _: _in_order(left.pop(), given))


def heapq_heapify(scale: float) -> Work:
    n = count(FULL, scale)
    given = _pairs(n)
    left: list[list[Pair]] = []

    def run(_: object) -> Figures | None:
        heap = given.copy()
        heapify(heap)
        left.append([heappop(heap) for _ in repeat(None, n)])
        return None

    return Work(n, run, finish=lambda _: _in_order(left.pop(), given))


CASE = Case(
    "heap",
    "The heap from Python: (float, int) pairs of uniform ranks pushed, then popped in order",
    "entry",
    (
        side("penstock, batches of 1,000", in_batches),
        side("penstock, one at a time", one_at_a_time),
        side("heapq, one at a time", heapq_each),
        side("heapq, heapify, then pops", heapq_heapify),
        side("queue.PriorityQueue", priority_queue),
    ),
    note="heapq is given pairs that exist already, from one thread; making them is not timed. penstock's batches are numpy"
    " arrays in and bytes out, and any thread may use them.",
)

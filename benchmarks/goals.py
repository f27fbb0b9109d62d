"""What penstock holds itself to, each a ratio within one run or a plain bound, and whether the figures reach it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.cases.growth import named as grown
from benchmarks.cases.idle import PROBING
from benchmarks.cases.latency import POOL
from benchmarks.cases.readiness import DEGREES, named
from benchmarks.measures import PENSTOCK, Figures
from benchmarks.store import Record

__all__ = ["GOALS", "Goal"]

Cases = Mapping[str, Record]
GIB = 2**30
PROBES = "penstock-sampler"


@dataclass(frozen=True)
class Goal:
    """A bound on one number; `at_least` says which way."""

    what: str
    bound: float
    value: Callable[[Cases], float | None]
    at_least: bool = True
    unit: str = "x"

    def reached(self, cases: Cases) -> tuple[float | None, bool | None]:
        """The number, and whether it holds; None where it was not measured."""
        found = self.value(cases)
        return found, None if found is None else (found >= self.bound) == self.at_least or found == self.bound


def _faster(case: str, side: str, *than: str) -> Callable[[Cases], float | None]:
    """How many times as fast a side is as another; of several forms of one rival, as the fastest of them."""

    def ratio(cases: Cases) -> float | None:
        if case not in cases:
            return None
        found = [cases[case].faster(side, other) for other in than]
        return min((one for one in found if one is not None), default=None)

    return ratio


def _worst_row(start: str, other: str) -> Callable[[Cases], float | None]:
    """The lowest ratio of the native heap to another over the rows that start so, clock-like keys left out."""

    def worst(cases: Cases) -> float | None:
        if "native-heap" not in cases:
            return None
        ours, theirs = cases["native-heap"].rows(PENSTOCK), cases["native-heap"].rows(other)
        ratios = [
            ours[row] / theirs[row]
            for row in ours
            if row.startswith(start) and row in theirs and not row.endswith("later")
        ]
        return min(ratios, default=None)

    return worst


def _latency(quantile: str) -> Callable[[Cases], float | None]:
    def ratio(cases: Cases) -> float | None:
        if "latency" not in cases:
            return None
        ours, theirs = (cases["latency"].median(side, quantile) for side in (PENSTOCK, POOL))
        return None if ours is None or theirs is None else ours / theirs

    return ratio


def _bytes(which: str) -> Callable[[Cases], float | None]:
    """Peak bytes a node or an edge, from the two graphs: two equations of two unknowns."""

    def solved(cases: Cases) -> float | None:
        if "memory" not in cases:
            return None
        record = cases["memory"]
        found = [
            [record.median(named(degree), figure) for figure in ("peak_bytes", "nodes", "edges")] for degree in DEGREES
        ]
        (few_b, nodes, few), (many_b, _, many) = found
        if few_b is None or many_b is None or few is None or many is None or nodes is None:
            return None
        an_edge = (many_b - few_b) / (many - few)
        return an_edge if which == "edge" else (few_b - an_edge * few) / nodes

    return solved


def _growth(cases: Cases) -> float | None:
    if "growth" not in cases:
        return None
    least, most = (cases["growth"].each_s(grown(PENSTOCK, size)) for size in (10_000, 10_000_000))
    return None if least is None or most is None else most / least


def _peak(cases: Cases) -> float | None:
    found = cases["growth"].median(grown(PENSTOCK, 10_000_000), "peak_bytes") if "growth" in cases else None
    return None if found is None else found / GIB


def _idle(side: str, of: Callable[[Figures], float]) -> Callable[[Cases], float | None]:
    def a_second(cases: Cases) -> float | None:
        rounds = cases["idle"].data["rounds"].get(side) if "idle" in cases else None
        return of(rounds[0]) / rounds[0]["watched_s"] if rounds else None

    return a_second


def _processor_percent(figures: Figures) -> float:
    return float(100 * figures["cpu_s"])


def _wakeups(figures: Figures) -> float:
    """Context switches of all threads but the probes'."""
    return float(sum(n for thread, n in figures["switches_by_thread"].items() if thread != PROBES))


STD, LOCKED = "std::priority_queue", "mutex and std::priority_queue"
GOALS = (
    Goal("independent tasks, as fast as the pure-Python baseline", 12, _faster("independent", PENSTOCK, "pure-Python baseline, one batch")),
    Goal("independent tasks of ten priorities, as fast as the pure-Python baseline", 12, _faster("priorities", PENSTOCK, "pure-Python baseline, one batch")),
    Goal("independent tasks, as fast as ThreadPoolExecutor(2)", 50, _faster("independent", PENSTOCK, "ThreadPoolExecutor(2)")),
    Goal("independent tasks, as fast as a plain loop over the function", 0.25, _faster("independent", PENSTOCK, "plain for loop, nothing kept")),
    Goal("graph with values, as fast as the pure-Python baseline, live", 12, _faster("dag", PENSTOCK, "pure-Python baseline, live")),
    Goal("graph with values, as fast as dask.threaded, defaults", 100, _faster("dag", PENSTOCK, "dask.threaded, defaults")),
    Goal("graph with values, as fast as dask.threaded, its faster form", 100, _faster("dag", PENSTOCK, "dask.threaded, defaults", "dask.threaded, tuned")),
    Goal("readiness alone, as fast as rustworkx", 20, _faster("readiness", PENSTOCK, "rustworkx")),
    Goal("readiness alone, as fast as graphlib", 50, _faster("readiness", PENSTOCK, "graphlib")),
    Goal("readiness alone, peak memory a node", 40, _bytes("node"), at_least=False, unit=" B"),
    Goal("readiness alone, peak memory an edge", 8, _bytes("edge"), at_least=False, unit=" B"),
    Goal("native heap, one thread: hold, worst case, as fast as std::priority_queue", 0.667, _worst_row("hold", STD)),
    Goal("native heap, two threads: parallel fill, as fast as a mutex around it", 1.0, _worst_row("parallel fill", LOCKED)),
    Goal("native heap, two threads: producer and consumer, as fast as a mutex around it", 1.5, _worst_row("producer", LOCKED)),
    Goal("native heap, two threads: drain, as fast as a mutex around it", 1.5, _worst_row("drain", LOCKED)),
    Goal("heap from Python in batches, as fast as heapq, its faster form", 10, _faster("heap", "penstock, batches of 1,000", "heapq, one at a time", "heapq, heapify, then pops")),
    Goal("heap from Python one at a time, as fast as heapq", 3, _faster("heap", "penstock, one at a time", "heapq, one at a time")),
    Goal("latency, median, of ThreadPoolExecutor's", 0.5, _latency("p50_us"), at_least=False),
    Goal("latency, 99th percentile, of ThreadPoolExecutor's", 1.0, _latency("p99_us"), at_least=False),
    Goal("10 million tasks with 4 edges each: peak memory beyond the input", 2, _peak, at_least=False, unit=" GiB"),
    Goal("cost of a task at 10 million, of that at 10 thousand", 2, _growth, at_least=False),
    Goal("a waiting run: processor time", 0.1, _idle(PENSTOCK, _processor_percent), at_least=False, unit=" %"),
    Goal("a waiting run: wake-ups a second beyond the probes'", 0.1, _idle(PENSTOCK, _wakeups), at_least=False, unit=""),
    Goal("the same with the probes on throughout: processor time", 0.1, _idle(PROBING, _processor_percent), at_least=False, unit=" %"),
    Goal("the same with the probes on throughout: wake-ups a second beyond theirs", 0.1, _idle(PROBING, _wakeups), at_least=False, unit=""),
)  # fmt: skip

"""How the cost of a task grows with their number, four predecessors each, all submitted before any is started."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

from benchmarks.measures import PENSTOCK, Absent, Case, Figures, Measure, require
from benchmarks.memory import peak_from_now, resident_bytes
from benchmarks.work import WORKERS, graph, layer, one
from penstock.bench.baseline import Baseline
from penstock.bench.graphs import LayeredGraph
from penstock.runtime import Runtime

__all__ = ["CASE", "SIZES", "named"]

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
LAYERS = 50  # so that the smallest has layers of twenty
ENOUGH_S = 0.5
MOST_REPEATS = 200
PASSING = "penstock, results passed along"
BASELINE = "pure-Python baseline, one batch"

Once = Callable[[LayeredGraph], tuple[float, Figures]]


def named(name: str, size: int) -> str:
    return f"{name}, {size:,}"


def penstock_once(made: LayeredGraph, *, pass_results: bool) -> tuple[float, Figures]:
    """Submit paused, so that all tasks are resident at once, look at the memory, then let them run."""
    peak = peak_from_now()
    before = resident_bytes()
    with Runtime(workers=WORKERS) as runtime:
        begun = perf_counter()
        runtime.pause()
        batch = runtime.submit_many(
            layer if pass_results else one, indptr=made.indptr, indices=made.in_batch, pass_results=pass_results
        )
        submitted = perf_counter() - begun
        resident = resident_bytes() - before
        begun = perf_counter()
        runtime.resume()
        batch.wait()
        ran = perf_counter() - begun
        results = batch.results()
        require("results", len(results), made.tasks)
        require("last result", results[-1], LAYERS - 1 if pass_results else 1)
        del results
        highest = peak() - before
    return submitted + ran, {"submit_s": submitted, "run_s": ran, "resident_bytes": resident, "peak_bytes": highest}


def baseline_once(made: LayeredGraph) -> tuple[float, Figures]:
    indptr, indices = made.lists
    functions = [layer] * made.tasks
    with Baseline(WORKERS) as baseline:
        begun = perf_counter()
        baseline.submit_many(functions, indptr=indptr, indices=indices)
        baseline.wait()
        seconds = perf_counter() - begun
        require("last result", baseline.results[-1], LAYERS - 1)
    return seconds, {}


def _grown(name: str, size: int, once: Once, scale: float) -> dict[str, Figures]:
    largest = max(SIZES[1], SIZES[-1] * scale)
    if size > largest:
        raise Absent(f"a run at this scale stops at {largest:,.0f} tasks")
    made = graph(size, 1.0, LAYERS)
    _ = made.indptr, made.in_batch
    first_s, first = once(made)
    seconds = [first_s]
    if size < SIZES[-1]:  # the first is warm-up, but at the largest size; there it is the figure, and the peak with it
        seconds = []
        while not seconds or (sum(seconds) < ENOUGH_S and len(seconds) < MOST_REPEATS):
            seconds.append(once(made)[0])
    figures = {"seconds": median(seconds), "amount": made.tasks, "edges": made.edges, "repeats": len(seconds)}
    return {named(name, size): {**figures, **first}}


def _measures() -> tuple[Measure, ...]:
    sides: list[tuple[str, Once, int]] = [
        (PENSTOCK, partial(penstock_once, pass_results=False), SIZES[-1]),
        (PASSING, partial(penstock_once, pass_results=True), SIZES[-1]),
        (BASELINE, baseline_once, SIZES[-2]),
    ]
    return tuple(
        Measure((named(name, size),), partial(_grown, name, size, once), limit_s=300)
        for size in SIZES
        for name, once, most in sides
        if size <= most
    )


CASE = Case(
    "growth",
    "Cost of a task as their number grows, four predecessors each, submitted from arrays, two workers",
    "task",
    _measures(),
    note="Each size in a process of its own, submitted while the runtime is paused, so that all are resident at once. Bytes"
    " are resident pages beyond those before, which hold the input arrays: resident once all are submitted, peak until all"
    " results are read.",
)

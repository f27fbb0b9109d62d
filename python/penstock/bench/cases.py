"""What is measured. Each case checks its outcome, so that nobody is fast by doing less.

Both sides run in this process, with two worker threads where there are workers, and are given their input in the
form that suits them best: arrays for the core, lists for Python. Making the scheduler and that input is not timed.

The Python scheduler stands in twice: "live" takes its tasks one at a time while it runs, as schedulers in Python do;
"baseline" takes them all in one call and claims them by the hundred, which is the core's own trick.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from typing import Any

import numpy as np

from penstock import _core
from penstock.bench.baseline import Baseline, BaselineReadiness
from penstock.bench.graphs import LayeredGraph
from penstock.bench.measure import Case, Side
from penstock.runtime import Batch, Runtime

__all__ = ["CASES"]

WORKERS = 2


def independent(scale: float = 1.0) -> Case:
    """Tasks that do nothing and wait for nothing, in order of submission."""
    return _independent("independent", "no-op tasks, first come first served", round(500_000 * scale), None)


def priorities(scale: float = 1.0) -> Case:
    """The same with priorities drawn from ten."""
    count = round(500_000 * scale)
    drawn = np.random.default_rng(1).integers(10, size=count).astype(np.float64)
    return _independent("priorities", "no-op tasks of ten priorities", count, drawn)


def dag(scale: float = 1.0) -> Case:
    """A layered random graph whose tasks get their predecessors' results as arguments."""
    graph = LayeredGraph(layers=100, width=4 * max(1, round(1000 * scale)))
    functions = [_layer] * graph.tasks

    def run_native(state: _Native) -> None:
        state.batch = state.runtime.submit_many(_layer, indptr=graph.indptr, indices=graph.in_batch, pass_results=True)
        state.batch.wait()

    def run_baseline(baseline: Baseline) -> None:
        baseline.submit_many(functions, indptr=graph.lists[0], indices=graph.lists[1])
        baseline.wait()

    def run_live(baseline: Baseline) -> None:
        add, (indptr, indices) = baseline.add, graph.lists
        for task in range(graph.tasks):
            add(_layer, None, after=indices[indptr[task] : indptr[task + 1]])
        baseline.wait()

    last = graph.layers - 1
    return Case(
        "dag",
        f"a graph with {graph.edges:,} edges, results passed along them",
        graph.tasks,
        "tasks",
        {
            "native": Side(_graph_ready(graph, _Native), run_native, partial(_finish_native, expected=last)),
            "live": Side(_graph_ready(graph, _baseline), run_live, partial(_finish_baseline, expected=last)),
            "baseline": Side(_graph_ready(graph, _baseline), run_baseline, partial(_finish_baseline, expected=last)),
        },
    )


def readiness(scale: float = 1.0) -> Case:
    """Only the question who may start: counts of a graph built and counted down, without running anything."""
    graph = LayeredGraph(layers=100, width=4 * max(1, round(2500 * scale)))
    done: dict[str, int] = {}

    def run_native(_: object) -> None:
        core = _core.Readiness()
        _, ready = core.grow(graph.tasks, graph.indptr, graph.in_batch)
        done["count"] = core.drain(ready)

    def run_counts(_: object) -> None:
        done["count"] = BaselineReadiness(graph.rows).drain()

    def run_graphlib(_: object) -> None:
        sorter = TopologicalSorter(graph.rows)
        sorter.prepare()
        count = 0
        while sorter.is_active():
            wave = sorter.get_ready()
            count += len(wave)
            sorter.done(*wave)
        done["count"] = count

    def finish(_: object) -> None:
        _require("tasks completed", done.pop("count"), graph.tasks)

    def prepare_arrays() -> None:
        _ = graph.indptr, graph.in_batch

    def prepare_rows() -> None:
        _ = graph.rows

    return Case(
        "readiness",
        f"dependency counting alone, {graph.edges:,} edges",
        graph.tasks,
        "tasks",
        {
            "native": Side(prepare_arrays, run_native, finish),
            "baseline": Side(prepare_rows, run_counts, finish),
            "graphlib": Side(prepare_rows, run_graphlib, finish),
        },
    )


def heap(scale: float = 1.0) -> Case:
    """The ready heap alone: filled and emptied in batches, ten thousand ranks, first in, first out among equals."""
    batch = 1000
    count = batch * max(1, round(500 * scale))
    ranks = np.random.default_rng(1).integers(10_000, size=count).astype(np.float64)
    numbers = np.arange(count)
    expected = np.argsort(ranks, kind="stable")
    keys = list(zip(ranks.tolist(), range(count), strict=True))
    left: dict[str, Any] = {}

    def run_native(_: object) -> None:
        queue = _core.PriorityHeap()
        for k in range(0, count, batch):
            queue.push_many(ranks[k : k + batch], numbers[k : k + batch])
        left["values"] = [queue.pop_many(batch)[1] for _ in range(0, count, batch)]

    def run_heapq(_: object) -> None:
        queue: list[tuple[float, int]] = []
        for key in keys:
            heappush(queue, key)
        left["keys"] = [heappop(queue) for _ in keys]

    def finish_native(_: object) -> None:
        order = np.frombuffer(b"".join(left.pop("values")), dtype=np.int64)
        _require("entries that left in order", int((order == expected).sum()), count)

    def finish_heapq(_: object) -> None:
        order = np.array([number for _, number in left.pop("keys")])
        _require("entries that left in order", int((order == expected).sum()), count)

    return Case(
        "heap",
        f"fill and empty the ready heap in batches of {batch:,}",
        count,
        "entries",
        {
            "native": Side(lambda: None, run_native, finish_native),
            "heapq": Side(lambda: None, run_heapq, finish_heapq),
        },
    )


def latency(scale: float = 1.0) -> Case:
    """One task at a time: from the call of submit to its result in hand."""
    count = max(10, round(2000 * scale))

    def run_native(state: _Native) -> None:
        submit = state.runtime.submit
        for _ in range(count):
            submit(_one).result()

    def run_baseline(baseline: Baseline) -> None:
        submit = baseline.submit
        for _ in range(count):
            submit(_one).result()

    return Case(
        "latency",
        "submit one no-op task and wait for its result",
        count,
        "tasks",
        {
            "native": Side(_Native, run_native, lambda state: state.runtime.close()),
            "baseline": Side(_baseline, run_baseline, Baseline.close),
        },
    )


CASES: dict[str, Callable[[float], Case]] = {
    make.__name__: make for make in (independent, priorities, dag, readiness, heap, latency)
}


class _Native:
    """A runtime and what was submitted to it."""

    batch: Batch

    def __init__(self) -> None:
        self.runtime = Runtime(workers=WORKERS)


def _independent(name: str, title: str, count: int, drawn: Any) -> Case:
    functions = [_one] * count
    listed = None if drawn is None else drawn.tolist()

    def run_native(state: _Native) -> None:
        state.batch = state.runtime.submit_many(_one, count=count, priority=drawn)
        state.batch.wait()

    def run_baseline(baseline: Baseline) -> None:
        baseline.submit_many(functions, priority=listed)
        baseline.wait()

    def run_live(baseline: Baseline) -> None:
        add = baseline.add
        if listed is None:
            for _ in range(count):
                add(_one)
        else:
            for priority in listed:
                add(_one, (), priority)
        baseline.wait()

    return Case(
        name,
        title,
        count,
        "tasks",
        {
            "native": Side(_Native, run_native, partial(_finish_native, expected=1)),
            "live": Side(_baseline, run_live, partial(_finish_baseline, expected=1)),
            "baseline": Side(_baseline, run_baseline, partial(_finish_baseline, expected=1)),
        },
    )


def _graph_ready(graph: LayeredGraph, make: Callable[[], Any]) -> Callable[[], Any]:
    def prepare() -> Any:
        _ = graph.indptr, graph.in_batch, graph.lists
        return make()

    return prepare


def _baseline() -> Baseline:
    return Baseline(WORKERS)


def _finish_native(state: _Native, expected: int) -> None:
    results = state.batch.results()
    _require("last result", results[-1], expected)
    _require("results that are None", results.count(None), 0)
    state.runtime.close()


def _finish_baseline(baseline: Baseline, expected: int) -> None:
    baseline.close()
    _require("last result", baseline.results[-1], expected)
    _require("results that are None", baseline.results.count(None), 0)


def _require(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found}; it should be {expected}")


def _one() -> int:
    return 1


def _layer(*before: int) -> int:
    return before[0] + 1 if before else 0

"""Who may start next, without running anything: a graph built from its edges and counted down; and its memory."""

from __future__ import annotations

import ctypes
from functools import partial
from graphlib import TopologicalSorter
from time import perf_counter
from typing import Any

from benchmarks.measures import PENSTOCK, Case, Figures, Measure, Work, need, require, side
from benchmarks.memory import peak_from_now, resident_bytes
from benchmarks.work import LAYERS, graph
from penstock import _core
from penstock.bench.baseline import BaselineReadiness
from penstock.bench.graphs import LayeredGraph

__all__ = ["CASE", "DEGREES", "MEMORY", "named"]

FULL = 1_000_000
DEGREES = (1, 4)


def penstock_side(scale: float) -> Work:
    made = graph(FULL, scale)
    _ = made.indptr, made.in_batch

    def run(_: object) -> Figures:
        begun = perf_counter()
        readiness = _core.Readiness()
        _, ready = readiness.grow(made.tasks, made.indptr, made.in_batch)
        built = perf_counter()
        require("tasks completed", readiness.drain(ready), made.tasks)
        return {"build_s": built - begun, "drain_s": perf_counter() - built}

    return Work(made.tasks, run)


def baseline_side(scale: float) -> Work:
    made = graph(FULL, scale)
    rows = made.rows

    def run(_: object) -> Figures:
        begun = perf_counter()
        readiness = BaselineReadiness(rows)
        built = perf_counter()
        require("tasks completed", readiness.drain(), made.tasks)
        return {"build_s": built - begun, "drain_s": perf_counter() - built}

    return Work(made.tasks, run)


def graphlib_side(scale: float) -> Work:
    made = graph(FULL, scale)
    rows = made.rows

    def run(_: object) -> Figures:
        begun = perf_counter()
        sorter = TopologicalSorter(rows)
        sorter.prepare()
        built = perf_counter()
        done = 0
        while sorter.is_active():
            wave = sorter.get_ready()
            done += len(wave)
            sorter.done(*wave)
        require("tasks completed", done, made.tasks)
        return {"build_s": built - begun, "drain_s": perf_counter() - built}

    return Work(made.tasks, run)


def rustworkx_side(scale: float) -> Work:
    rustworkx = need("rustworkx")
    made = graph(FULL, scale)
    edges = [(p, k) for k, row in made.rows.items() for p in row]

    def run(_: object) -> Figures:
        begun = perf_counter()
        nodes = rustworkx.PyDiGraph(multigraph=True, node_count_hint=made.tasks, edge_count_hint=made.edges)
        nodes.add_nodes_from(range(made.tasks))
        nodes.add_edges_from_no_data(edges)
        sorter = rustworkx.TopologicalSorter(nodes, check_args=False)
        built = perf_counter()
        done = 0
        while sorter.is_active():
            wave = sorter.get_ready()
            done += len(wave)
            sorter.done(wave)
        require("tasks completed", done, made.tasks)
        return {"build_s": built - begun, "drain_s": perf_counter() - built}

    return Work(made.tasks, run)


def networkx_side(scale: float) -> Work:
    networkx = need("networkx")
    made = graph(100_000, scale)
    edges = [(p, k) for k, row in made.rows.items() for p in row]

    def run(_: object) -> Figures:
        begun = perf_counter()
        nodes = networkx.DiGraph()
        nodes.add_nodes_from(range(made.tasks))
        nodes.add_edges_from(edges)
        built = perf_counter()
        done = sum(len(wave) for wave in networkx.topological_generations(nodes))
        require("tasks completed", done, made.tasks)
        return {"build_s": built - begun, "drain_s": perf_counter() - built}

    return Work(made.tasks, run)


def memory(degree: int, scale: float) -> dict[str, Figures]:
    """What the built graph adds to this process; a process of its own for each graph, so that nothing is reused."""
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)
    width = graph(FULL, scale).width
    made = LayeredGraph(layers=LAYERS, width=width, degree=degree)
    _core.Readiness().grow(1)
    _ = made.indptr, made.in_batch
    peak = peak_from_now()
    before = resident_bytes()
    readiness = _core.Readiness()
    _, ready = readiness.grow(made.tasks, made.indptr, made.in_batch)
    highest = peak() - before
    trim(0)
    resident = resident_bytes() - before
    require("tasks completed", readiness.drain(ready), made.tasks)
    figures = {"nodes": made.tasks, "edges": made.edges, "resident_bytes": resident, "peak_bytes": highest}
    return {named(degree): figures}


def named(degree: int) -> str:
    return f"penstock, {degree} edge{'s' * (degree > 1)} a node"


CASE = Case(
    "readiness",
    "Readiness alone: a graph with four predecessors a node built from its edges, then drained, nothing run",
    "node",
    (
        side(PENSTOCK, penstock_side),
        side("pure-Python counts", baseline_side),
        side("graphlib", graphlib_side),
        side("rustworkx", rustworkx_side),
        side("networkx", networkx_side),
    ),
    note="penstock is given numpy arrays, rustworkx and networkx a list of pairs, graphlib a dict of lists, all made"
    " beforehand. The cycle check is within build for all but networkx, which makes it while it drains.",
)

MEMORY = Case(
    "memory",
    "Memory of the built graph beyond its input, by the process's resident pages",
    "node",
    tuple(Measure((named(degree),), partial(memory, degree)) for degree in DEGREES),
    note="Peak is the highest while the graph is built; resident is what stays. Two graphs of as many nodes and different"
    " numbers of edges tell a node's bytes from an edge's.",
)

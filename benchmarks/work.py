"""The tasks that every side runs, and the random layered graph in the forms that suit each."""

from __future__ import annotations

from functools import cache

from penstock.bench.graphs import LayeredGraph

__all__ = ["WORKERS", "count", "graph", "layer", "one"]

WORKERS = 2
LAYERS = 100


def one() -> int:
    return 1


def layer(*before: int) -> int:
    """The number of a task's layer, from those of its predecessors."""
    return before[0] + 1 if before else 0


def count(full: int, scale: float, least: int = 100) -> int:
    """Return how many of `full` are done at a scale."""
    return max(least, round(full * scale))


@cache
def graph(tasks: int, scale: float, layers: int = LAYERS) -> LayeredGraph:
    """The layered random graph of about so many tasks, four predecessors each."""
    return LayeredGraph(layers=layers, width=4 * max(1, round(tasks * scale / layers / 4)))

"""What can be said of a graph of tasks before and after it runs: levels, the critical path, its demand.

Pure functions over plain numbers: nothing here runs a task, reads a clock or asks the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.resources import RESOURCES

if TYPE_CHECKING:
    from penstock.pipeline import FrozenPipeline
    from penstock.resources import Limits

__all__ = ["Plan", "critical_path", "levels", "make_plan", "topological_order"]


def topological_order(indptr: Sequence[int], indices: Sequence[int]) -> list[int]:
    """Return the nodes of an acyclic graph, every node after all of its predecessors.

    Args:
        indptr: length n + 1; the predecessors of node k are `indices[indptr[k]:indptr[k + 1]]`.
        indices: length n_edges, each in [0, n).

    Returns:
        Length n. Nodes that could go either way keep their order by number.

    Raises:
        ValueError: the graph has a cycle.
    """
    n = len(indptr) - 1
    unmet = [indptr[k + 1] - indptr[k] for k in range(n)]
    successors: list[list[int]] = [[] for _ in range(n)]
    for node in range(n):
        for before in indices[indptr[node] : indptr[node + 1]]:
            successors[before].append(node)
    order = [node for node in range(n) if unmet[node] == 0]
    for node in order:  # grows while it is walked
        for after in successors[node]:
            unmet[after] -= 1
            if unmet[after] == 0:
                order.append(after)
    if len(order) != n:
        raise ValueError(f"{n - len(order)} of {n} nodes are on a cycle or behind one; freeze() names it.")
    return order


def levels(indptr: Sequence[int], indices: Sequence[int]) -> list[list[int]]:
    """Return the nodes by level: level 0 waits for nothing, each other node is one below its deepest predecessor.

    Nodes of one level do not depend on each other, so they could all run at once. Arguments and errors are
    those of `topological_order`.
    """
    depth = [0] * (len(indptr) - 1)
    for node in topological_order(indptr, indices):
        row = indices[indptr[node] : indptr[node + 1]]
        depth[node] = 1 + max((depth[before] for before in row), default=-1)
    found: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for node, level in enumerate(depth):
        found[level].append(node)
    return found


def critical_path(
    order: Iterable[int], predecessors: Callable[[int], Sequence[int]], weight: Callable[[int], float]
) -> tuple[list[int], float]:
    """Return the heaviest chain of dependencies, first task first, and its weight.

    Args:
        order: the nodes to consider, every node after its predecessors; predecessors that are not among the
            nodes before it are left out.
        predecessors: the nodes that a node waits for.
        weight: of a node, >= 0.

    Returns:
        The chain and the sum of its weights; of several equally heavy ones, the one that ends first in
        `order`. An empty `order` gives an empty chain of weight 0.
    """
    longest: dict[int, float] = {}
    came_from: dict[int, int] = {}
    end: int | None = None
    for node in order:
        best = 0.0
        for before in predecessors(node):
            length = longest.get(before)
            if length is not None and (length > best or node not in came_from):
                best = length
                came_from[node] = before
        longest[node] = best + weight(node)
        if end is None or longest[node] > longest[end]:
            end = node
    if end is None:
        return [], 0.0
    path = [end]
    while (before_end := came_from.get(path[-1])) is not None:
        path.append(before_end)
    return path[::-1], longest[end]


@dataclass(frozen=True, slots=True)
class Plan:
    """A frozen pipeline, looked at before it runs.

    Attributes:
        name: the pipeline's name.
        names: of the tasks, by position.
        levels: positions by level, see `levels`.
        edges: (before, after) positions, in the order of the tasks that wait.
        durations: expected seconds by position, None where `duration=` was not given.
        demands: what each task asks for, as text.
        critical_path: positions, first task first.
        critical_path_s: its expected length in seconds, or None when no task has a `duration=`: then the
            path is the longest by number of tasks.
        never: (position, sentence) for every task that can never start under the limits.
        totals: the sum of all tasks' demands by resource: milli-cores, bytes, bytes/s, milli-GPUs.
        widest: the largest such sum that one level asks for, by resource.
    """

    name: str
    names: tuple[str, ...]
    levels: list[list[int]]
    edges: list[tuple[int, int]]
    durations: tuple[float | None, ...]
    demands: tuple[str, ...]
    critical_path: list[int]
    critical_path_s: float | None
    never: list[tuple[int, str]]
    totals: Mapping[str, int]
    widest: Mapping[str, int]


def make_plan(frozen: FrozenPipeline, limits: Limits) -> Plan:
    """Look at a pipeline under these limits. Nothing is run or reserved.

    A task without `duration=` counts as the mean of those that have one; when none has, every task counts
    the same and the path is given without a length in seconds.
    """
    specs = [call.spec for call in frozen.calls]
    durations = tuple(spec.duration_s for spec in specs)
    known = [duration for duration in durations if duration is not None]
    typical = sum(known) / len(known) if known else 1.0
    weights = [typical if duration is None else duration for duration in durations]
    path, length = critical_path(
        topological_order(frozen.indptr, frozen.indices), frozen.predecessors, weights.__getitem__
    )
    by_level = levels(frozen.indptr, frozen.indices)
    never = [
        (position, problem)
        for position, spec in enumerate(specs)
        if (problem := limits.shortfall(spec.demand)) is not None
    ]
    return Plan(
        name=frozen.name,
        names=frozen.names,
        levels=by_level,
        edges=[(before, after) for after in range(len(specs)) for before in frozen.predecessors(after)],
        durations=durations,
        demands=tuple(str(spec.demand) for spec in specs),
        critical_path=path,
        critical_path_s=length if known else None,
        never=never,
        totals=_sum(specs[position].demand for position in range(len(specs))),
        widest=_largest(_sum(specs[position].demand for position in level) for level in by_level),
    )


def _sum(demands: Iterable[Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for demand in demands:
        for name, amount in demand.items():
            totals[name] = totals.get(name, 0) + amount
    return _in_order(totals)


def _largest(sums: Iterable[Mapping[str, int]]) -> dict[str, int]:
    largest: dict[str, int] = {}
    for amounts in sums:
        for name, amount in amounts.items():
            largest[name] = max(largest.get(name, 0), amount)
    return _in_order(largest)


def _in_order(amounts: dict[str, int]) -> dict[str, int]:
    builtin = [name for name in RESOURCES if name in amounts]
    return {name: amounts[name] for name in (*builtin, *sorted(set(amounts) - set(builtin)))}

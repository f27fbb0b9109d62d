"""Checks a schedule against what it is a schedule of. Written apart from whatever made it, and from first principles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from penstock.resources import format_amount

if TYPE_CHECKING:
    import numpy.typing as npt

    from penstock.workloads.workload import Workload

__all__ = ["violations"]

MOST = 20
"""So many sentences are returned at most."""


def violations(
    workload: Workload,
    capacity: Mapping[str, int],
    start_ns: npt.ArrayLike,
    finish_ns: npt.ArrayLike,
    *,
    workers: int | None = None,
) -> list[str]:
    """Return a sentence for everything that is wrong with a schedule in which each task runs once; none: it is valid.

    Checked are: each task runs once, from an instant >= its arrival for as long as it takes; it starts after all that it
    waits for has ended; at no instant is more in use than there is.

    Args:
        workload: what was scheduled; its changes of capacity count.
        capacity: amounts by resource; a resource that is not here is unlimited.
        start_ns, finish_ns: shape (n_tasks,); -1 for a task that never ran.
        workers: how many tasks may run at once; None: any number.
    """
    start, finish = np.asarray(start_ns, np.int64), np.asarray(finish_ns, np.int64)
    names, wrong = workload.names, []
    if start.shape != (len(workload),) or finish.shape != (len(workload),):
        return [f"{start.shape} starts and {finish.shape} ends for {len(workload)} tasks"]
    for task in range(len(workload)):
        began, ended = int(start[task]), int(finish[task])
        if began < 0 or ended < 0:
            wrong.append(f"{names[task]!r} never ran")
            continue
        if ended - began != int(workload.duration_ns[task]):
            wrong.append(f"{names[task]!r} takes {int(workload.duration_ns[task])} ns but ran for {ended - began}")
        if began < int(workload.arrival_ns[task]):
            wrong.append(f"{names[task]!r} starts at {began}, before it arrives at {int(workload.arrival_ns[task])}")
        wrong += [
            f"{names[task]!r} starts at {began}, before {names[before]!r} ends at {int(finish[before])}"
            for before in workload.predecessors(task)
            if int(finish[before]) > began
        ]
    for resource in sorted({name for demand in workload.demands for name in demand} & set(capacity)):
        limit = capacity[resource]
        asks = [
            min(demand.get(resource, 0), limit) if workload.capped else demand.get(resource, 0)
            for demand in workload.demands
        ]
        amounts = [asks[kind] for kind in workload.demand_of.tolist()]
        changes = [(at, amount) for at, name, amount in workload.changes if name == resource]
        wrong += _overfull(resource, amounts, start.tolist(), finish.tolist(), limit, changes)
    if workers is not None:
        wrong += _overfull("workers", [1] * len(workload), start.tolist(), finish.tolist(), workers, [])
    return wrong[:MOST]


def _overfull(
    resource: str,
    amounts: Sequence[int],
    start: Sequence[int],
    finish: Sequence[int],
    limit: int,
    changes: Sequence[tuple[int, int]],
) -> list[str]:
    # At one instant what ends gives back first, then capacity changes, then what starts takes. A start is judged: what
    # runs on while capacity falls keeps what it has.
    points: list[tuple[int, int, int]] = []
    for amount, began, ended in zip(amounts, start, finish, strict=True):
        if amount == 0 or began < 0 or ended <= began:
            continue
        points += [(ended, 0, -amount), (began, 2, amount)]
    points += [(at, 1, amount) for at, amount in changes]
    used, wrong = 0, []
    for at, kind, amount in sorted(points):
        if kind == 1:
            limit = amount
            continue
        used += amount
        if kind == 2 and used > limit:
            said = used if resource == "workers" else format_amount(resource, used)
            there = limit if resource == "workers" else format_amount(resource, limit)
            wrong.append(f"{said} of {resource} are in use at {at} ns, of {there}")
    return wrong

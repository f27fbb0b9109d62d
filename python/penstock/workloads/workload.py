"""A workload: tasks, what they wait for, what they need and how long they really run, as arrays for the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from penstock import _core
from penstock.errors import CycleError, OptionError
from penstock.resources import Demand

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64s = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["Workload", "unite"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Tasks as a simulation plays them. All columns are by task; tasks are in the order of their arrival.

    Attributes:
        name: shown in tables.
        names: of the tasks.
        indptr: shape (n_tasks + 1,). Task k waits for the tasks `indices[indptr[k]:indptr[k + 1]]`.
        indices: shape (n_edges,).
        duration_ns: shape (n_tasks,): how long an attempt really runs.
        expected_ns: shape (n_tasks,): what is known of that beforehand, 0 where nothing is; None: exactly that.
        demands: the different demands.
        demand_of: shape (n_tasks,): which of `demands` a task has.
        groups: shape (n_tasks,): tasks with the same number run the same function; see `estimates.Learner`.
        sizes: shape (n_tasks, n_hints): what else is known of each task beforehand that may say how long it takes beside
            its like, such as the bytes that it reads; None: nothing.
        priority: shape (n_tasks,): a smaller number is more urgent.
        arrival_ns: shape (n_tasks,): when a task is submitted, not decreasing.
        failures: shape (n_tasks,): how many attempts fail before one succeeds.
        retries: shape (n_tasks,): how many attempts may follow the first.
        failed_share: a failing attempt takes this share of the task's run time.
        retry_wait_ns: between a failure and the next attempt.
        capacity: what there is of resources by name, where the source says so (milli-cores, bytes, thousandths).
        changes: (instant in ns, resource, amount): capacity that comes and goes.
        workers: how many tasks run at once at most; None: as many as fit.
        capped: a demand above the machine's capacity counts as all of it, instead of being refused.
    """

    name: str
    names: Sequence[str]
    indptr: Int64s
    indices: Int64s
    duration_ns: Int64s
    demands: tuple[Demand, ...]
    demand_of: npt.NDArray[np.int32]
    expected_ns: Int64s | None = None
    groups: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    sizes: Floats | None = None
    priority: Floats = field(default_factory=lambda: np.zeros(0))
    arrival_ns: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    failures: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    retries: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    failed_share: float = 1.0
    retry_wait_ns: int = 0
    capacity: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[tuple[int, str, int], ...] = ()
    workers: int | None = None
    capped: bool = False

    def __post_init__(self) -> None:
        count = len(self.names)
        for column in ("groups", "priority", "arrival_ns", "failures", "retries"):
            if len(getattr(self, column)) == 0:
                object.__setattr__(self, column, np.zeros(count, getattr(self, column).dtype))
        for column in ("duration_ns", "demand_of", "groups", "priority", "arrival_ns", "failures", "retries"):
            if len(getattr(self, column)) != count:
                raise OptionError(
                    f"workload {self.name!r}: {column} has {len(getattr(self, column))} entries for {count} tasks; give one for each."
                )
        if self.expected_ns is not None and len(self.expected_ns) != count:
            raise OptionError(
                f"workload {self.name!r}: expected_ns has {len(self.expected_ns)} entries for {count} tasks; give one for each."
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def estimates_ns(self) -> Int64s:
        """What is known beforehand, 0 where nothing is."""
        return self.duration_ns if self.expected_ns is None else self.expected_ns

    def predecessors(self, task: int) -> list[int]:
        """Return the tasks that one waits for."""
        row: list[int] = self.indices[self.indptr[task] : self.indptr[task + 1]].tolist()
        return row

    def critical_path_ns(self) -> int:
        """Return the run time of the longest chain of tasks.

        Raises:
            CycleError: tasks wait for one another in a ring.
        """
        levels = bottom_levels(self, self.duration_ns)
        return int(levels.max()) if len(levels) else 0

    def with_changes(self, **changes: object) -> Workload:
        """Return a copy in which some attributes are others."""
        return replace(self, **changes)  # type: ignore[arg-type]


def bottom_levels(workload: Workload, weights_ns: Int64s) -> Int64s:
    """Return, by task, the heaviest chain that begins with it, itself included, in ns.

    Raises:
        CycleError: tasks wait for one another in a ring.
    """
    edges = np.where(workload.indices >= 0, ~workload.indices, workload.indices)  # of this batch, for the core
    try:
        raw = _core.bottom_levels(len(workload), workload.indptr, edges, np.ascontiguousarray(weights_ns, np.int64))
    except _core.CycleError as error:
        raise CycleError(workload.names[task] for task in error.args[0]) from None
    return np.frombuffer(raw, np.int64)


def unite(workloads: Sequence[Workload], name: str = "union") -> Workload:
    """Return several workloads as one pool of work; every task's name begins with its workload's.

    Raises:
        OptionError: there is none, or one has a machine of its own: capacity, workers or outside load.
    """
    if not workloads:
        raise OptionError("a union of no workloads; give at least one.")
    for one in workloads:
        if one.capacity or one.changes or one.workers is not None:
            raise OptionError(
                f"workload {one.name!r} brings a machine of its own, so it cannot share one; simulate it alone."
            )
    at = np.concatenate([[0], np.cumsum([len(one) for one in workloads])]).astype(np.int64)
    demands: dict[Demand, int] = {}
    demand_of, groups, indptr, first_group = [], [], [np.zeros(1, np.int64)], 0
    for one in workloads:
        numbers = np.array([demands.setdefault(demand, len(demands)) for demand in one.demands], np.int32)
        demand_of.append(numbers[one.demand_of])
        groups.append(one.groups + np.uint32(first_group))
        first_group += int(one.groups.max()) + 1 if len(one) else 0
        indptr.append(one.indptr[1:] + indptr[-1][-1])
    joined = Workload(
        name=name,
        names=[f"{one.name}/{task}" for one in workloads for task in one.names],
        indptr=np.concatenate(indptr),
        indices=np.concatenate([one.indices + at[k] for k, one in enumerate(workloads)]),
        duration_ns=np.concatenate([one.duration_ns for one in workloads]),
        expected_ns=None
        if all(one.expected_ns is None for one in workloads)
        else np.concatenate([one.estimates_ns for one in workloads]),
        demands=tuple(demands),
        demand_of=np.concatenate(demand_of),
        groups=np.concatenate(groups),
        sizes=_united_sizes(workloads),
        priority=np.concatenate([one.priority for one in workloads]),
        arrival_ns=np.concatenate([one.arrival_ns for one in workloads]),
        failures=np.concatenate([one.failures for one in workloads]),
        retries=np.concatenate([one.retries for one in workloads]),
        failed_share=workloads[0].failed_share,
        retry_wait_ns=max(one.retry_wait_ns for one in workloads),
        capped=any(one.capped for one in workloads),
    )
    return by_arrival(joined)


def _united_sizes(workloads: Sequence[Workload]) -> Floats | None:
    widths = [0 if one.sizes is None else one.sizes.shape[1] for one in workloads]
    if not any(widths):
        return None
    sizes = np.zeros((sum(len(one) for one in workloads), max(widths)))
    at = 0
    for one, width in zip(workloads, widths, strict=True):
        if one.sizes is not None:
            sizes[at : at + len(one), :width] = one.sizes
        at += len(one)
    return sizes


def by_arrival(workload: Workload) -> Workload:
    """Return the workload with its tasks in the order of their arrival; those that come together keep theirs."""
    if not np.any(np.diff(workload.arrival_ns) < 0):
        return workload
    order = np.argsort(workload.arrival_ns, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = [workload.indices[workload.indptr[k] : workload.indptr[k + 1]] for k in order]
    return workload.with_changes(
        names=[workload.names[k] for k in order],
        indptr=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        indices=place[np.concatenate(rows)] if rows else workload.indices,
        expected_ns=None if workload.expected_ns is None else workload.expected_ns[order],
        sizes=None if workload.sizes is None else workload.sizes[order],
        **{
            column: getattr(workload, column)[order]
            for column in ("duration_ns", "demand_of", "groups", "priority", "arrival_ns", "failures", "retries")
        },
    )

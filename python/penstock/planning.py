"""From durations to a good order: the native planner, for a pipeline or for plain arrays.

A plan is made before a run, within a budget of time, from what tasks are expected to take. It says when each task would
start if everything took just that long; a dynamic policy takes its order as ranks, the policy `static` follows it.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock import _core
from penstock.errors import OptionError

if TYPE_CHECKING:
    from penstock.options import TaskSpec
    from penstock.pipeline import FrozenPipeline
    from penstock.policies import Policy
    from penstock.resources import Limits

__all__ = [
    "MOST_TASKS",
    "PLAN_BUDGET_S",
    "Schedule",
    "check_budget",
    "make_schedule",
    "places",
    "schedule_arrays",
    "schedule_by_rank",
]

NS = 1_000_000_000
PLAN_BUDGET_S = 0.1
"""Seconds that planning may take before a run, unless `plan_budget=` says otherwise."""
MOST_TASKS = 50_000
"""A larger graph is not planned: it goes by bottom levels, one pass over its edges."""
SPARE = 0.03
"""Share of the budget kept for the way back: copying the plan out, and what the machine does meanwhile."""
READING_S = 1e-6
"""Seconds for each task that it takes to read a pipeline; with less than that in the budget it is not begun."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each task would start if durations were as expected.

    Attributes:
        complete: whether there is a schedule; False when the budget ended before the first one, or for more than
            `MOST_TASKS` tasks. Then all that follows is empty or 0.
        starts_ns: shape (n_tasks,), int64: planned start of each task, ns from the start of the run.
        order: shape (n_tasks,): positions by planned start, each after what it waits for.
        durations_ns: shape (n_tasks,), int64: the durations it was made with.
        makespan_ns: end of the last task.
        lower_bound_ns: no schedule of these durations is shorter.
        schedules: how many were made to find this one.
        guessed: tasks whose duration was not known.
        seconds: wall time that making it took.
    """

    complete: bool
    starts_ns: array[int]
    order: array[int]
    durations_ns: array[int]
    makespan_ns: int
    lower_bound_ns: int
    schedules: int
    guessed: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def optimal(self) -> bool:
        """Whether it is proven that no schedule is shorter."""
        return self.complete and self.makespan_ns == self.lower_bound_ns


def check_budget(value: object, what: str = "plan_budget") -> float:
    """Return a budget in seconds.

    Raises:
        OptionError: it is no finite number from 0 up.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise OptionError(f"{what}={value!r}; allowed is a number of seconds from 0 up, where 0 is no planning.")


def schedule_arrays(
    durations_ns: Any,
    demands: Any,
    capacity: Any,
    indptr: Any = None,
    indices: Any = None,
    release_ns: Any = None,
    *,
    budget_s: float | None = PLAN_BUDGET_S,
    iterations: int = 0,
    seed: int = 0,
    greedy: bool = False,
    stop: _core.StopFlag | None = None,
) -> Schedule:
    """Plan tasks that are given as arrays (contiguous buffers: numpy, `array.array`, memoryview).

    Args:
        durations_ns: shape (n,), int64, >= 0: expected run times in ns.
        demands: shape (n * n_resources,), int64, task by task: what it holds of each resource while it runs.
        capacity: shape (n_resources,), int64: what there is of each.
        indptr, indices: shapes (n + 1,) and (n_edges,), int64: task k waits for the tasks at positions
            `indices[indptr[k]:indptr[k + 1]]`; None for no dependencies.
        release_ns: shape (n,), int64, >= 0: earliest starts; None for 0.
        budget_s: seconds that this call may take at most; None for no limit.
        iterations: schedules to make at most; 0 for no limit. 3 is one list schedule, justified once: no search.
        seed: the same seed and number of iterations give the same plan when the budget does not end first.
        greedy: look only at schedules in which nothing that is ready and fits ever waits: what a dynamic policy makes
            of the plan's order. Without it a plan may be shorter, and has to be followed as it is.
        stop: `stop.set()` from any thread ends the search; the best plan so far is returned.

    Returns:
        The best schedule found. It comes before the budget ends when it is proven optimal. Ctrl-C ends it too, with
        KeyboardInterrupt.

    Raises:
        OptionError: neither a budget, nor iterations, nor a flag would end it.
        CycleError: tasks wait for each other; `args[0]` has their positions.
        ValueError, TypeError: an array does not fit; names the task, or the array.
    """
    began = time.monotonic()
    if budget_s is None and iterations == 0 and stop is None:
        raise OptionError("budget_s=None, iterations=0 and no stop=: nothing would end the search; give one of them.")
    if budget_s is not None:
        # A step between two looks at the clock takes longer in a larger graph.
        budget_s = max(
            0.0, check_budget(budget_s, "budget_s") * (1 - SPARE) - 5e-7 * min(len(durations_ns), MOST_TASKS)
        )
    complete, starts, order, makespan, bound, schedules = _core.make_plan(
        durations_ns,
        demands,
        capacity,
        indptr,
        indices,
        release_ns,
        budget_s=budget_s,
        iterations=iterations,
        seed=seed,
        greedy=greedy,
        stop=stop,
    )
    if not complete:
        return _none(time.monotonic() - began)
    return Schedule(
        True,
        array("q", starts),
        array("I", order),
        array("q", durations_ns),
        makespan,
        bound,
        schedules,
        seconds=time.monotonic() - began,
    )


def schedule_by_rank(
    durations_ns: Any,
    demands: Any,
    capacity: Any,
    ranks: Any,
    indptr: Any = None,
    indices: Any = None,
    release_ns: Any = None,
    *,
    serial: bool = False,
) -> Schedule:
    """Make one schedule by ranks alone, the smaller first, equal ones by position: what one pass of a rule gives.

    Args:
        ranks: shape (n,), float64, finite.
        serial: place task by task, each as early as it fits; else instant by instant, what is ready and fits, as
            dispatch does.
        durations_ns, demands, capacity, indptr, indices, release_ns: as in `schedule_arrays`.

    Raises:
        CycleError, ValueError, TypeError: as `schedule_arrays`.
    """
    began = time.monotonic()
    complete, starts, order, makespan, bound, schedules = _core.list_schedule(
        durations_ns, demands, capacity, ranks, indptr, indices, release_ns, serial=serial
    )
    seconds = time.monotonic() - began
    return Schedule(
        complete,
        array("q", starts),
        array("I", order),
        array("q", durations_ns),
        makespan,
        bound,
        schedules,
        0,
        seconds,
    )


def make_schedule(
    frozen: FrozenPipeline,
    limits: Limits,
    *,
    durations_s: Sequence[float | None] | None = None,
    workers: int | None = None,
    budget_s: float | None = PLAN_BUDGET_S,
    iterations: int = 0,
    seed: int = 0,
    greedy: bool = False,
    stop: _core.StopFlag | None = None,
) -> Schedule:
    """Plan a pipeline under these limits.

    Args:
        frozen: the pipeline.
        limits: what may be used; a resource without a limit never makes a task wait.
        durations_s: expected seconds by position, None where unknown; without it, each task's own `duration=`. What is
            unknown counts as the mean of what is known, and as 1 s when nothing is.
        workers: threads that run tasks, when their number may bind; None for as many as it takes.
        budget_s, iterations, seed, greedy, stop: as in `schedule_arrays`; the budget includes reading the pipeline.

    Raises:
        ValueError: a task can never start under the limits; names its position.
        OptionError: as `schedule_arrays`.
    """
    began = time.monotonic()
    until = None if budget_s is None else began + check_budget(budget_s, "budget_s")
    if budget_s is not None and budget_s < READING_S * len(frozen.calls):
        return _none(0.0)
    specs = [call.spec for call in frozen.calls]
    distinct = {id(spec): spec for spec in specs}
    if durations_s is None:
        lengths = {key: spec.duration_s for key, spec in distinct.items()}
        durations_s = [lengths[id(spec)] for spec in specs]
    known = [duration for duration in durations_s if duration is not None]
    typical = round((sum(known) / len(known) if known else 1.0) * NS)
    rows, capacity = _rows(distinct, limits.amounts, workers)
    durations, demands = array("q"), array("q")
    for k, (spec, length) in enumerate(zip(specs, durations_s, strict=True)):
        if k % 1024 == 1023 and until is not None and time.monotonic() > until:
            return _none(time.monotonic() - began)
        durations.append(typical if length is None else round(length * NS))
        demands.extend(rows[id(spec)])
    left = None if until is None else max(0.0, until - time.monotonic())
    made = schedule_arrays(
        durations,
        demands,
        capacity,
        frozen.indptr,
        frozen.indices,
        budget_s=left,
        iterations=iterations,
        seed=seed,
        greedy=greedy,
        stop=stop,
    )
    return Schedule(
        made.complete,
        made.starts_ns,
        made.order,
        made.durations_ns,
        made.makespan_ns,
        made.lower_bound_ns,
        made.schedules,
        len(specs) - len(known),
        time.monotonic() - began,
    )


def places(
    frozen: FrozenPipeline,
    limits: Limits,
    policy: Policy,
    *,
    workers: int | None = None,
    budget_s: float = PLAN_BUDGET_S,
    seed: int = 0,
    durations_s: Sequence[float | None] | None = None,
) -> array[int] | None:
    """Return each task's place in the plan that a run under this policy goes by, or None when it goes without.

    A plan's order: always, where the policy is one that keeps to it (`form="plan"`); and where the critical path weighs,
    at least one duration is known, no task has a deadline (a plan knows none), there are at most `MOST_TASKS` tasks, and
    the budget is not 0.

    Where a plan must be kept to and the budget ends before there is one, or is 0, the order is that of bottom levels.

    Args:
        frozen, limits, workers, seed, durations_s: as in `make_schedule`.
        policy: of the run.
        budget_s: seconds; 0 for no search.
    """
    keeps = policy.form == "plan"
    if not frozen.calls:
        return None
    specs = {id(call.spec): call.spec for call in frozen.calls}.values()
    if not keeps and (
        policy.form != "sum"
        or policy.critical_path <= 0
        or budget_s == 0
        or len(frozen.calls) > MOST_TASKS
        or (durations_s is None and all(spec.duration_s is None for spec in specs))
        or any(spec.deadline_s is not None for spec in specs)
    ):
        return None
    made = make_schedule(
        frozen, limits, durations_s=durations_s, workers=workers, budget_s=budget_s, seed=seed, greedy=not keeps
    )
    if made.complete:
        order: Sequence[int] = made.order
    elif keeps:
        order = _by_levels(frozen, durations_s)
    else:
        return None
    found = array("I", bytes(4 * len(order)))
    for place, task in enumerate(order):
        found[task] = place
    return found


def _by_levels(frozen: FrozenPipeline, durations_s: Sequence[float | None] | None = None) -> list[int]:
    """Return the tasks by bottom level, the longest first: each after what it waits for, as every task counts at least 1 ns."""
    known = [call.spec.duration_s for call in frozen.calls] if durations_s is None else durations_s
    lengths = array("q", [max(1, round((length or 0) * NS)) for length in known])
    packed = _core.plan_levels(lengths, frozen.indptr, frozen.indices)
    assert packed is not None, "without a budget there is always an end"
    levels = array("q", packed)
    return sorted(range(len(levels)), key=lambda task: (-levels[task], task))


def _none(seconds: float) -> Schedule:
    return Schedule(False, array("q"), array("I"), array("q"), 0, 0, 0, seconds=seconds)


def _rows(
    specs: Mapping[int, TaskSpec], limits: Mapping[str, int], workers: int | None
) -> tuple[dict[int, array[int]], array[int]]:
    """Return what each spec asks of the resources that have a limit, and those limits; the last is workers, if given.

    Memory of GPUs is given by device; here that of all devices counts together.
    """
    names = [name for name in limits if any(name in spec.demand for spec in specs.values())]
    devices = max(1, limits.get("gpu", 0) // 1000)
    rows = {}
    for key, spec in specs.items():
        each = max(1, spec.demand.gpu // 1000)
        row = array("q", [spec.demand.get(name, 0) * (each if name == "gpu_memory" else 1) for name in names])
        if workers is not None:
            row.append(1 if spec.executor == "threads" else 0)
        rows[key] = row
    capacity = array("q", [limits[name] * (devices if name == "gpu_memory" else 1) for name in names])
    if workers is not None:
        capacity.append(workers)
    return rows, capacity

"""The simulator: a workload under a policy in virtual time, by the same core that runs pipelines.

    import penstock

    simulation = penstock.simulate("search.py", policy="hybrid", capacity={"cpu": 16, "memory": "64GiB"})
    print(simulation.makespan_s, simulation.lower_bound_s)

Nothing runs, and no clock is read but to say how long the simulation itself took.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock import _core
from penstock.errors import OptionError, ResourceError, did_you_mean
from penstock.estimates import Learner
from penstock.journal.playback import read_source
from penstock.observe.events import EventKind, one_each, read
from penstock.options import TaskSpec
from penstock.planning import MOST_TASKS, PLAN_BUDGET_S, check_budget, schedule_arrays
from penstock.policies import Policy, resolve
from penstock.resources import RESOURCES, Demand, Limits, format_amount
from penstock.states import State
from penstock.workloads import Workload, unite
from penstock.workloads.workload import bottom_levels, by_arrival

if TYPE_CHECKING:
    import numpy.typing as npt

    from penstock.observe.events import Events
    from penstock.pipeline import Pipeline

    Int64s = npt.NDArray[np.int64]

__all__ = ["DURATIONS", "Noise", "Simulation", "simulate"]

DURATIONS = ("known", "exact", "corrected", "learned", "unknown")
WHOLE_GPU = 1000


@dataclass(frozen=True, slots=True)
class Noise:
    """How far what is expected of a task is from what it takes: a factor for each task.

    Attributes:
        kind: "lognormal": exp(s * z), "uniform": 1 + s * u; z is standard normal, u uniform in -1..1.
        spread: s, >= 0; for uniform at most 1.
    """

    kind: str
    spread: float

    @classmethod
    def parse(cls, text: str) -> Noise:
        """Return the noise that a text such as "lognormal:0.5" stands for.

        Raises:
            OptionError: the kind is unknown or the spread not allowed.
        """
        kind, _, number = text.partition(":")
        most = {"lognormal": 10.0, "uniform": 1.0}
        if kind not in most:
            raise OptionError(
                f"noise={text!r}; allowed are 'lognormal:S' and 'uniform:S', as in 'lognormal:0.5'.{did_you_mean(kind, most)}"
            )
        try:
            spread = float(number)
        except ValueError:
            spread = -1.0
        if not 0 <= spread <= most[kind]:
            raise OptionError(
                f"noise={text!r}: the spread is {number!r}; allowed is a number from 0 to {most[kind]:g}."
            )
        return cls(kind, spread)

    def factors(self, count: int, seed: int) -> npt.NDArray[np.float64]:
        """Return `count` factors, the same ones for the same seed."""
        draw = np.random.default_rng(seed)
        if self.kind == "lognormal":
            return np.exp(self.spread * draw.standard_normal(count))
        return 1.0 + self.spread * draw.uniform(-1.0, 1.0, count)


class Simulation:
    """What came of a simulated run. Columns are by task, shape (n_tasks,), in ns from the start.

    Attributes:
        workload: what was simulated, in the order of arrival.
        policy: that decided.
        capacity: what there was, by resource: milli-cores, bytes, thousandths.
        makespan_s: from the start to the last end, in seconds.
        critical_path_s: the longest chain of run times.
        lower_bound_s: no schedule is shorter: the largest of the critical path and, for each resource, the sum of run
            time x demand over what there is.
        start_ns, finish_ns: of each task's last attempt; -1 for a task that never ran.
        attempts: how many attempts each task had.
        seconds: that the simulation took.
    """

    def __init__(
        self,
        workload: Workload,
        policy: Policy,
        capacity: Mapping[str, int],
        scheduler: _core.Scheduler,
        outcome: tuple[bytes, bytes, bytes, int, int],
        seconds: float,
    ) -> None:
        self.workload = workload
        self.policy = policy
        self.capacity = dict(capacity)
        self.start_ns: Int64s = np.frombuffer(outcome[0], np.int64)
        self.finish_ns: Int64s = np.frombuffer(outcome[1], np.int64)
        self.attempts: npt.NDArray[np.uint32] = np.frombuffer(outcome[2], np.uint32)
        self.makespan_s = outcome[3] / 1e9
        self.stuck = outcome[4]
        self.critical_path_s = workload.critical_path_ns() / 1e9
        self.lower_bound_s = max([self.critical_path_s, *self._areas().values()])
        self.seconds = seconds
        self._scheduler = scheduler
        self._events: Events | None = None

    @property
    def ok(self) -> bool:
        """Every task succeeded."""
        return self._scheduler.count_state(0, len(self.workload), int(State.SUCCEEDED)) == len(self.workload)

    @property
    def events(self) -> Events:
        """All events in order, one row for each task; the fields are those of `observe.events.EVENT`, times in ns."""
        if self._events is None:
            (self._events,) = one_each(read(self._scheduler.log))
        return self._events

    @property
    def utilisation(self) -> dict[str, float]:
        """By resource, the share of what there was that was in use, 0..1, averaged over the makespan."""
        if not self.makespan_s:
            return {}
        return {name: area / self.makespan_s for name, area in self._areas().items()}

    def table(self) -> str:
        """The table of tasks and the line of totals, as text."""
        from penstock.observe.table import render

        return render(_View(self))

    def write_trace(self, path: str | PathLike[str]) -> None:
        """Write the schedule as a file for Perfetto or chrome://tracing."""
        from penstock.observe.trace import write_trace

        write_trace(_View(self), path)

    def violations(self) -> list[str]:
        """Check the schedule with the independent verifier; returns a sentence for everything that is wrong.

        Raises:
            OptionError: attempts failed, so that tasks ran more than once; there is nothing to compare with.
        """
        from penstock.workloads.verify import violations

        if np.any(self.workload.failures > 0):
            raise OptionError("violations() checks schedules in which every task runs once; in this one attempts fail.")
        return violations(self.workload, self.capacity, self.start_ns, self.finish_ns, workers=self.workload.workers)

    def summary(self) -> dict[str, object]:
        """Return policy, tasks, makespan, critical_path, lower_bound and seconds; times in seconds."""
        return {
            "policy": self.policy.name,
            "tasks": len(self.workload),
            "makespan": self.makespan_s,
            "critical_path": self.critical_path_s,
            "lower_bound": self.lower_bound_s,
            "seconds": self.seconds,
        }

    def _areas(self) -> dict[str, float]:
        """By resource, how many seconds all of it would be busy with all tasks."""
        seconds = np.bincount(
            self.workload.demand_of, self.workload.duration_ns / 1e9, minlength=len(self.workload.demands)
        )
        areas = {}
        for name, amount in self.capacity.items():
            if amount > 0:
                asks = np.array([min(demand.get(name, 0), amount) for demand in self.workload.demands])
                areas[name] = float(np.dot(asks, seconds)) / amount if len(asks) else 0.0
        return areas

    def __repr__(self) -> str:
        return f"<Simulation {self.workload.name!r} under {self.policy.name!r}: {len(self.workload)} tasks in {self.makespan_s:.6g} s>"


def simulate(
    source: Workload | Pipeline | str | PathLike[str] | Sequence[Workload],
    *,
    policy: str | Policy = "hybrid",
    capacity: Mapping[str, object] | None = None,
    workers: int | None = None,
    noise: str | Noise | None = None,
    seed: int = 0,
    durations: str = "known",
    priority: npt.ArrayLike | None = None,
    plan_budget: float = PLAN_BUDGET_S,
) -> Simulation:
    """Play a workload under a policy in virtual time.

    Args:
        source: a workload, a pipeline whose tasks have a `duration=`, a file (see `penstock.workloads.read`), a run of a
            store (`".penstock#7"`), or several workloads as one pool of work.
        policy: a preset's name or a `Policy`.
        capacity: what there is, as `limits=` of a run in absolute amounts: `{"cpu": 16, "memory": "64GiB"}`. What is not
            mentioned is what the workload says (a recorded run, a project), else unlimited; cpu is then this machine's.
        workers: how many tasks run at once at most; None: what the workload says, else as many as fit.
        noise: how wrong expectations are, such as "lognormal:0.5"; the run times themselves stay as they are.
        seed: of the noise.
        durations: what the scheduler knows of run times: "known": what the workload expects; "exact": what they are;
            "corrected": what the workload expects, and what tasks that have ended say about that; "learned": nothing at
            the start, then what tasks that have ended teach, see `estimates.Learner`; "unknown": nothing.
        priority: shape (n_tasks,), in place of the workload's own priorities.
        plan_budget: seconds to look for a good order of what is there at the start, from what is expected; 0 for no
            search. As in a run, a plan is made where the policy weighs the critical path, and for "static"; none where
            all is to be learned. With "corrected" it is followed until expectations prove wrong.

    Raises:
        OptionError: an option is not allowed.
        ResourceError: a task asks for more than there is, and no capacity that comes later helps.
        PipelineFileError, CycleError: the file is wrong.
        StoreError: the run of a store cannot be simulated; says why.
    """
    workload = _workload(source)
    resolved = resolve(policy)
    if durations not in DURATIONS:
        raise OptionError(f"durations={durations!r}; allowed are {', '.join(map(repr, DURATIONS))}.")
    if workers is not None:
        workload = workload.with_changes(workers=workers)
    there = _capacity(workload, capacity)
    begun = time.perf_counter()
    scheduler, shapes, custom = _machine(workload, there)
    scheduler.set_policy(*resolved.to_core(), now=0)
    expected, learner = _expectations(workload, noise, seed, durations)
    # Of a workload of which nothing is known there is no plan, but for a policy that keeps to one.
    budget_s = check_budget(plan_budget) if durations != "learned" or resolved.form == "plan" else 0.0
    place = _places(workload, there, resolved, expected, budget_s)
    if learner is not None:
        learner.planned = place is not None and resolved.form != "plan"
    outcome = _core.simulate(
        scheduler,
        len(workload),
        duration=np.ascontiguousarray(workload.duration_ns, np.int64),
        shape=shapes[workload.demand_of],
        priority=np.ascontiguousarray(workload.priority if priority is None else priority, np.float64),
        indptr=np.ascontiguousarray(workload.indptr, np.int64),
        indices=np.ascontiguousarray(workload.indices, np.int64),
        expected=expected,
        arrival=np.ascontiguousarray(workload.arrival_ns, np.int64),
        failures=np.ascontiguousarray(workload.failures, np.uint32),
        retries=np.ascontiguousarray(workload.retries, np.uint32),
        failed_share=workload.failed_share,
        retry_wait=workload.retry_wait_ns,
        capacity=[
            (at, RESOURCES.index(name) if name in RESOURCES else len(RESOURCES) + custom.index(name), amount)
            for at, name, amount in workload.changes
        ],
        place=place,
        told=None if learner is None else (lambda now: learner.follow(scheduler, now)),
    )
    done = Simulation(workload, resolved, there, scheduler, outcome, time.perf_counter() - begun)
    if done.stuck:
        left = [k for k in range(len(workload)) if scheduler.state(k) == State.READY]
        name = workload.names[left[0]] if left else workload.names[0]
        raise ResourceError(
            f"task {name!r} and {done.stuck - 1} more never started: capacity stays below what they ask for. Give more."
        )
    return done


def _workload(source: object) -> Workload:
    if isinstance(source, Workload):
        return by_arrival(source)
    if isinstance(source, (str, PathLike)):
        return read_source(source)
    if isinstance(source, Sequence) and all(isinstance(one, Workload) for one in source):
        return unite(source)
    from penstock.pipeline import Pipeline
    from penstock.workloads.from_pipeline import of_pipeline

    if isinstance(source, Pipeline):
        return of_pipeline(source)
    raise OptionError(f"{source!r} cannot be simulated; give a file, a Pipeline, a Workload or a list of workloads.")


def _capacity(workload: Workload, given: Mapping[str, object] | None) -> dict[str, int]:
    """Return what there is; refuses what can never start."""
    amounts = dict(workload.capacity)
    parsed = Limits.parse(given, {})
    if parsed.notes:
        raise OptionError(
            f"capacity={dict(given or {})!r}: a share of an unknown amount; give absolute amounts, as in cpu=16."
        )
    amounts.update(parsed.amounts)
    if "cpu" not in amounts and not workload.capacity:
        from penstock.probes.machine import Machine

        cores = Machine.detect().capacity.get("cpu")
        if cores:
            amounts["cpu"] = cores
    latest = dict(amounts)
    for _, name, amount in workload.changes:
        latest[name] = max(latest.get(name, 0), amount)
    if not workload.capped:
        limits = Limits(amounts=latest)
        first: dict[int, int] = {}
        for task, kind in enumerate(workload.demand_of.tolist()):
            first.setdefault(kind, task)
        for kind, task in first.items():
            for name, asked in workload.demands[kind].items():
                allowed = limits.amounts.get(name)
                if allowed is not None and asked > allowed:
                    raise ResourceError(
                        f"task {workload.names[task]!r} asks for {name}={format_amount(name, asked)}, but there is"
                        f" {format_amount(name, allowed)}; it can never start. Raise the capacity."
                    )
                if allowed is None and name in ("gpu", "gpu_memory"):
                    raise ResourceError(
                        f"task {workload.names[task]!r} asks for {name}, and no GPU was given; write capacity={{'gpu': 1}}."
                    )
    return amounts


def _machine(
    workload: Workload, there: Mapping[str, int]
) -> tuple[_core.Scheduler, npt.NDArray[np.uint32], tuple[str, ...]]:
    """Return a scheduler with these capacities, the shapes of the workload's demands, and the custom resources' names."""
    custom = tuple(
        sorted(
            {name for demand in workload.demands for name in demand if name not in RESOURCES}
            | {name for name in there if name not in RESOURCES}
        )
    )
    gpus = -(-there.get("gpu", 0) // WHOLE_GPU)
    scheduler = _core.Scheduler(gpus)
    for number in range(_core.MAX_RESOURCES):
        if RESOURCES[number : number + 1] not in (("gpu",), ("gpu_memory",)):
            scheduler.set_capacity(number, None, now=0)
    for name, amount in there.items():
        if name not in ("gpu", "gpu_memory"):
            number = RESOURCES.index(name) if name in RESOURCES else len(RESOURCES) + custom.index(name)
            scheduler.set_capacity(number, amount, now=0)
    for device in range(gpus):
        scheduler.set_device_capacity(device, WHOLE_GPU, there.get("gpu_memory", 2**62), now=0)
    if workload.workers is not None:
        scheduler.set_capacity(_core.THREAD_SLOTS, workload.workers, now=0)
    shapes = np.empty(len(workload.demands), np.uint32)
    for kind, demand in enumerate(workload.demands):
        vector = list((_capped(demand, there) if workload.capped else demand).vector(custom))
        vector += [0] * (_core.MAX_RESOURCES - len(vector))
        vector[_core.THREAD_SLOTS] = 0 if workload.workers is None else 1
        shapes[kind] = scheduler.shape(vector, 0)
    return scheduler, shapes, custom


def _capped(demand: Demand, there: Mapping[str, int]) -> Demand:
    capped = {name: min(amount, there.get(name, amount)) for name, amount in demand.items()}
    own = {name: amount for name, amount in capped.items() if name in RESOURCES}
    return Demand(**own, custom=tuple((name, amount) for name, amount in capped.items() if name not in RESOURCES))


def _expectations(
    workload: Workload, noise: str | Noise | None, seed: int, durations: str
) -> tuple[Int64s, Learner | None]:
    """Return what the scheduler is told of run times at the start, and who teaches it more."""
    if durations == "unknown":
        return np.zeros(len(workload), np.int64), None
    if durations == "learned":
        learner = Learner(workload.groups, sizes=workload.sizes)
        return learner.begin(), learner
    exact = durations == "exact" or workload.expected_ns is None
    # A run time of 0 that is known is not unknown, which is what 0 would say.
    expected = np.maximum(workload.duration_ns, 1) if exact else workload.estimates_ns
    if noise is not None:
        factors = (Noise.parse(noise) if isinstance(noise, str) else noise).factors(len(workload), seed)
        expected = np.where(expected > 0, np.maximum(expected * factors, 1.0), 0.0).astype(np.int64)
    if durations == "corrected":
        learner = Learner(workload.groups, estimates_ns=expected)
        return learner.begin(), learner
    return np.ascontiguousarray(expected, np.int64), None


def _places(
    workload: Workload, there: Mapping[str, int], policy: Policy, expected: Int64s, budget_s: float
) -> npt.NDArray[np.uint32] | None:
    """Return the places in a plan of the tasks that arrive first, or None when the policy goes without a plan."""
    keeps = policy.form == "plan"
    count = int(np.searchsorted(workload.arrival_ns, workload.arrival_ns[0], side="right")) if len(workload) else 0
    known = expected[:count] > 0
    if not keeps and (
        policy.form != "sum" or policy.critical_path <= 0 or budget_s == 0 or count > MOST_TASKS or not np.any(known)
    ):
        return None
    if count == 0:
        return None
    typical = expected[:count][known].mean() if np.any(known) else 1e9
    durations = np.where(known, expected[:count], typical).astype(np.int64)
    names = [name for name, amount in there.items() if amount > 0 and any(name in d for d in workload.demands)]
    rows = np.array([[min(d.get(name, 0), there[name]) for name in names] for d in workload.demands], np.int64)
    demands = rows.reshape(len(workload.demands), len(names))[workload.demand_of[:count]]
    capacity = [there[name] for name in names]
    if workload.workers is not None:
        demands = np.column_stack([demands, np.ones(count, np.int64)])
        capacity.append(workload.workers)
    edges = int(workload.indptr[count])
    indptr, indices = workload.indptr[: count + 1], workload.indices[:edges]
    order: npt.NDArray[np.int64] | None = None
    if budget_s > 0 and count <= MOST_TASKS:
        made = schedule_arrays(
            durations,
            np.ascontiguousarray(demands, np.int64).ravel(),
            np.array(capacity, np.int64),
            np.ascontiguousarray(indptr),
            np.ascontiguousarray(indices),
            budget_s=budget_s,
            greedy=not keeps,
        )
        order = np.array(made.order, np.int64) if made.complete else None
    if order is None:
        if not keeps:
            return None
        first = workload.with_changes(
            names=workload.names[:count],
            indptr=indptr,
            indices=indices,
            **{
                column: getattr(workload, column)[:count]
                for column in ("duration_ns", "demand_of", "groups", "priority", "arrival_ns", "failures", "retries")
            },
            expected_ns=None,
            sizes=None,
        )
        order = np.argsort(-bottom_levels(first, np.maximum(durations, 1)), kind="stable")
    places = np.empty(count, np.uint32)
    places[order] = np.arange(count, dtype=np.uint32)
    return places


class _View:
    """A simulated run as readers of the log see it; see `observe.protocol.RunView`."""

    def __init__(self, simulation: Simulation) -> None:
        workload = simulation.workload
        self.name = workload.name
        self.started_at = 0.0
        self.log = simulation._scheduler.log
        self.names: Sequence[str] = workload.names
        self.specs = _Specs(workload)
        self.usage: Mapping[int, Any] = {}
        self.workers = (
            int(simulation.events["worker"][simulation.events["kind"] == EventKind.STARTED].max(initial=0)) + 1
        )
        self.capacity: Mapping[str, int | None] = dict(simulation.capacity)
        self.limits: Mapping[str, int] = simulation.capacity
        self._workload = workload

    def predecessors(self, task: int) -> Sequence[int]:
        return self._workload.predecessors(task)

    def error(self, task: int) -> BaseException | None:
        return None

    def why(self, task: int) -> str:
        return f"{self.names[task]!r} is part of a simulation that has ended."


class _Specs:
    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    def __len__(self) -> int:
        return len(self._workload)

    def __getitem__(self, task: int) -> TaskSpec:
        workload = self._workload
        return TaskSpec(
            None,
            workload.names[task],
            priority=float(workload.priority[task]),
            demand=workload.demands[workload.demand_of[task]],
        )

    def __iter__(self) -> Iterator[TaskSpec]:
        return (self[task] for task in range(len(self)))

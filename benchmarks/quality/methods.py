"""Every method that is compared: a name, and a function from an instance to a makespan."""

from __future__ import annotations

import importlib
import importlib.util
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.quality.psplib import Instance
from benchmarks.quality.rules import RULES, random_rule
from penstock.planning import Schedule, schedule_arrays, schedule_by_rank

__all__ = ["Method", "check", "cp_sat", "methods"]

Method = Callable[[Instance], int]


def by_rule(rule: Callable[[Instance], list[float]], *, serial: bool = False) -> Method:
    """Return the method of one pass by a rule."""

    def makespan(i: Instance) -> int:
        ranks = array("d", rule(i))
        made = schedule_by_rank(i.durations, i.demands, i.capacity, ranks, i.indptr, i.indices, serial=serial)
        check(i, made)
        return made.makespan_ns

    return makespan


def planned(budget_s: float | None, iterations: int = 0, seed: int = 0, *, greedy: bool = False) -> Method:
    """Return the planner, with a budget or a number of schedules; `greedy` for a plan that dispatch can follow."""

    def makespan(i: Instance) -> int:
        made = schedule_arrays(
            i.durations,
            i.demands,
            i.capacity,
            i.indptr,
            i.indices,
            budget_s=budget_s,
            iterations=iterations,
            seed=seed,
            greedy=greedy,
        )
        check(i, made)
        return made.makespan_ns

    return makespan


def best_of(several: Sequence[Method]) -> Method:
    """Return the method that tries several and keeps the shortest."""
    return lambda instance: min(method(instance) for method in several)


def check(instance: Instance, schedule: Schedule) -> None:
    """Verify a schedule from the instance alone.

    Raises:
        AssertionError: it breaks precedence or capacity, or lacks a task; says where.
    """
    starts, lengths = schedule.starts_ns, instance.durations
    width = len(instance.capacity)
    assert len(starts) == len(instance), f"{instance.name}: {len(starts)} starts for {len(instance)} tasks"
    for task in range(len(instance)):
        for before in instance.predecessors(task):
            assert starts[before] + lengths[before] <= starts[task], (
                f"{instance.name}: {task} starts before {before} ends"
            )
        now = starts[task]
        running = [k for k in range(len(instance)) if starts[k] <= now < starts[k] + lengths[k]]
        for resource, most in enumerate(instance.capacity):
            held = sum(instance.demands[k * width + resource] for k in running)
            assert held <= most, f"{instance.name}: {held} of {most} of resource {resource} held at {now}"


def cp_sat(seconds: float) -> Method | None:
    """Return OR-Tools' CP-SAT with one worker, or None where it is not installed (it is in the extra `bench`)."""
    if importlib.util.find_spec("ortools") is None:
        return None
    cp_model: Any = importlib.import_module("ortools.sat.python.cp_model")

    def makespan(i: Instance) -> int:
        model = cp_model.CpModel()
        horizon = sum(i.durations)
        starts = [model.new_int_var(0, horizon, "") for _ in range(len(i))]
        bars = [model.new_fixed_size_interval_var(starts[k], i.durations[k], "") for k in range(len(i))]
        end = model.new_int_var(0, horizon, "")
        for k in range(len(i)):
            model.add(starts[k] + i.durations[k] <= end)
            for before in i.predecessors(k):
                model.add(starts[before] + i.durations[before] <= starts[k])
        width = len(i.capacity)
        for resource, most in enumerate(i.capacity):
            model.add_cumulative(bars, [i.demands[k * width + resource] for k in range(len(i))], most)
        model.minimize(end)
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = seconds
        solver.parameters.num_workers = 1
        solver.solve(model)
        return int(solver.objective_value)

    return makespan


def methods(budgets: Sequence[float], seed: int = 0, solver_s: float = 0.0) -> dict[str, list[Method]]:
    """Return all methods by name; of several under one name the mean is shown."""
    rules = {name: by_rule(rule) for name, rule in RULES.items()}
    found: dict[str, list[Method]] = {
        "random (10 seeds)": [by_rule(random_rule(k)) for k in range(10)],
        **{name: [method] for name, method in rules.items()},
        "best of the rules": [best_of(list(rules.values()))],
        "planner, 3 passes": [planned(None, iterations=3)],
        **{f"planner, {budget:g} s": [planned(budget, seed=seed)] for budget in budgets},
        **{f"hybrid, {budget:g} s": [planned(budget, seed=seed, greedy=True)] for budget in budgets},
    }
    solver = cp_sat(solver_s) if solver_s else None
    if solver is not None:
        found[f"OR-Tools CP-SAT, {solver_s:g} s"] = [solver]
    return found

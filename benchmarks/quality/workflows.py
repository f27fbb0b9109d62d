"""`python -m benchmarks.quality.workflows`: how far above the bound schedules of scientific workflows end, method by method.

The bound is the largest of the critical path, the work over the cores, and the memory's area over the memory. `--bounds`
shows a better one, which no schedule can beat either, and so how much of the distance is the bound's own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.__main__ import DATA
from benchmarks.quality.methods import cp_sat
from benchmarks.quality.psplib import Instance
from benchmarks.quality.rules import RULES, random_rule
from penstock.policies import Policy
from penstock.simulation import simulate
from penstock.workloads import Workload, read, unite
from penstock.workloads.workload import bottom_levels

MACHINES = {"16 cores": {"cpu": 16, "memory": "64GiB"}, "64 cores": {"cpu": 64, "memory": "256GiB"}}
BY_RANK = Policy(name="by rank", priority=1, priority_raw=True, reserve_after_s=None)
"""Greedy list scheduling: the ready task with the smallest rank that fits."""

MS = 1_000_000
"""Nanoseconds. CP-SAT gets whole milliseconds, rounded up: what it finds is a schedule of the real times too."""

Row = Callable[[Workload, dict[str, object]], Iterable[float]]
"""Makespans in seconds of one workload on one machine; several where a method draws."""


def instance_of(workload: Workload, capacity: dict[str, object], unit: int = 1) -> Instance:
    """Return a workload as the rules and the solver take it; amounts in milli-cores and MiB, both capped."""
    cores, memory = int(str(capacity["cpu"])) * 1000, int(str(capacity["memory"]).removesuffix("GiB")) << 10
    asks = [(min(d.cpu, cores), min(-(-d.memory >> 20), memory)) for d in workload.demands]
    return Instance(
        workload.name,
        array("q", [-(-int(ns) // unit) for ns in workload.duration_ns]),
        array("q", [amount for kind in workload.demand_of.tolist() for amount in asks[kind]]),
        array("q", [cores, memory]),
        array("q", workload.indptr.tolist()),
        array("q", workload.indices.tolist()),
    )


def by_policy(policy: str | Policy, seeds: int = 1, **options: Any) -> Row:
    """Penstock itself."""

    def play(workload: Workload, capacity: dict[str, object]) -> Iterable[float]:
        for seed in range(seeds):
            made = simulate(workload, policy=policy, capacity=capacity, seed=seed, **options)
            assert not made.violations(), made.violations()
            yield made.makespan_s

    return play


def by_ranks(rules: Sequence[Callable[[Instance], Sequence[float]]]) -> Row:
    """One pass of greedy list scheduling by each rule."""

    def play(workload: Workload, capacity: dict[str, object]) -> Iterable[float]:
        instance = instance_of(workload, capacity)
        for rule in rules:
            made = simulate(workload, policy=BY_RANK, capacity=capacity, priority=rule(instance))
            assert not made.violations(), made.violations()
            yield made.makespan_s

    return play


def dask_order(instance: Instance) -> list[float]:
    """The static order in which dask breaks ties."""
    from dask.order import order

    graph: Any = {k: (sum, list(instance.predecessors(k))) for k in range(len(instance))}
    return [float(place) for _, place in sorted(order(graph).items())]


def solver(seconds: float) -> Row | None:
    """OR-Tools CP-SAT, or None where it is not installed."""
    method = cp_sat(seconds)
    if method is None:
        return None
    return lambda workload, capacity: [method(instance_of(workload, capacity, MS)) * MS / 1e9]


def rows(seeds: int, solver_s: float) -> dict[str, Row]:
    """Return every method by name."""
    found: dict[str, Row] = {
        "FIFO": by_policy("fifo"),
        "random (10 seeds)": by_ranks([random_rule(k) for k in range(10)]),
        **{name: by_ranks([rule]) for name, rule in RULES.items() if name != "FIFO"},
        "dask's order": by_ranks([dask_order]),
        "bottom_level": by_policy("bottom_level", plan_budget=0),
        "hybrid, no plan": by_policy("hybrid", plan_budget=0),
        "hybrid": by_policy("hybrid"),
        "hybrid, plan of 1 s": by_policy("hybrid", plan_budget=1.0),
        "static": by_policy("static"),
        "hybrid, learned": by_policy("hybrid", durations="learned"),
        "hybrid, noise 0.5, no plan": by_policy("hybrid", seeds, noise="lognormal:0.5", plan_budget=0),
        "hybrid, noise 0.5": by_policy("hybrid", seeds, noise="lognormal:0.5"),
        "hybrid, noise 0.5, corrected": by_policy("hybrid", seeds, noise="lognormal:0.5", durations="corrected"),
    }
    found_solver = solver(solver_s) if solver_s else None
    if found_solver is not None:
        found[f"OR-Tools CP-SAT, {solver_s:g} s"] = found_solver
    return found


def better_bound_s(workload: Workload, capacity: dict[str, object]) -> float:
    """Return what no schedule can beat, from heads and tails, in seconds.

    Of the tasks that cannot start before h and are followed by at least t: h + t + their work over the cores; and, as
    j x cores + 1 of them put j + 1 on one core, h + t + the j + 1 smallest of the j x cores + 1 largest.
    """
    cores = int(str(capacity["cpu"]))
    length = workload.duration_ns / 1e9
    width = np.array([min(d.cpu / 1000, cores) for d in workload.demands])[workload.demand_of]
    tail = bottom_levels(workload, workload.duration_ns) / 1e9 - length
    head = np.zeros(len(workload))
    for task in np.argsort(-bottom_levels(workload, workload.duration_ns + 1), kind="stable").tolist():
        head[task] = max((head[before] + length[before] for before in workload.predecessors(task)), default=0.0)
    best = float((head + length + tail).max())
    for h in _some(head):
        for t in _some(tail[head >= h]):
            among = (head >= h) & (tail >= t)
            best = max(best, h + t + float((length * width)[among].sum()) / cores)
            longest = np.sort(length[among])[::-1]
            for j in range(1, (len(longest) - 1) // cores + 1):
                best = max(best, h + t + float(longest[j * cores - j : j * cores + 1].sum()))
    return best


def _some(values: npt.NDArray[np.float64], most: int = 150) -> list[float]:
    different = np.unique(values)
    if len(different) > most:
        different = different[np.unique(np.linspace(0, len(different) - 1, most).astype(int))]
    found: list[float] = different.tolist()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, or JSON lines. Exit status: 0; 2 when the set is not there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.workflows", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA, help="the folder that holds wfinstances/ (default: %(default)s)"
    )
    parser.add_argument("--union", action="store_true", help="all workflows as one pool of work")
    parser.add_argument("--seeds", type=int, default=5, help="draws of noise")
    parser.add_argument("--cp-sat", type=float, default=0.0, metavar="SECONDS", help="run OR-Tools CP-SAT too")
    parser.add_argument("--only", nargs="*", help="names of methods that contain one of these words")
    parser.add_argument("--bounds", action="store_true", help="show how far the better bound is above the bound")
    parser.add_argument("--json", action="store_true", help="one line a method and machine")
    given = parser.parse_args(arguments)
    files = sorted((given.data / "wfinstances").glob("*.json.gz"))
    if not files:
        print(f"{given.data / 'wfinstances'} is not there; give --data or set PENSTOCK_DATA.", file=sys.stderr)
        return 2
    workloads = [read(file) for file in files]
    if given.union:
        workloads = [unite(workloads)]
    bound = {
        (w.name, m): simulate(w, policy="fifo", capacity=machine).lower_bound_s
        for w in workloads
        for m, machine in MACHINES.items()
    }
    chosen = {"better bound": lambda w, c: [better_bound_s(w, c)]} if given.bounds else rows(given.seeds, given.cp_sat)
    known: dict[tuple[str, str], float] = {}
    for name, row in chosen.items():
        if given.only and not any(word in name for word in given.only):
            continue
        for m, machine in MACHINES.items():
            began = time.perf_counter()
            spans = [np.array(list(row(w, dict(machine)))) for w in workloads]
            over = [float(100 * (span.mean() / bound[w.name, m] - 1)) for w, span in zip(workloads, spans, strict=True)]
            for w, span in zip(workloads, spans, strict=True):
                known.setdefault((w.name, m), float("nan"))
                if name == "hybrid":
                    known[w.name, m] = float(span.mean())
            ratio = float(np.mean([span.mean() / known[w.name, m] for w, span in zip(workloads, spans, strict=True)]))
            seconds = time.perf_counter() - began
            if given.json:
                told = {"method": name, "machine": m, "over": float(np.mean(over)), "worst": max(over), "each": over}
                print(json.dumps({**told, "ratio": ratio, "seconds": seconds}), flush=True)
            else:
                print(
                    f"{name:28} {m}  mean {np.mean(over):6.2f} %  worst {max(over):6.1f} %  of hybrid {ratio:.3f}"
                    f"  {seconds:6.2f} s",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())

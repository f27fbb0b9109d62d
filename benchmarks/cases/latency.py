"""From the call of submit until the result is in hand, one no-op task at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import Any

from benchmarks.measures import PENSTOCK, Case, Figures, Measure, require
from benchmarks.rivals import distributed_client, ray_cluster
from benchmarks.work import WORKERS, count, one
from penstock.bench.baseline import Baseline
from penstock.runtime import Runtime

__all__ = ["CASE", "POOL"]

POOL = "ThreadPoolExecutor(2)"
SMALL_ROUND = 100
KEPT_QUANTILES = (0.5, 0.9, 0.99)


def in_small_rounds(scale: float) -> dict[str, Figures]:
    """The three that live in this process together, a hundred tasks each at a time."""
    rounds = count(40, scale, least=2)
    samples: dict[str, list[int]] = {PENSTOCK: [], POOL: [], "pure-Python baseline": []}
    with Runtime(workers=WORKERS) as runtime, ThreadPoolExecutor(WORKERS) as pool, Baseline(WORKERS) as baseline:
        submits: list[Callable[..., Any]] = [runtime.submit, pool.submit, baseline.submit]
        for submit in submits:
            _sample(submit, SMALL_ROUND)
        for _ in range(rounds):
            for taken, submit in zip(samples.values(), submits, strict=True):
                taken += _sample(submit, SMALL_ROUND)
    return {name: _quantiles(taken) for name, taken in samples.items()}


def distributed_side(scale: float) -> dict[str, Figures]:
    client = distributed_client()
    submit = lambda function: client.submit(function, pure=False)  # noqa: E731
    _sample(submit, 10)
    return {"distributed, in-process": _quantiles(_sample(submit, count(200, scale, least=20)))}


def ray_side(scale: float) -> dict[str, Figures]:
    ray = ray_cluster()
    task = ray.remote(one)

    def wait() -> int:
        begun = perf_counter_ns()
        require("result", ray.get(task.remote()), 1)
        return perf_counter_ns() - begun

    for _ in range(20):
        wait()
    return {"Ray, local": _quantiles([wait() for _ in range(count(500, scale, least=20))])}


def _sample(submit: Callable[..., Any], n: int) -> list[int]:
    taken = []
    for _ in range(n):
        begun = perf_counter_ns()
        result = submit(one).result()
        taken.append(perf_counter_ns() - begun)
        require("result", result, 1)
    return taken


def _quantiles(nanoseconds: list[int]) -> Figures:
    ordered = sorted(nanoseconds)
    of_name = {f"p{round(q * 100)}_us": ordered[int(q * (len(ordered) - 1))] / 1000 for q in KEPT_QUANTILES}
    return {"samples": len(ordered), **of_name}


CASE = Case(
    "latency",
    "From submit to the result in hand, one no-op task at a time, two workers",
    "task",
    (
        Measure((PENSTOCK, POOL, "pure-Python baseline"), in_small_rounds),
        Measure(("distributed, in-process",), distributed_side),
        Measure(("Ray, local",), ray_side),
    ),
    note="The first three take turns within one process, a hundred tasks at a time. Medians over the rounds of each"
    " round's quantile.",
)

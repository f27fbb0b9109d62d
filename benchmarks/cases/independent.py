"""No-op tasks that wait for nothing: what a scheduler costs a task."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from typing import Any

from benchmarks.measures import PENSTOCK, Case, Measure, Work, need, require, side
from benchmarks.rivals import distributed_client, ray_cluster
from benchmarks.work import WORKERS, count, one
from penstock.bench import CASES
from penstock.runtime import Runtime

__all__ = ["CASE", "PRIORITIES", "core_side"]

FULL = 500_000


def core_side(case: str, name: str, known_as: str, limit_s: float = 150.0) -> Measure:
    """A side that `penstock bench` has too."""

    def make(scale: float) -> Work:
        made = CASES[case](scale)
        chosen = made.sides[name]
        return Work(made.amount, chosen.run, chosen.prepare, chosen.finish)

    return side(known_as, make, limit_s=limit_s)


def submit_each(scale: float) -> Work:
    n = count(100_000, scale)

    def run(runtime: Runtime) -> None:
        submit = runtime.submit
        futures = [submit(one) for _ in repeat(None, n)]
        require("results", sum(future.result() for future in futures), n)

    return Work(n, run, lambda: Runtime(workers=WORKERS), Runtime.close)


def plain_loop(scale: float) -> Work:
    n = count(FULL, scale)

    def run(_: object) -> None:
        for _ in repeat(None, n):
            one()

    return Work(n, run)


def thread_pool(scale: float) -> Work:
    n = count(100_000, scale)

    def run(pool: ThreadPoolExecutor) -> None:
        submit = pool.submit
        futures = [submit(one) for _ in repeat(None, n)]
        require("results", sum(future.result() for future in futures), n)

    return Work(n, run, lambda: ThreadPoolExecutor(WORKERS), ThreadPoolExecutor.shutdown)


def joblib_threads(scale: float, **options: Any) -> Work:
    joblib = need("joblib")
    n = count(50_000, scale)

    def run(parallel: Any) -> None:
        require("results", sum(parallel(joblib.delayed(one)() for _ in repeat(None, n))), n)

    return Work(n, run, lambda: joblib.Parallel(n_jobs=WORKERS, backend="threading", **options))


def dask_threaded(scale: float, **options: Any) -> Work:
    threaded, spec = need("dask.threaded"), need("dask._task_spec")
    n = count(20_000, scale)
    tasks = {k: spec.Task(k, one) for k in range(n)}
    keys = list(tasks)
    return Work(n, lambda _: require("results", sum(threaded.get(tasks, keys, **options)), n))


def dask_delayed(scale: float) -> Work:
    dask = need("dask")
    n = count(1_000, scale)

    def run(_: object) -> None:
        made = [dask.delayed(one, pure=False)() for _ in repeat(None, n)]
        require("results", sum(dask.compute(*made, scheduler="threads")), n)

    return Work(n, run)


def distributed_threads(scale: float) -> Work:
    n = count(5_000, scale)
    opened = distributed_client()

    def run(client: Any) -> None:
        futures = client.map(lambda _: 1, range(n), pure=False)
        require("results", sum(client.gather(futures)), n)

    return Work(n, run, lambda: opened)


def ray_local(scale: float) -> Work:
    n = count(2_000, scale)
    ray = ray_cluster()
    task = ray.remote(one)
    ray.get([task.remote() for _ in range(100)])  # starts its worker processes
    return Work(n, lambda _: require("results", sum(ray.get([task.remote() for _ in repeat(None, n)])), n))


CASE = Case(
    "independent",
    "Independent no-op tasks through the whole scheduler, two workers, results kept",
    "task",
    (
        core_side("independent", "native", PENSTOCK),
        side("penstock, one submit each", submit_each),
        side("plain for loop, nothing kept", plain_loop),
        core_side("independent", "baseline", "pure-Python baseline, one batch"),
        core_side("independent", "live", "pure-Python baseline, live"),
        side("ThreadPoolExecutor(2)", thread_pool),
        side("joblib, threading", joblib_threads),
        side("joblib, batches of 1,000", partial(joblib_threads, batch_size=1000)),
        side("dask.threaded, defaults", dask_threaded),
        side("dask.threaded, tuned", partial(dask_threaded, num_workers=WORKERS, chunksize=1000)),
        side("dask.delayed, defaults", dask_delayed),
        side("distributed, in-process", distributed_threads),
        side("Ray, local", ray_local),
    ),
    note="Both dask.threaded sides get a graph that is made beforehand; tuned has num_workers=2 and chunksize=1000, the"
    " best we found. dask.delayed is what most programs write: there making the graph, optimising it and the pool of one"
    " thread a core are within the time.",
)

PRIORITIES = Case(
    "priorities",
    "The same with priorities drawn from ten",
    "task",
    (
        core_side("priorities", "native", PENSTOCK),
        core_side("priorities", "baseline", "pure-Python baseline, one batch"),
        core_side("priorities", "live", "pure-Python baseline, live"),
    ),
)

"""A layered random graph, each task called with the results of what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from graphlib import TopologicalSorter
from queue import Empty, SimpleQueue
from typing import Any

from benchmarks.cases.independent import core_side
from benchmarks.measures import PENSTOCK, Case, Work, need, require, side
from benchmarks.rivals import distributed_client, ray_cluster
from benchmarks.work import LAYERS, WORKERS, graph, layer

__all__ = ["CASE"]

FULL = 400_000
LAST = LAYERS - 1


def graphlib_pool(scale: float) -> Work:
    """What the documentation of graphlib shows: ready tasks go to a pool, finished ones come back by a queue."""
    made = graph(40_000, scale)
    rows = made.rows

    def run(pool: ThreadPoolExecutor) -> None:
        results: list[Any] = [None] * made.tasks
        finished: SimpleQueue[int] = SimpleQueue()

        def call(k: int) -> None:
            results[k] = layer(*[results[p] for p in rows[k]])
            finished.put(k)

        sorter = TopologicalSorter(rows)
        sorter.prepare()
        while sorter.is_active():
            for k in sorter.get_ready():
                pool.submit(call, k)
            ended = [finished.get()]
            try:
                while True:
                    ended.append(finished.get_nowait())
            except Empty:
                sorter.done(*ended)
        require("last result", results[-1], LAST)

    return Work(made.tasks, run, lambda: ThreadPoolExecutor(WORKERS), ThreadPoolExecutor.shutdown)


def graphlib_calls(scale: float) -> Work:
    made = graph(FULL, scale)
    rows = made.rows

    def waves() -> Iterable[Iterable[int]]:
        sorter = TopologicalSorter(rows)
        sorter.prepare()
        while sorter.is_active():
            wave = sorter.get_ready()
            yield wave
            sorter.done(*wave)

    return Work(made.tasks, lambda _: _call_in_waves(waves(), rows))


def rustworkx_calls(scale: float) -> Work:
    rustworkx = need("rustworkx")
    made = graph(FULL, scale)
    rows, edges = made.rows, _edges(made.rows)

    def waves() -> Iterable[Iterable[int]]:
        nodes = rustworkx.PyDiGraph(multigraph=True)
        nodes.add_nodes_from(range(made.tasks))
        nodes.add_edges_from_no_data(edges)
        sorter = rustworkx.TopologicalSorter(nodes, check_args=False)
        while sorter.is_active():
            wave = sorter.get_ready()
            yield wave
            sorter.done(wave)

    return Work(made.tasks, lambda _: _call_in_waves(waves(), rows))


def networkx_calls(scale: float) -> Work:
    networkx = need("networkx")
    made = graph(40_000, scale)
    rows, edges = made.rows, _edges(made.rows)

    def waves() -> Iterable[Iterable[int]]:
        nodes = networkx.DiGraph()
        nodes.add_nodes_from(range(made.tasks))
        nodes.add_edges_from(edges)
        yield networkx.topological_sort(nodes)

    return Work(made.tasks, lambda _: _call_in_waves(waves(), rows))


def dask_graph(scale: float, **options: Any) -> Work:
    threaded = need("dask.threaded")
    made = graph(20_000, scale)
    tasks = _dask_tasks(made.rows)
    return Work(made.tasks, lambda _: require("last result", threaded.get(tasks, made.tasks - 1, **options), LAST))


def dask_delayed(scale: float) -> Work:
    dask = need("dask")
    made = graph(2_000, scale)

    def run(_: object) -> None:
        calls: list[Any] = []
        for row in made.rows.values():
            calls.append(dask.delayed(layer, pure=False)(*[calls[p] for p in row]))
        require("last result", dask.compute(*calls[-made.width :], scheduler="threads")[-1], LAST)

    return Work(made.tasks, run, finish=lambda _: None)


def distributed_graph(scale: float) -> Work:
    made = graph(2_000, scale)
    client = distributed_client()
    tasks = _dask_tasks(made.rows)
    return Work(made.tasks, lambda _: require("last result", client.get(tasks, made.tasks - 1), LAST))


def ray_graph(scale: float) -> Work:
    made = graph(1_200, scale)
    ray = ray_cluster()
    task = ray.remote(layer)
    ray.get([task.remote() for _ in range(100)])

    def run(_: object) -> None:
        calls: list[Any] = []
        for row in made.rows.values():
            calls.append(task.remote(*[calls[p] for p in row]))
        require("last result", ray.get(calls)[-1], LAST)

    return Work(made.tasks, run)


def _dask_tasks(rows: dict[int, list[int]]) -> dict[int, Any]:
    spec = need("dask._task_spec")
    return {k: spec.Task(k, layer, *map(spec.TaskRef, row)) for k, row in rows.items()}


def _edges(rows: dict[int, list[int]]) -> list[tuple[int, int]]:
    return [(p, k) for k, row in rows.items() for p in row]


def _call_in_waves(waves: Iterable[Iterable[int]], rows: dict[int, list[int]]) -> None:
    """Call the tasks on this thread as they become ready."""
    results: list[Any] = [None] * len(rows)
    call: Callable[..., int] = layer
    for wave in waves:
        for k in wave:
            results[k] = call(*[results[p] for p in rows[k]])
    require("last result", results[-1], LAST)


CASE = Case(
    "dag",
    "A layered random graph, four predecessors a task, results passed along the edges, two workers",
    "task",
    (
        core_side("dag", "native", PENSTOCK),
        core_side("dag", "baseline", "pure-Python baseline, one batch"),
        core_side("dag", "live", "pure-Python baseline, live"),
        side("rustworkx' sorter and calls, one thread", rustworkx_calls),
        side("graphlib and calls, one thread", graphlib_calls),
        side("networkx' sort and calls, one thread", networkx_calls),
        side("graphlib and ThreadPoolExecutor(2)", graphlib_pool),
        side("dask.threaded, defaults", dask_graph),
        side("dask.threaded, tuned", partial(dask_graph, num_workers=WORKERS, chunksize=100)),
        side("dask.delayed, defaults", dask_delayed),
        side("distributed, in-process", distributed_graph),
        side("Ray, local", ray_graph),
    ),
    note="The sorters alone, with a loop that calls the tasks, have no workers, priorities, resources or events. dask is"
    " given a graph of its own task objects, made beforehand and not optimised; tuned has num_workers=2 and"
    " chunksize=100, the best we found.",
)

"""The pure-Python baseline does the work that it is timed for; a baseline that cheats would prove nothing."""

from __future__ import annotations

import random
import threading
from graphlib import TopologicalSorter

import pytest

from penstock.bench.baseline import Baseline, BaselineReadiness
from penstock.bench.graphs import LayeredGraph


def test_every_task_runs_once_and_its_result_is_kept() -> None:
    ran = [0] * 1000

    def run(k: int) -> int:
        ran[k] += 1
        return k * k

    with Baseline(2) as baseline:
        ids = baseline.submit_many([run] * 1000, arguments=[(k,) for k in range(1000)])
    assert ids == range(1000)
    assert ran == [1] * 1000
    assert baseline.results == [k * k for k in range(1000)]


def test_results_are_passed_along_the_edges_of_a_random_graph() -> None:
    graph = LayeredGraph(layers=7, width=40)
    indptr, indices = graph.lists

    def total(*values: int) -> int:
        return 1 + sum(values)

    with Baseline(2) as baseline:
        baseline.submit_many([total] * graph.tasks, indptr=indptr, indices=indices)
    expected: list[int] = []
    for k in range(graph.tasks):
        expected.append(1 + sum(expected[p] for p in indices[indptr[k] : indptr[k + 1]]))
    assert baseline.results == expected


def test_the_most_urgent_ready_task_starts_first_and_equals_start_in_order_of_submission() -> None:
    order: list[int] = []
    gate = threading.Event()
    drawn = random.Random(1)
    priorities = [float(drawn.randrange(5)) for _ in range(300)]
    with Baseline(1) as baseline:
        blocker = baseline.submit(gate.wait)
        first = baseline.submit_many(
            [order.append] * 150, arguments=[(k,) for k in range(150)], priority=priorities[:150]
        )
        for k in range(150, 300):
            baseline.submit(order.append, k, priority=priorities[k])
        gate.set()
        blocker.result()
    assert first == range(1, 151)
    assert order == sorted(range(300), key=lambda k: (priorities[k], k))


def test_demands_never_exceed_the_capacity_and_a_small_task_passes_one_that_does_not_fit() -> None:
    lock = threading.Lock()
    held = most = 0
    together = threading.Barrier(2)

    def hold(amount: int, barrier: threading.Barrier | None = None) -> None:
        nonlocal held, most
        with lock:
            held += amount
            most = max(most, held)
        if barrier is not None:
            barrier.wait(timeout=30)
        with lock:
            held -= amount

    with Baseline(3, capacity=3) as baseline:
        two = baseline.submit(hold, 2, together, demand=2)
        three = [baseline.submit(hold, 3, demand=3) for _ in range(20)]
        one = baseline.submit(hold, 1, together, demand=1)  # starts beside `two`, before the ones that need it all
        for future in [two, one, *three]:
            future.result(timeout=30)
    assert most == 3
    assert held == 0


def test_a_demand_above_the_capacity_is_refused() -> None:
    with Baseline(1, capacity=3) as baseline, pytest.raises(ValueError, match="demands 4 of 3"):
        baseline.submit(print, demand=4)


def test_a_failure_reaches_what_depends_on_it_and_nothing_else() -> None:
    def fail() -> None:
        raise KeyError("broken")

    ran: list[str] = []
    with Baseline(2) as baseline:
        failing = baseline.submit(fail)
        after = baseline.submit(ran.append, "after", after=[0])
        last = baseline.submit(ran.append, "last", after=[1])
        other = baseline.submit(ran.append, "other")
        other.result(timeout=30)
        with pytest.raises(KeyError, match="broken"):
            failing.result(timeout=30)
        with pytest.raises(KeyError, match="broken"):
            after.result(timeout=30)
        with pytest.raises(KeyError, match="broken"):
            last.result(timeout=30)
    assert ran == ["other"]


def test_a_task_added_later_waits_for_one_that_runs() -> None:
    gate = threading.Event()
    with Baseline(2) as baseline:
        slow = baseline.submit(gate.wait)
        later = baseline.submit(slow.done, after=[0])
        assert not later.done()
        gate.set()
        slow.result(timeout=30)
        later.result(timeout=30)
        assert baseline.submit(len, "ended", after=[0, 1]).result(timeout=30) == 5


def test_tasks_may_be_added_from_many_threads_while_others_run() -> None:
    with Baseline(2) as baseline:

        def add() -> None:
            for _ in range(200):
                baseline.submit(len, "four")

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert baseline.results == [4] * 800


def test_idle_workers_use_no_processor_time() -> None:
    import time

    with Baseline(2) as baseline:
        baseline.submit(len, "").result(timeout=30)
        before = time.process_time()
        threading.Event().wait(0.5)
        assert time.process_time() - before < 0.1


def test_counting_alone_frees_every_task_after_all_of_its_predecessors() -> None:
    graph = LayeredGraph(layers=9, width=20)
    assert BaselineReadiness(graph.rows).drain() == graph.tasks
    sorter = TopologicalSorter(graph.rows)
    assert len(list(sorter.static_order())) == graph.tasks
    assert BaselineReadiness({0: [1], 1: [0], 2: []}).drain() == 1

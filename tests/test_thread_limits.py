"""Thread counts of numeric libraries, for tasks on threads that say how many cores they use."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from penstock import Pipeline, task
from penstock.thread_limits import runs

threadpoolctl = pytest.importorskip("threadpoolctl")
pytestmark = pytest.mark.timeout(60)

np.dot(np.ones((2, 2)), np.ones((2, 2)))  # its BLAS is loaded


def counts() -> set[int]:
    found = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    if not found:
        pytest.skip("numpy's BLAS here is none whose threads can be set")
    return found


def test_a_task_that_says_its_cores_finds_as_many_threads_and_leaves_the_count_as_it_was() -> None:
    before = counts()
    run = runs(task(cpu=1)(counts).spec, counts)
    assert run() == {1}
    assert counts() == before


def test_a_task_that_says_nothing_is_called_as_it_is() -> None:
    assert runs(task(counts).spec, counts) is counts
    assert runs(task(cpu=0.5)(counts).spec, counts) is counts
    assert runs(task(cpu=1, executor="processes")(counts).spec, counts) is counts


def test_side_by_side_the_smallest_count_holds_for_all_until_that_task_ends() -> None:
    inside, go = threading.Event(), threading.Event()

    def narrow() -> None:
        inside.set()
        go.wait(20)

    def wide() -> tuple[set[int], set[int]]:
        inside.wait(20)
        during = counts()
        go.set()
        other.join(20)
        return during, counts()

    other = threading.Thread(target=runs(task(cpu=1)(narrow).spec, narrow))
    other.start()
    assert runs(task(cpu=2)(wide).spec, wide)() == ({1}, {2})


def test_in_a_run_each_task_finds_its_own_count_and_an_error_leaves_none_behind() -> None:
    before = counts()

    @task(cpu=1)
    def one() -> set[int]:
        return counts()

    @task(cpu=1)
    def broken(_: Any) -> None:
        raise ValueError("on purpose")

    with Pipeline("p") as p:
        first = one()
        broken(first)
    result = p.run(progress=False)
    assert result[first] == {1}
    assert list(result.errors) == ["broken"]
    assert counts() == before

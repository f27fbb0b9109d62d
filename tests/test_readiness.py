"""Readiness from Python: a graph that several threads grow at once."""

from __future__ import annotations

import threading
from itertools import chain

import numpy as np
import pytest

from penstock._core import Readiness


@pytest.mark.timeout(60)
def test_threads_that_grow_a_graph_at_once_add_whole_batches() -> None:
    graph, batches, size = Readiness(), 30, 3_000
    # A chain of its own in each batch: one task is ready, the others wait for the one before them. `~k`: of the batch.
    starts = np.concatenate([[0], np.arange(size)])
    before = ~np.arange(size - 1)
    ready: list[list[int]] = [[] for _ in range(4)]
    firsts: list[list[int]] = [[] for _ in range(4)]

    def work(number: int) -> None:
        for _ in range(batches):
            first, free = graph.grow(size, starts, before)
            firsts[number].append(first)
            ready[number] += free

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(chain.from_iterable(firsts)) == [k * size for k in range(4 * batches)]
    assert ready == firsts  # the head of each chain
    assert graph.edges() == 4 * batches * (size - 1)
    assert graph.drain(list(chain.from_iterable(ready))) == len(graph) == 4 * batches * size

"""The benchmark graphs are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.bench.graphs import LayeredGraph


def test_each_task_waits_for_different_tasks_of_the_layer_before() -> None:
    graph = LayeredGraph(layers=5, width=12, degree=3)
    assert graph.tasks == 60
    assert graph.edges == 4 * 12 * 3 == len(graph.indices)
    for k, row in graph.rows.items():
        layer = k // 12
        assert len(set(row)) == (3 if layer else 0)
        assert all(p // 12 == layer - 1 for p in row)


def test_the_same_graph_comes_out_every_time_and_another_seed_gives_another() -> None:
    one, two = LayeredGraph(4, 8), LayeredGraph(4, 8)
    assert np.array_equal(one.indices, two.indices)
    assert not np.array_equal(one.indices, LayeredGraph(4, 8, seed=2).indices)


def test_a_width_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match="width=10 is no multiple of degree=4"):
        LayeredGraph(layers=2, width=10)

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Pipeline, task
from penstock.plan import critical_path, levels, make_plan, topological_order
from penstock.resources import Limits

MACHINE = {"cpu": 4000, "memory": 8 << 30, "gpu": 0}

# A diamond with a tail: 0 -> {1, 2} -> 3 -> 4, and 5 alone.
INDPTR = [0, 0, 1, 2, 4, 5, 5]
INDICES = [0, 0, 1, 2, 3]


def row(node):
    return INDICES[INDPTR[node] : INDPTR[node + 1]]


def test_levels_hold_what_could_run_at_once():
    assert levels(INDPTR, INDICES) == [[0, 5], [1, 2], [3], [4]]
    assert levels([0], []) == []


def test_a_cycle_has_no_order():
    with pytest.raises(ValueError, match="2 of 3 nodes are on a cycle or behind one"):
        topological_order([0, 0, 1, 2], [2, 1])


def test_the_critical_path_is_the_heaviest_and_not_the_longest():
    order = topological_order(INDPTR, INDICES)
    assert critical_path(order, row, [1, 1, 5, 1, 1, 3].__getitem__) == ([0, 2, 3, 4], 8)
    assert critical_path(order, row, [1, 1, 5, 1, 1, 30].__getitem__) == ([5], 30)


def test_the_critical_path_goes_through_tasks_of_no_duration():
    assert critical_path([0, 1], lambda node: [0] if node else [], [0.0, 2.0].__getitem__) == ([0, 1], 2.0)


def test_no_tasks_have_no_critical_path():
    assert critical_path([], row, float) == ([], 0.0)


@st.composite
def graphs(draw):
    """Rows of predecessors, each before its node in a drawn order, and weights."""
    n = draw(st.integers(1, 9))
    names = draw(st.permutations(range(n)))
    rows = [[] for _ in range(n)]
    for place in range(1, n):
        rows[names[place]] = draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=place))
    return rows, draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))


def chains(rows, node):
    """Every chain that ends at the node."""
    yield [node]
    for before in rows[node]:
        for chain in chains(rows, before):
            yield [*chain, node]


@given(graphs())
def test_no_chain_is_heavier_than_the_critical_path(graph):
    rows, weights = graph
    indptr = [0]
    for r in rows:
        indptr.append(indptr[-1] + len(r))
    indices = [before for r in rows for before in r]
    order = topological_order(indptr, indices)
    assert sorted(order) == list(range(len(rows)))
    assert all(order.index(before) < order.index(node) for node, r in enumerate(rows) for before in r)
    path, length = critical_path(order, rows.__getitem__, weights.__getitem__)
    assert length == max(sum(weights[k] for k in chain) for node in range(len(rows)) for chain in chains(rows, node))
    assert length == sum(weights[k] for k in path)
    assert all(before in rows[after] for before, after in pairwise(path))
    depth = {node: level for level, nodes in enumerate(levels(indptr, indices)) for node in nodes}
    assert all(depth[node] == max((depth[b] + 1 for b in r), default=0) for node, r in enumerate(rows))


@task(cpu=2, memory="1GiB", duration=10)
def load():
    return 0


@task(cpu=1, memory="3GiB")
def train(data):
    return data


@task(memory="96GiB", duration=20)
def huge(data):
    return data


def planned(limits=None):
    with Pipeline("demo") as pipeline:
        data = load()
        train(data)
        train(data)
        huge(data)
    return make_plan(pipeline.freeze(), Limits.parse(limits, MACHINE))


def test_a_task_without_duration_counts_as_the_mean_of_the_others():
    plan = planned()
    assert [plan.names[k] for k in plan.critical_path] == ["load", "huge"]
    assert plan.critical_path_s == 30
    assert plan.durations == (10, None, None, 20)


def test_what_can_never_start_is_named_with_the_reason():
    ((position, reason),) = planned({"memory": 0.5}).never
    assert planned().names[position] == "huge"
    assert reason.startswith("asks for memory=96GiB, but this machine has 8GiB and limits={'memory': 0.5} leaves 4GiB")


def test_demand_is_summed_over_all_tasks_and_over_the_widest_level():
    plan = planned()
    assert plan.totals == {"cpu": 5000, "memory": 103 << 30}
    assert plan.widest == {"cpu": 3000, "memory": 102 << 30}
    assert plan.edges == [(0, 1), (0, 2), (0, 3)]


def test_without_any_duration_the_path_has_no_length_in_seconds():
    with Pipeline("bare") as pipeline:
        train(train(1))
        train(2)
    plan = make_plan(pipeline.freeze(), Limits.parse(None, MACHINE))
    assert [plan.names[k] for k in plan.critical_path] == ["train", "train-2"]
    assert plan.critical_path_s is None


def test_an_empty_pipeline_has_an_empty_plan():
    plan = make_plan(Pipeline("empty").freeze(), Limits.parse(None, MACHINE))
    assert (plan.levels, plan.critical_path, plan.critical_path_s, plan.never) == ([], [], None, [])

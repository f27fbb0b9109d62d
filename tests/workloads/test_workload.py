import numpy as np
import pytest
from tests.workloads.examples import apart, chain

from penstock import Pipeline, command, task
from penstock.errors import CycleError, OptionError, PipelineFileError
from penstock.resources import Demand
from penstock.workloads import read, unite
from penstock.workloads.from_pipeline import of_pipeline


def test_a_pipeline_with_durations_is_a_workload():
    @task(duration=2, cpu=2, retries=1)
    def load():
        raise AssertionError("nothing runs")

    @task(priority=-1)
    def train(x):
        raise AssertionError("nothing runs")

    with Pipeline("search", workers=3) as p:
        data = load()
        train(data), train(data)
    made = of_pipeline(p)
    assert (made.name, list(made.names), made.workers) == ("search", ["load", "train", "train-2"], 3)
    assert made.duration_ns.tolist() == [2_000_000_000] * 3  # without duration=: as long as the mean
    assert made.groups.tolist() == [0, 1, 1]
    assert made.priority.tolist() == [0, -1, -1]
    assert made.retries.tolist() == [1, 0, 0]
    assert made.demands[made.demand_of[0]] == Demand(cpu=2000)
    assert made.predecessors(2) == [0]


def test_a_pipeline_without_any_duration_cannot_be_simulated():
    with Pipeline("no times") as p:
        command("say", ["true"])
    with pytest.raises(OptionError, match="no times: no task has a duration="):
        of_pipeline(p)


def test_a_yaml_file_is_read(tmp_path):
    (tmp_path / "two.yaml").write_text(
        "version: 1\nname: two\ntasks:\n  a: {shell: 'true', duration: 3s}\n  b: {shell: 'true', after: a, duration: 4s}\n"
    )
    made = read(tmp_path / "two.yaml")
    assert made.critical_path_ns() == 7_000_000_000


def test_an_unknown_ending_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(PipelineFileError, match=r"its ending is unknown; allowed are .py, .yaml"):
        read(tmp_path / "a.csv")
    with pytest.raises(PipelineFileError, match="there is no such file"):
        read(tmp_path / "a.sm")


def test_a_union_keeps_tasks_apart_and_their_edges():
    both = unite([chain([1, 2], groups=np.array([0, 1], np.uint32)), apart([3, 4])])
    assert list(both.names) == ["chain/t0", "chain/t1", "apart/t0", "apart/t1"]
    assert [both.predecessors(task) for task in range(4)] == [[], [0], [], []]
    assert both.groups.tolist() == [0, 1, 2, 2]
    assert len(both.demands) == 1
    assert both.critical_path_ns() == 4


def test_a_union_is_in_the_order_of_arrival():
    late = chain([1, 2], arrival_ns=np.array([5, 5]))
    both = unite([late, apart([3])])
    assert list(both.names) == ["apart/t0", "chain/t0", "chain/t1"]
    assert both.predecessors(2) == [1]


def test_a_union_of_machines_is_refused():
    with pytest.raises(OptionError, match="'apart' brings a machine of its own"):
        unite([apart([1], workers=2)])
    with pytest.raises(OptionError, match="a union of no workloads"):
        unite([])


def test_columns_of_another_length_and_rings_are_refused():
    with pytest.raises(OptionError, match="priority has 3 entries for 1 tasks"):
        apart([1], priority=np.zeros(3))
    ring = chain([1, 1]).with_changes(indptr=np.array([0, 1, 2]), indices=np.array([1, 0]))
    with pytest.raises(CycleError, match=r"'t0' -> 't1' -> 't0'|'t1' -> 't0' -> 't1'"):
        ring.critical_path_ns()

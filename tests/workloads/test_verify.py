import numpy as np
import pytest
from tests.workloads.examples import apart, chain

from penstock.resources import Demand
from penstock.workloads.verify import violations

CORES = {"cpu": 2000}


def test_a_schedule_that_keeps_every_rule_has_no_violations():
    assert violations(chain([3, 4]), CORES, [0, 3], [3, 7]) == []
    assert violations(apart([3, 3, 3]), CORES, [0, 0, 3], [3, 3, 6]) == []


@pytest.mark.parametrize(
    ("start", "finish", "said"),
    [
        ([0, 2], [3, 6], "'t1' starts at 2, before 't0' ends at 3"),
        ([0, 3], [3, 8], "'t1' takes 4 ns but ran for 5"),
        ([0, -1], [3, -1], "'t1' never ran"),
    ],
)
def test_each_broken_rule_is_named(start, finish, said):
    assert violations(chain([3, 4]), CORES, start, finish) == [said]


def test_more_than_there_is_at_one_instant_is_named():
    assert violations(apart([3, 3, 3]), CORES, [0, 0, 2], [3, 3, 5]) == ["3 of cpu are in use at 2 ns, of 2"]


def test_workers_and_arrivals_count():
    late = apart([3, 3], arrival_ns=np.array([0, 5]))
    assert violations(late, CORES, [0, 4], [3, 7]) == ["'t1' starts at 4, before it arrives at 5"]
    assert violations(apart([3, 3]), CORES, [0, 1], [3, 4], workers=1) == ["2 of workers are in use at 1 ns, of 1"]


def test_capacity_that_went_away_stops_starts_but_not_what_runs():
    load = apart([5, 5], changes=((2, "cpu", 0), (9, "cpu", 2000)))
    assert violations(load, CORES, [0, 9], [5, 14]) == []
    assert violations(load, CORES, [0, 3], [5, 8]) == ["2 of cpu are in use at 3 ns, of 0"]


def test_a_demand_above_the_machine_counts_as_all_of_it_where_the_format_says_so():
    wide = apart([3, 3], capped=True).with_changes(demands=(Demand(cpu=9000),))
    assert violations(wide, CORES, [0, 3], [3, 6]) == []
    assert violations(wide, CORES, [0, 2], [3, 5]) == ["4 of cpu are in use at 2 ns, of 2"]


def test_arrays_of_another_length_are_no_schedule():
    assert violations(apart([3]), CORES, [0, 1], [3, 4]) == ["(2,) starts and (2,) ends for 1 tasks"]

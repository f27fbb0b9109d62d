import json
from array import array

import pytest
from benchmarks.quality.__main__ import main
from benchmarks.quality.methods import check
from benchmarks.quality.psplib import read_sm
from benchmarks.quality.rules import RULES

from penstock.planning import schedule_by_rank

# Two tasks that both follow the source and precede the sink, and do not fit beside each other; then a third alone.
FILE = """************************************************************************
jobs (incl. supersource/sink ):  5
RESOURCES
  - renewable                 :  2   R
************************************************************************
PRECEDENCE RELATIONS:
jobnr.    #modes  #successors   successors
   1        1          2           2   3
   2        1          1           4
   3        1          1           5
   4        1          1           5
   5        1          0
************************************************************************
REQUESTS/DURATIONS:
jobnr. mode duration  R 1  R 2
------------------------------------------------------------------------
  1      1     0       0    0
  2      1     3       4    0
  3      1     5       3    1
  4      1     6       0    1
  5      1     0       0    0
************************************************************************
RESOURCEAVAILABILITIES:
  R 1  R 2
    6    1
************************************************************************
"""


@pytest.fixture
def folder(tmp_path):
    there = tmp_path / "psplib" / "tiny"
    there.mkdir(parents=True)
    (there / "one.sm").write_text(FILE)
    (there / "best_known.csv").write_text("instance,lower_bound,best_known,proven_optimal\none,14,14,1\n")
    return tmp_path


def test_an_instance_is_read_with_predecessors_demands_and_capacity(folder):
    one = read_sm(folder / "psplib" / "tiny" / "one.sm", 14)
    assert list(one.durations) == [0, 3, 5, 6, 0]
    assert list(one.demands) == [0, 0, 4, 0, 3, 1, 0, 1, 0, 0]
    assert list(one.capacity) == [6, 1]
    assert [list(one.predecessors(task)) for task in range(5)] == [[], [0], [0], [1], [2, 3]]


def test_the_rules_rank_by_what_they_are_named_for(folder):
    one = read_sm(folder / "psplib" / "tiny" / "one.sm")
    assert RULES["FIFO"](one) == [0, 1, 2, 3, 4]
    assert RULES["LFT"](one) == [-9, -6, 0, 0, 0]
    assert RULES["LST (HEFT rank)"](one) == [-9, -9, -5, -6, 0]
    assert RULES["MTS"](one) == [-4, -2, -1, -1, 0]
    assert RULES["GRPW"](one) == [-8, -9, -5, -6, 0]


def test_the_verifier_refuses_what_breaks_precedence_or_capacity(folder):
    one = read_sm(folder / "psplib" / "tiny" / "one.sm")
    ranks = array("d", RULES["LFT"](one))
    made = schedule_by_rank(one.durations, one.demands, one.capacity, ranks, one.indptr, one.indices)
    check(one, made)
    made.starts_ns[2] = 0  # beside task 1, which leaves too little
    with pytest.raises(AssertionError, match="one: 7 of 6 of resource 0 held at 0"):
        check(one, made)
    made.starts_ns[2], made.starts_ns[3] = 20, 1
    with pytest.raises(AssertionError, match="one: 3 starts before 1 ends"):
        check(one, made)


def test_every_method_is_measured_and_the_planner_meets_the_optimum(folder, capsys):
    assert main(["--data", str(folder), "--set", "tiny", "--budget", "0.1", "--json"]) == 0
    rows = {row["method"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {*RULES, "random (10 seeds)", "best of the rules", "planner, 3 passes", "planner, 0.1 s"} <= set(rows)
    assert rows["planner, 0.1 s"]["mean_over_best"] == 0
    assert all(row["mean_over_best"] >= 0 and row["instances"] == 1 for row in rows.values())


def test_a_set_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--set", "j30"]) == 2
    assert "psplib/j30 is not there; give --data" in capsys.readouterr().err

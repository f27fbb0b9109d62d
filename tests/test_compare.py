import json

import numpy as np
import pytest
from tests.workloads.examples import apart, chain

from penstock.compare import LEVELS, compare
from penstock.errors import OptionError
from penstock.simulation import simulate

SECOND = 1_000_000_000


def load():
    rng = np.random.default_rng(5)
    return apart([int(ns) for ns in rng.integers(SECOND, 20 * SECOND, 60)])


def test_every_policy_is_played_on_every_kind_of_day():
    made = compare(load(), capacity={"cpu": 4}, seeds=range(2), plan_budget=0.01)
    assert {(row.scenario, row.level) for row in made.rows} == {(s, level) for s in LEVELS for level in LEVELS[s]}
    assert {row.policy for row in made.rows} == {"static", "hybrid", "bottom_level", "fifo"}
    assert len(made.rows) == 4 * sum(len(levels) for levels in LEVELS.values())
    assert all(row.makespan_s >= made.lower_bound_s - 1e-9 for row in made.rows)
    assert all(0 < row.utilisation <= 1 for row in made.rows)


def test_a_day_as_planned_is_the_plain_simulation():
    made = compare(load(), capacity={"cpu": 4}, policies=["fifo"], scenarios=["noise"])
    assert made.rows[0].makespan_s == simulate(load(), policy="fifo", capacity={"cpu": 4}).makespan_s
    assert made.lower_bound_s == simulate(load(), capacity={"cpu": 4}).lower_bound_s
    assert len({row.makespan_s for row in made.rows}) == 1  # first in, first out needs no expectations


def test_losing_cpu_for_a_while_and_a_failure_cost_time():
    made = compare(load(), capacity={"cpu": 4}, policies=["fifo"], scenarios=["load", "failure"])
    spans = {(row.scenario, row.level): row.makespan_s for row in made.rows}
    assert spans["load", 0.0] < spans["load", 0.5] < spans["load", 0.75]
    assert spans["failure", 0.0] < spans["failure", 1.0]


def test_urgent_tasks_are_done_sooner_where_priority_counts():
    made = compare(load(), capacity={"cpu": 4}, policies=["priority", "fifo"], scenarios=["urgent"])
    done = {row.policy: row.urgent_s for row in made.rows if row.level}
    assert done["priority"] < 0.7 * done["fifo"]
    assert all(row.urgent_s is None for row in made.rows if not row.level)


def test_a_plan_that_is_followed_as_it_is_suffers_where_the_day_differs():
    made = compare(load(), capacity={"cpu": 4}, policies=["static", "bottom_level"], plan_budget=0.02)
    spans = {(row.scenario, row.level, row.policy): row.makespan_s for row in made.rows}
    assert spans["noise", 0.0, "static"] <= 1.02 * spans["noise", 0.0, "bottom_level"]
    assert spans["noise", 1.0, "static"] > spans["noise", 0.0, "static"]
    assert "Dynamic scheduling pays" in made.text().splitlines()[-1]


def test_text_and_json_say_the_same(tmp_path):
    made = compare(load(), capacity={"cpu": 4}, policies=["hybrid", "fifo"], scenarios=["noise"], plan_budget=0)
    lines = made.text().splitlines()
    assert lines[0] == f"apart: 60 tasks, no schedule is shorter than {made.lower_bound_s:.6g} s"
    assert lines[3].split() == ["spread", "hybrid", "fifo"]
    assert lines[4].split() == ["0", *(f"{row.above:+.1%}" for row in made.rows[:2])]
    assert lines[-1] == "There is no static plan to compare with."
    told = json.loads(json.dumps(made.to_dict()))
    assert (told["name"], told["tasks"], len(told["rows"])) == ("apart", 60, 10)
    assert told["rows"][0]["makespan_s"] == made.rows[0].makespan_s
    made.draw(tmp_path / "c.svg")
    assert b"<svg" in (tmp_path / "c.svg").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scenarios": ["rain"]}, "scenario 'rain' is unknown; there are noise, load, failure, urgent"),
        ({"policies": ["quick"]}, "policy='quick'"),
        ({"seeds": []}, "'chain': nothing to compare"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(OptionError, match=said):
        compare(chain([SECOND]), capacity={"cpu": 1}, **options)


def test_an_empty_workload_is_refused():
    with pytest.raises(OptionError, match="'chain': nothing to compare; give a workload with tasks"):
        compare(chain([]), capacity={"cpu": 1})

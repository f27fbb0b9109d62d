import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads.examples import apart, chain, shared, workloads

import penstock
from penstock import Pipeline, errors, simulate, task
from penstock.policies import POLICIES, Policy
from penstock.resources import Demand
from penstock.simulation import DURATIONS
from penstock.workloads import read

SECOND = 1_000_000_000
ROOMY = {"cpu": 4, "memory": "5B", "licence": 1}


@settings(max_examples=150, deadline=None)
@given(workloads(), st.sampled_from(sorted(POLICIES)), st.sampled_from(DURATIONS))
def test_every_schedule_keeps_every_rule(load, policy, durations):
    made = simulate(load, policy=policy, capacity=ROOMY, durations=durations)
    assert made.ok
    assert made.violations() == []
    assert made.makespan_s * 1e9 >= load.critical_path_ns() - 1e-3
    assert made.attempts.tolist() == [1] * len(load)


def test_the_same_simulation_gives_the_same_events():
    load = apart([3, 1, 4, 1, 5, 9, 2, 6])
    first, second = (simulate(load, capacity={"cpu": 2}, noise="lognormal:0.5", seed=3).events for _ in range(2))
    assert np.array_equal(first, second)


def test_policies_order_as_in_a_run():
    load = apart([3, 3, 3], priority=np.array([5.0, 0.0, -1.0]))
    assert simulate(load, policy="priority", capacity={"cpu": 1}).start_ns.tolist() == [6, 3, 0]
    assert simulate(load, policy="fifo", capacity={"cpu": 1}).start_ns.tolist() == [0, 3, 6]
    turned = Policy(name="turned", priority=-1)
    assert simulate(load, policy=turned, capacity={"cpu": 1}).start_ns.tolist() == [0, 3, 6]
    assert simulate(load, policy="priority", capacity={"cpu": 1}, priority=np.zeros(3)).start_ns.tolist() == [0, 3, 6]


def test_bounds_and_utilisation_are_those_of_the_workload():
    made = simulate(chain([4 * SECOND, 2 * SECOND]), capacity={"cpu": 2})
    assert (made.makespan_s, made.critical_path_s, made.lower_bound_s) == (6.0, 6.0, 6.0)
    assert made.utilisation == {"cpu": 0.5}
    assert made.summary() == {
        "policy": "hybrid", "tasks": 2, "makespan": 6.0, "critical_path": 6.0, "lower_bound": 6.0, "seconds": made.seconds,
    }  # fmt: skip
    wide = simulate(apart([4 * SECOND] * 3), capacity={"cpu": 1})
    assert (wide.critical_path_s, wide.lower_bound_s) == (4.0, 12.0)


def test_a_demand_above_the_machine_is_refused_or_counts_as_all_of_it():
    wide = apart([1]).with_changes(demands=(Demand(cpu=9000),))
    with pytest.raises(errors.ResourceError, match="task 't0' asks for cpu=9, but there is 4; it can never start"):
        simulate(wide, capacity={"cpu": 4})
    assert simulate(wide.with_changes(capped=True), capacity={"cpu": 4}).ok


def test_capacity_that_never_comes_back_is_an_error_that_names_a_task():
    gone = apart([5, 5]).with_changes(changes=((2, "cpu", 0),))
    with pytest.raises(errors.ResourceError, match="task 't1' and 0 more never started"):
        simulate(gone, capacity={"cpu": 1})


def test_gpus_are_whole_devices():
    load = apart([2, 2, 2]).with_changes(demands=(Demand(gpu=1000, gpu_memory=8),))
    assert simulate(load, capacity={"cpu": 8, "gpu": 2, "gpu_memory": "10B"}).makespan_s * 1e9 == pytest.approx(4)
    with pytest.raises(errors.ResourceError, match="asks for gpu, and no GPU was given"):
        simulate(load, capacity={"cpu": 8})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": "fif"}, "policy='fif'"),
        (
            {"durations": "guessed"},
            "durations='guessed'; allowed are 'known', 'exact', 'corrected', 'learned', 'unknown'",
        ),
        (
            {"noise": "normal:1"},
            "noise='normal:1'; allowed are 'lognormal:S' and 'uniform:S'.* Did you mean 'lognormal'",
        ),
        ({"noise": "uniform:2"}, "the spread is '2'; allowed is a number from 0 to 1"),
        ({"noise": "lognormal:x"}, "the spread is 'x'"),
        ({"capacity": {"cpu": 0.5}}, "a share of an unknown amount"),
    ],
)
def test_options_that_are_wrong_are_named(options, said):
    with pytest.raises(errors.OptionError, match=said):
        simulate(apart([1]), **{"capacity": {"cpu": 1}, **options})


def test_what_is_no_workload_is_refused():
    with pytest.raises(errors.OptionError, match="3 cannot be simulated; give a file"):
        simulate(3)  # type: ignore[arg-type]


def test_a_pipeline_is_simulated_without_being_run():
    @task(duration=3)
    def step(*after):
        raise AssertionError("nothing runs")

    with Pipeline("two") as p:
        step(step())
    made = penstock.simulate(p, capacity={"cpu": 1})
    assert made.makespan_s == 6.0
    assert "step-2" in made.table()
    assert "makespan 6.0" in made.table()


def test_failures_cost_their_share_and_their_wait():
    load = apart([10 * SECOND], failures=np.array([1], np.uint32), retries=np.array([1], np.uint32), failed_share=0.5)
    made = simulate(load.with_changes(retry_wait_ns=SECOND), capacity={"cpu": 1})
    assert (made.makespan_s, made.attempts.tolist(), made.ok) == (16.0, [2], True)
    with pytest.raises(errors.OptionError, match="attempts fail"):
        made.violations()
    assert not simulate(load.with_changes(retries=np.array([0], np.uint32)), capacity={"cpu": 1}).ok


def test_a_trace_has_one_slice_for_each_task(tmp_path):
    simulate(chain([SECOND, SECOND]), capacity={"cpu": 1}).write_trace(tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())
    assert sorted(row["name"] for row in rows if row["ph"] == "X") == ["t0", "t1"]
    assert len([row for row in rows if row["ph"] in "sf"]) == 2


def test_noise_is_about_expectations_not_run_times():
    load = apart([SECOND * k for k in range(1, 40)])
    exact, noisy = (simulate(load, capacity={"cpu": 3}, noise=noise, seed=1) for noise in (None, "lognormal:1"))
    assert exact.lower_bound_s == noisy.lower_bound_s
    assert not np.array_equal(exact.start_ns, noisy.start_ns)
    other = simulate(load, capacity={"cpu": 3}, noise="lognormal:1", seed=2)
    assert not np.array_equal(other.start_ns, noisy.start_ns)


@pytest.mark.parametrize("cores", [16, 64])
def test_schedules_of_the_shared_workflows_are_valid_and_near_the_bound(cores):
    above = []
    flows = [read(file) for file in sorted(shared("wfinstances").glob("*.json.gz"))]
    for flow in flows:
        made = simulate(
            flow, policy="bottom_level", capacity={"cpu": cores, "memory": f"{4 * cores}GiB"}, plan_budget=0
        )
        assert made.violations() == []
        above.append(made.makespan_s / made.lower_bound_s - 1)
    pool = simulate(flows, policy="hybrid", capacity={"cpu": cores, "memory": f"{4 * cores}GiB"}, plan_budget=0)
    assert pool.violations() == []
    assert pool.makespan_s < 1.005 * pool.lower_bound_s
    assert np.mean(above) < {16: 0.068, 64: 0.094}[cores]


def test_the_function_keeps_its_name_whatever_is_imported_first():
    code = "import penstock.simulation, penstock.compare, penstock; assert callable(penstock.simulate)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

import os
import random
import signal
import threading
import time
from array import array
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Pipeline, _core, task
from penstock.errors import OptionError
from penstock.observe.events import EventKind
from penstock.planning import MOST_TASKS, check_budget, make_schedule, places, schedule_arrays, schedule_by_rank
from penstock.policies import POLICIES, Policy
from penstock.resources import Limits
from penstock.states import State

NS = 1_000_000_000


def problem(seed, n, capacity=(4, 6), edges=2):
    """Arrays of a random graph: durations, demands, capacity, indptr, indices."""
    draw = random.Random(seed)
    durations = array("q", [draw.randrange(10) for _ in range(n)])
    demands = array("q", [draw.randrange(most + 1) for _ in range(n) for most in capacity])
    indptr, indices = array("q", [0]), array("q")
    for k in range(n):
        indices.extend(sorted({draw.randrange(k) for _ in range(draw.randrange(edges + 1))}) if k else [])
        indptr.append(len(indices))
    return durations, demands, array("q", capacity), indptr, indices


def check(schedule, durations, demands, capacity, indptr, indices):
    """Precedence, capacity at every start, each task once."""
    starts = schedule.starts_ns
    assert len(starts) == len(durations)
    assert sorted(schedule.order) == list(range(len(durations)))
    assert all(starts[a] <= starts[b] for a, b in pairwise(schedule.order))
    for k in range(len(durations)):
        assert starts[k] >= 0
        for before in indices[indptr[k] : indptr[k + 1]]:
            assert starts[before] + durations[before] <= starts[k]
        for r, most in enumerate(capacity):
            running = [j for j in range(len(durations)) if starts[j] <= starts[k] < starts[j] + durations[j]]
            assert sum(demands[j * len(capacity) + r] for j in running) <= most
    assert max((s + d for s, d in zip(starts, durations, strict=True)), default=0) == schedule.makespan_ns


@given(st.integers(0, 10_000), st.integers(0, 40))
def test_every_plan_keeps_to_precedence_and_capacity(seed, n):
    given_ = problem(seed, n)
    made = schedule_arrays(*given_, budget_s=None, iterations=60, seed=seed)
    assert made.complete
    assert made.lower_bound_ns <= made.makespan_ns
    check(made, *given_)
    by_rank = schedule_by_rank(*given_[:3], np.arange(n, dtype=float), *given_[3:], serial=bool(seed % 2))
    check(by_rank, *given_)


def test_planning_beats_or_equals_plain_dispatch_and_is_the_same_for_a_seed():
    given_ = problem(3, 60)
    fifo = schedule_by_rank(*given_[:3], np.arange(60, dtype=float), *given_[3:])
    a, b = (schedule_arrays(*given_, budget_s=None, iterations=3000, seed=7) for _ in range(2))
    assert a == b
    assert a.lower_bound_ns <= a.makespan_ns < fifo.makespan_ns
    assert a.optimal == (a.makespan_ns == a.lower_bound_ns)


def test_a_proven_optimum_ends_the_search_before_the_budget():
    made = schedule_arrays(array("q", [5, 5, 5]), array("q", [1, 1, 1]), array("q", [1]), budget_s=3600)
    assert made.optimal
    assert made.makespan_ns == 15
    assert made.seconds < 60


@pytest.mark.parametrize("budget_s", [0, 1e-6])
def test_no_time_gives_no_plan_and_no_error(budget_s):
    made = schedule_arrays(*problem(1, 500), budget_s=budget_s)
    assert (made.complete, len(made.starts_ns), len(made.order), made.makespan_ns) == (False, 0, 0, 0)


def test_more_tasks_than_are_planned_give_no_plan_but_bottom_levels():
    n = MOST_TASKS + 1
    chain = array("q", [0, *range(n)]), array("q", range(n - 1))
    assert not schedule_arrays(array("q", [1] * n), array("q", [1] * n), array("q", [2]), *chain, iterations=1).complete
    levels = np.frombuffer(_core.plan_levels(array("q", [2] * n), *chain), dtype=np.int64)
    assert levels[0] == 2 * n
    assert levels[-1] == 2
    assert _core.plan_levels(array("q", [2] * n), *chain, budget_s=0.0) is None


def test_another_thread_can_stop_a_plan_and_has_the_gil_meanwhile():
    stop, made = _core.StopFlag(), []
    assert not stop.is_set()
    given_ = problem(5, 300, edges=1)
    planner = threading.Thread(target=lambda: made.append(schedule_arrays(*given_, budget_s=None, stop=stop)))
    planner.start()
    stop.set()  # only reached when planning holds no GIL; it may come before or in the middle
    planner.join(60)
    assert not planner.is_alive()
    assert made[0].complete or made[0].schedules == 0


def test_ctrl_c_ends_a_plan():
    given_ = problem(9, 400)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        schedule_arrays(*given_, budget_s=100)
    timer.join()


def test_a_search_that_nothing_would_end_is_refused():
    with pytest.raises(OptionError, match="nothing would end the search"):
        schedule_arrays(array("q", [1]), array("q", [1]), array("q", [1]), budget_s=None)


@pytest.mark.parametrize("budget", [-1, float("nan"), float("inf"), "soon", True, None])
def test_a_budget_is_a_finite_number_of_seconds(budget):
    with pytest.raises(OptionError, match=r"plan_budget=.*allowed is a number of seconds from 0 up"):
        check_budget(budget)


def test_a_cycle_and_a_demand_above_the_capacity_are_refused():
    with pytest.raises(_core.CycleError) as refused:
        schedule_arrays(
            array("q", [1, 1]), array("q", [1, 1]), array("q", [1]), array("q", [0, 1, 2]), array("q", [1, 0])
        )
    assert refused.value.args[0] == [0, 1]
    with pytest.raises(ValueError, match=r"task 1 asks for 3 of resource 0; allowed is 0 \.\. 2"):
        schedule_arrays(array("q", [1, 1]), array("q", [1, 3]), array("q", [2]))
    with pytest.raises(ValueError, match="ranks has 1 entries for 2 tasks"):
        schedule_by_rank(array("q", [1, 1]), array("q", [1, 1]), array("q", [2]), array("d", [0.0]))


@task(duration=2, cpu=1)
def narrow(*before):
    return 0


@task(duration=4, cpu=2, memory="1GiB")
def wide(*before):
    return 0


@task
def unknown(*before):
    return 0


def test_a_pipeline_is_planned_under_its_limits():
    with Pipeline("p") as p:
        first = narrow()
        wide(first)
        narrow()
        narrow()
    limits = Limits.parse({"cpu": 2}, {"cpu": 8000, "memory": 8 << 30, "gpu": 0})
    made = make_schedule(p.freeze(), limits, budget_s=None, iterations=100)
    assert made.guessed == 0
    assert list(made.durations_ns) == [2 * NS, 4 * NS, 2 * NS, 2 * NS]
    assert (
        made.makespan_ns == 8 * NS
    )  # 14 core seconds on two cores do not pack better: the wide one needs both at once
    assert made.starts_ns[1] >= 2 * NS


def test_workers_bind_when_they_are_fewer_than_the_cores():
    with Pipeline("p") as p:
        for _ in range(4):
            narrow()
    limits = Limits.parse(None, {"cpu": 8000, "memory": 8 << 30, "gpu": 0})
    assert make_schedule(p.freeze(), limits, iterations=10).makespan_ns == 2 * NS
    assert make_schedule(p.freeze(), limits, workers=1, iterations=10).makespan_ns == 8 * NS


def test_an_unknown_duration_counts_as_the_mean_of_the_known_or_as_given():
    with Pipeline("p") as p:
        unknown(wide(), narrow())
    frozen, limits = p.freeze(), Limits.parse(None, {"cpu": 8000, "memory": 8 << 30, "gpu": 0})
    made = make_schedule(frozen, limits, iterations=10)
    assert made.guessed == 1
    assert list(made.durations_ns) == [4 * NS, 2 * NS, 3 * NS]
    given_ = make_schedule(frozen, limits, durations_s=[None, None, None], iterations=10)
    assert given_.guessed == 3
    assert list(given_.durations_ns) == [NS, NS, NS]
    assert given_.makespan_ns == 2 * NS


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("PENSTOCK_LONG"), reason="timed: PENSTOCK_LONG=1 runs it, on a quiet machine")
@pytest.mark.parametrize("budget_s", [0.02, 0.1])
@pytest.mark.parametrize("n", [100, 10_000, 50_000])
def test_the_budget_is_kept_for_a_pipeline_of_any_size(n, budget_s):
    with Pipeline("p") as p:
        calls = [short()]
        for k in range(1, n):
            calls.append(short(calls[k // 2]))
    frozen, limits = p.freeze(), Limits.parse({"slot": 8}, {"cpu": 8000, "memory": 8 << 30, "gpu": 0})
    for _ in range(3):
        began = time.monotonic()
        places(frozen, limits, POLICIES["hybrid"], budget_s=budget_s)
        assert time.monotonic() - began <= budget_s


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("PENSTOCK_LONG"), reason="timed: PENSTOCK_LONG=1 runs it, on a quiet machine")
@pytest.mark.parametrize("n", [30, 1000, 20_000, 50_000, 1_000_000])
def test_the_budget_is_kept_for_any_size(n):
    given_ = problem(2, n)
    for _ in range(3):
        began = time.monotonic()
        schedule_arrays(*given_, budget_s=0.1)
        assert time.monotonic() - began <= 0.1


def run_order(pipeline, **options):
    """The names in the order in which they started."""
    result = pipeline.run(progress=False, **options)
    assert result.ok
    names = list(result.states)
    return [names[row["task"]] for row in result.events if row["kind"] == EventKind.STARTED]


@task(duration=1, cpu=0, resources={"slot": 1})
def short(*before):
    return 0


@task(duration=100, cpu=0, resources={"slot": 1})
def long(*before):
    return 0


def two_cores_would_do_better():
    """Submitted in the worst order: what the last task waits for comes last but one."""
    with Pipeline("p") as p:
        for _ in range(4):
            short()
        long(short.with_options(name="first")())
    return p


@pytest.mark.parametrize("policy", ["static", "hybrid"])
def test_a_run_starts_in_the_planned_order(policy):
    order = run_order(two_cores_would_do_better(), policy=policy, limits={"slot": 1})
    assert order[:2] == ["first", "long"]


def test_fifo_and_a_run_without_durations_go_without_a_plan():
    frozen = two_cores_would_do_better().freeze()
    limits = Limits.parse({"slot": 1}, {"cpu": 8000, "memory": 8 << 30, "gpu": 0})
    with Pipeline("unknown") as p:
        unknown()
    with Pipeline("due") as due:
        narrow.with_options(deadline=5)()
    hybrid, static = POLICIES["hybrid"], POLICIES["static"]
    assert places(frozen, limits, POLICIES["fifo"]) is None
    assert places(frozen, limits, hybrid, budget_s=0) is None
    assert places(p.freeze(), limits, hybrid) is None
    assert places(due.freeze(), limits, hybrid) is None
    assert places(Pipeline("none").freeze(), limits, static) is None
    # What has to keep to a plan gets one.
    assert list(places(p.freeze(), limits, static)) == [0]
    assert list(places(due.freeze(), limits, static)) == [0]
    searched, unsearched = places(frozen, limits, hybrid), places(frozen, limits, static, budget_s=0)
    assert sorted(searched) == sorted(unsearched) == list(range(6))
    assert frozen.names[list(unsearched).index(0)] == "first"
    assert searched[frozen.names.index("first")] == 0


def test_a_static_run_with_failures_and_tasks_that_make_tasks_ends():
    @task(duration=2, retries=2, cpu=0, resources={"slot": 1})
    def fragile(tries=[]):  # noqa: B006
        tries.append(1)
        if len(tries) < 3:
            raise OSError("again")
        return 1

    @task(duration=1, cpu=0, resources={"slot": 1})
    def spread():
        return [short(), short(), long()]

    @task(duration=1, cpu=0, resources={"slot": 1})
    def broken():
        raise ValueError("for good")

    with Pipeline("p") as p:
        made = spread()
        long(made, fragile())
        short(broken())
        short()
    result = p.run(policy="static", limits={"slot": 2}, progress=False)
    assert sorted(str(name) for name, state in result.states.items() if state != State.SUCCEEDED) == ["broken", "short"]


def test_a_static_run_holds_back_what_comes_later_in_the_plan_and_says_so():
    started, release = threading.Event(), threading.Event()

    @task(duration=10, cpu=0, resources={"slot": 1})
    def blocker():
        started.set()
        release.wait(60)

    # On two cores the plan is: blocker, wide on both, then last beside the tail. Last would fit beside blocker too, but
    # then wide and its long tail would come late.
    with Pipeline("p") as p:
        wide = long.with_options(resources={"slot": 2}, name="wide")(blocker())
        long.with_options(duration=200, name="tail")(wide)
        last = short.with_options(duration=150, name="last")()
    run = p.start(policy=Policy(name="in order", form="plan"), limits={"slot": 2})
    try:
        assert started.wait(60)
        assert run.why(last) == "'last' is ready, but the plan starts 'wide' before it."
    finally:
        release.set()
    assert run.wait().ok


@pytest.mark.parametrize("budget", [-1, "now"])
def test_a_run_refuses_a_budget_that_is_none(budget):
    with pytest.raises(OptionError, match="plan_budget="):
        two_cores_would_do_better().run(plan_budget=budget)

import numpy as np
from tests.workloads.examples import apart, chain

from penstock import _core, simulate
from penstock.estimates import Learner
from penstock.policies import POLICIES

SECOND = 1_000_000_000


def log_of(learner: Learner, ended: list[tuple[int, int]], tasks: int) -> _core.Scheduler:
    """A scheduler whose log says that tasks have ended with these run times, and the learner told of it."""
    scheduler = _core.Scheduler(0)
    scheduler.submit(tasks, now=0)
    for task, took in ended:
        scheduler.log.append(4, task=task, value=took, time=0)
    learner.follow(scheduler, 0)
    return scheduler


def test_tasks_of_a_group_are_expected_to_take_its_mean():
    learner = Learner(np.array([0, 0, 0, 1], np.uint32))
    assert learner.begin().tolist() == [SECOND] * 4
    log_of(learner, [(0, 10), (1, 30)], 4)
    expected = learner.expected_ns().tolist()
    assert expected[2] == 20
    assert expected[3] == 20  # a group that was never seen: as the longest of those that were
    assert learner.told == 1


def test_what_the_core_was_told_before_counts():
    learner = Learner(np.zeros(2, np.uint32))
    learner.begin(np.zeros(2, np.int64))
    log_of(learner, [(0, SECOND)], 2)
    assert learner.told == 1  # as expected from the beginning, but nobody had said so


def test_tasks_that_did_something_else_teach_nothing():
    learner = Learner(np.zeros(3, np.uint32), ignored=[{0}])
    learner.begin()
    scheduler = _core.Scheduler(0)
    scheduler.submit(3, now=0)
    scheduler.log.append(9, task=1, time=0)  # it made tasks
    for task in (0, 1):
        scheduler.log.append(4, task=task, value=1, time=0)
    learner.follow(scheduler, 0)
    assert learner.expected_ns()[2] == SECOND
    assert learner.told == 0


def test_a_plan_stands_where_estimates_are_wrong_by_one_factor_and_falls_where_they_differ():
    estimates = np.arange(1, 21) * SECOND
    for errors, stands in ((np.full(20, 3.0), True), (np.tile([0.8, 1.25], 10), False)):
        learner = Learner(np.zeros(20, np.uint32), estimates_ns=estimates, planned=True)
        learner.begin()
        took = (estimates * errors).astype(np.int64)
        scheduler = _core.Scheduler(0)
        scheduler.set_policy(*POLICIES["hybrid"].to_core(), now=0)
        scheduler.submit(20, expected=estimates, place=np.arange(20, dtype=np.uint32), now=0)
        for task in range(4):
            scheduler.log.append(4, task=task, value=int(took[task]), time=0)
        learner.follow(scheduler, 0)
        assert learner.planned  # of four tasks nothing is concluded
        scheduler.log.append(4, task=4, value=int(took[4]), time=0)
        learner.follow(scheduler, 0)
        assert learner.planned is stands
        assert scheduler.forget_plan() is stands


def test_the_core_is_told_only_of_changes_that_matter():
    learner = Learner(np.zeros(100, np.uint32))
    learner.begin()
    scheduler = log_of(learner, [(0, SECOND)], 100)
    assert learner.told == 0  # as expected
    for task in range(1, 50):
        scheduler.log.append(4, task=task, value=3 * SECOND, time=0)
        learner.follow(scheduler, 0)
    assert 1 < learner.told < 12
    learner.follow(scheduler, 0)
    assert abs(learner.expected_ns()[99] / (3 * SECOND) - 1) < 0.1


def test_exact_estimates_stay_as_they_are():
    took = np.random.default_rng(0).integers(SECOND, 9 * SECOND, 60)
    learner = Learner(np.zeros(60, np.uint32), estimates_ns=took)
    np.testing.assert_allclose(learner.begin(), took, rtol=1e-6)
    log_of(learner, [(task, int(took[task])) for task in range(30)], 60)
    np.testing.assert_allclose(learner.expected_ns()[30:], took[30:], rtol=1e-6)
    assert learner.told == 0


def test_estimates_that_say_nothing_lose_their_say():
    draw = np.random.default_rng(1)
    estimates = (2 * SECOND * np.exp(draw.standard_normal(200))).astype(np.int64)
    learner = Learner(np.zeros(200, np.uint32), estimates_ns=estimates)
    before = learner.begin()[100:]
    log_of(learner, [(task, 2 * SECOND) for task in range(100)], 200)
    after = learner.expected_ns()[100:]
    assert before.std() > SECOND
    assert after.std() < 0.2 * SECOND
    assert abs(after.mean() / (2 * SECOND) - 1) < 0.05


def test_sizes_order_tasks_from_the_start_and_scale_with_what_is_seen():
    sizes = np.array([[100.0], [400.0], [100.0], [400.0]])
    learner = Learner(np.zeros(4, np.uint32), sizes=sizes)
    first = learner.begin()
    assert first[1] > 1.5 * first[0]
    log_of(learner, [(0, 10 * SECOND), (1, 40 * SECOND)], 4)
    small, large = learner.expected_ns()[2:]
    assert 2.2 < large / small < 4  # between the square root of the beginning and the proportion that was seen
    assert small + large == np.int64(small) + np.int64(large)


def test_a_task_without_an_estimate_is_an_average_one_of_its_group():
    learner = Learner(np.array([0, 0, 0, 1], np.uint32), estimates_ns=np.array([2, 8, 0, 0]) * SECOND)
    expected = learner.begin()
    assert (
        expected[2] == np.exp(np.log(expected[:2].astype(float)).mean()).round()
        or abs(expected[2] / expected[:2].mean() - 1) < 0.5
    )
    assert expected[3] > 0


def test_what_is_learned_on_the_way_orders_the_rest_of_the_run():
    # The long ones come last in the file; one of their kind, that comes first, shows how long they are.
    kinds = np.array([1] + [0] * 30 + [1] * 4, np.uint32)
    took = np.where(kinds == 0, SECOND, 10 * SECOND)
    load = apart([int(t) for t in took], groups=kinds)
    blind, learned, known = (
        simulate(load, policy="bottom_level", capacity={"cpu": 3}, durations=durations).makespan_s
        for durations in ("unknown", "learned", "known")
    )
    assert known <= learned < blind


def test_an_empty_run_has_nothing_to_learn():
    learner = Learner(np.zeros(0, np.uint32))
    assert learner.begin().tolist() == []
    assert simulate(chain([]), durations="learned", capacity={"cpu": 1}).makespan_s == 0

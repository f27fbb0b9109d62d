"""Retry storms and stalls, by the instants that a test gives."""

from __future__ import annotations

from penstock.observe.alert_rules import RetryStorm, Stall
from penstock.observe.events import EventKind

S = 1_000_000_000


def test_so_many_retries_within_the_time_are_one_storm_and_it_is_not_told_again_at_once():
    storm = RetryStorm(3, 10)
    assert [storm.feed(t * S) for t in (0, 1)] == [None, None]
    assert storm.feed(2 * S) == 3
    assert [storm.feed(t * S) for t in (3, 4, 11)] == [None] * 3
    assert storm.feed(12 * S) == 3


def test_retries_that_are_spread_out_are_no_storm():
    storm = RetryStorm(3, 10)
    assert [storm.feed(t * S) for t in range(0, 100, 6)] == [None] * 17


def test_a_stall_is_so_many_times_the_usual_and_told_once_until_something_finishes(scene):
    stall = Stall(10, 5)
    first, second = scene.add("a", "b")
    scene.ran(first, 0, 0, 1)
    stall.feed(scene.rows())
    start = int(scene.rows()["time"][0])
    assert stall.usual_s == 1.0
    assert stall.patience_s(start + 1 * S, 0) == 10.0
    assert not stall.is_due(start + 10 * S, 0)
    assert stall.is_due(start + 11 * S, 0)
    assert not stall.is_due(start + 12 * S, 0)
    assert stall.patience_s(start + 12 * S, 0) is None
    seen = len(scene.log)
    scene.ran(second, 0, 0, 20)
    stall.feed(scene.rows(seen))
    assert stall.patience_s(start + 20 * S, 0) == 105.0  # the median of 1 s and 20 s, ten times


def test_a_stall_is_at_least_the_least_time_and_waits_for_what_was_said_to_take_long(scene):
    stall = Stall(10, 60)
    (task,) = scene.add("a")
    scene.ran(task, 0, 0, 1)
    stall.feed(scene.rows())
    start = int(scene.rows()["time"][0])
    assert stall.patience_s(start + S, 0) == 60.0
    assert stall.patience_s(start + S, 100 * S) == 1000.0


def test_nothing_is_a_stall_while_nobody_knows_what_is_usual(scene):
    stall = Stall(10, 0)
    scene.add("a")
    scene.event(EventKind.STARTED, 1, 0)
    stall.feed(scene.rows())
    assert stall.patience_s(10**18, 0) is None
    assert not stall.is_due(10**18, 0)

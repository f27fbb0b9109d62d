import logging
import threading

import pytest

from penstock.observe.events import EventKind
from penstock.observe.subscription import Subscription

pytestmark = pytest.mark.timeout(30)


def test_every_row_arrives_once_and_in_order_while_others_are_appended(scene):
    got = []
    subscription = Subscription(scene, lambda rows: got.extend(rows["value"].tolist()), name="reader").start()
    for value in range(1, 30_001):
        scene.log.append(int(EventKind.GAUGE), value=value)
    scene.log.close()
    assert subscription.close(10)
    assert got == list(range(30_001))  # row 0 is the start of the run


def test_what_was_there_before_the_start_arrives_too(rehearsal):
    got = []
    subscription = Subscription(rehearsal, lambda rows: got.append(len(rows)), name="reader").start()
    assert subscription.close(10)
    assert sum(got) == len(rehearsal.log)


def test_a_reader_that_raises_is_reported_once_and_gets_the_next_rows(scene, caplog):
    delivered = threading.Semaphore(0)
    calls = []

    def deliver(rows):
        calls.append(len(rows))
        delivered.release()
        raise RuntimeError(f"call {len(calls)}")

    subscription = Subscription(scene, deliver, name="hook 'f'").start()
    assert delivered.acquire(timeout=10)
    scene.log.append(int(EventKind.PAUSED))
    assert delivered.acquire(timeout=10)
    scene.log.close()
    assert subscription.close(10)
    assert sum(calls) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith("hook 'f' raised RuntimeError: call 1; the run goes on")


def test_a_reader_that_exits_ends_only_its_own_call(rehearsal, caplog):
    def deliver(_rows):
        raise SystemExit(3)

    assert Subscription(rehearsal, deliver, name="reader").start().close(10)
    assert "raised SystemExit" in caplog.text


def test_a_reader_that_hangs_is_left_behind_with_a_warning(rehearsal, caplog):
    entered, release = threading.Event(), threading.Event()

    def deliver(_rows):
        entered.set()
        release.wait()

    subscription = Subscription(rehearsal, deliver, name="hook 'slow'").start()
    assert entered.wait(10)
    with caplog.at_level(logging.WARNING):
        assert not subscription.close(0.05)
    assert subscription.abandoned
    assert f"{len(rehearsal.log)} events were not delivered" in caplog.text
    release.set()
    subscription._thread.join(10)
    assert not subscription._thread.is_alive()


def test_the_end_is_told_after_the_last_row(rehearsal):
    order = []
    Subscription(
        rehearsal, lambda rows: order.append("rows"), name="reader", on_end=lambda: order.append("end")
    ).start().close(10)
    assert order[-1] == "end"
    assert order.count("end") == 1
    assert len(order) > 1


def test_the_end_is_told_although_every_delivery_failed(rehearsal, caplog):
    ended = threading.Event()

    def deliver(_rows):
        raise RuntimeError

    Subscription(rehearsal, deliver, name="reader", on_end=ended.set).start().close(10)
    assert ended.is_set()
    assert len(caplog.records) == 1


def test_a_tick_comes_when_no_row_does(scene):
    ticked = threading.Event()

    def deliver(rows):
        if len(rows) == 0:
            ticked.set()

    subscription = Subscription(scene, deliver, name="reader", tick_s=0.01).start()
    assert ticked.wait(10)
    scene.log.close()
    assert subscription.close(10)

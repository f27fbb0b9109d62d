"""The reactor's thread: calls, descriptors, timers, and its sleep in between."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from penstock.executors.reactor import READ, WRITE, Reactor

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("test-reactor")
    reactor.start()
    yield reactor
    reactor.stop()


def run(reactor: Reactor, *callbacks: object) -> None:
    """Run callbacks on the reactor's thread and wait until they have run."""
    done = threading.Event()
    for callback in callbacks:
        reactor.call(callback)  # type: ignore[arg-type]
    reactor.call(done.set)
    assert done.wait(20)


def test_calls_run_in_order_on_the_reactors_thread(reactor: Reactor) -> None:
    seen: list[object] = []
    run(reactor, *[lambda n=n: seen.append((n, threading.current_thread().name)) for n in range(100)])
    assert seen == [(n, "test-reactor") for n in range(100)]


def test_timers_fire_in_order_of_their_instants_and_cancelled_ones_do_not(reactor: Reactor) -> None:
    seen: list[str] = []
    done = threading.Event()

    def arrange() -> None:
        reactor.after(0.02, lambda: seen.append("second"))
        reactor.after(0.01, lambda: seen.append("first"))
        reactor.after(0.015, lambda: seen.append("cancelled")).cancel()
        reactor.after(0.03, done.set)

    began = time.monotonic()
    run(reactor, arrange)
    assert done.wait(20)
    assert time.monotonic() - began >= 0.03
    assert seen == ["first", "second"]


def test_descriptor_is_watched_until_it_is_unwatched(reactor: Reactor) -> None:
    reading, writing = os.pipe()
    seen: list[bytes] = []
    came = threading.Event()

    def ready() -> None:
        seen.append(os.read(reading, 10))
        came.set()

    run(reactor, lambda: reactor.watch(reading, READ, ready))
    os.write(writing, b"a")
    assert came.wait(20)
    run(reactor, lambda: reactor.unwatch(reading), lambda: reactor.unwatch(reading))
    os.write(writing, b"b")
    run(reactor)
    assert seen == [b"a"]
    os.close(reading)
    os.close(writing)


def test_callback_of_a_descriptor_that_another_one_unwatched_does_not_run(reactor: Reactor) -> None:
    pipes = [os.pipe() for _ in range(8)]
    seen: list[int] = []

    def ready(mine: int) -> None:
        seen.append(mine)
        for reading, _ in pipes:
            reactor.unwatch(reading)

    def arrange() -> None:
        for number, (reading, writing) in enumerate(pipes):
            os.write(writing, b"x")
            reactor.watch(reading, READ, partial(ready, number))

    turned = threading.Event()
    run(reactor, arrange, lambda: reactor.after(0.05, turned.set))
    assert turned.wait(20)  # timers come after the descriptors of one look
    assert len(seen) == 1
    for pair in pipes:
        for fd in pair:
            os.close(fd)


def test_watch_replaces_an_earlier_one(reactor: Reactor) -> None:
    reading, writing = os.pipe()
    came = threading.Event()
    seen: list[str] = []

    def ready() -> None:
        reactor.unwatch(writing)
        came.set()

    run(
        reactor,
        lambda: reactor.watch(writing, READ, lambda: seen.append("old")),
        lambda: reactor.watch(writing, WRITE, ready),
    )
    assert came.wait(20)
    assert seen == []
    os.close(reading)
    os.close(writing)


def test_callback_that_raises_is_logged_and_the_loop_goes_on(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    run(reactor, lambda: 1 // 0, lambda: seen.append(1))
    assert seen == [1]
    assert "ZeroDivisionError" in caplog.text


def test_stop_runs_what_was_asked_before_and_ignores_what_comes_after() -> None:
    before = len(os.listdir("/dev/fd"))
    reactor = Reactor("stopping")
    reactor.start()
    seen: list[int] = []
    for number in range(10):
        reactor.call(partial(seen.append, number))
    reactor.stop()
    reactor.call(lambda: seen.append(99))
    assert seen == list(range(10))
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="counts what one thread did")
def test_idle_reactor_sleeps_until_it_is_needed(reactor: Reactor) -> None:
    sleeps: list[int] = []
    done = threading.Event()

    def look() -> None:
        sleeps.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw)
        if len(sleeps) == 2:
            done.set()

    run(reactor, look, lambda: reactor.after(0.5, look))
    assert done.wait(20)
    assert sleeps[1] - sleeps[0] < 25  # a few are waits for the interpreter's lock; looking every 10 ms would make 50

"""Futures: one a task, whoever asks, and nothing kept for those whom nobody asks any more."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import weakref

import pytest

from penstock import Pipeline, Runtime, task
from penstock.future import Future

pytestmark = pytest.mark.timeout(60)


class Big:
    """Something that can be seen to be gone."""


def test_threads_that_ask_for_the_future_of_one_task_at_once_all_get_its_result() -> None:
    release, ready = threading.Event(), threading.Barrier(9)

    @task
    def hold() -> None:
        release.wait(20)

    @task
    def answer(_: object) -> int:
        return 42

    with Pipeline("p") as p:
        last = answer(hold())
        calls = [last, *[answer.with_options(name=f"also{k}")(last) for k in range(50)]]
    run = p.start()
    results: list[int] = []

    def ask() -> None:
        ready.wait(20)
        futures = [run.future(call) for call in calls]
        results.append(sum(future.result(20) for future in futures))

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    ready.wait(20)
    release.set()
    for asker in askers:
        asker.join(30)
    assert results == [42 * 51] * 8
    assert run.wait().ok


def test_the_future_of_a_waiting_task_is_one_object() -> None:
    with Runtime(workers=1) as runtime:
        runtime.pause()
        future = runtime.submit(task(int))
        assert Future.of(runtime._engine, future.task) is future
        runtime.resume()
        assert future.result(20) == 0


def test_arguments_and_result_go_with_the_last_one_who_holds_them() -> None:
    given = Big()
    with Runtime(workers=1) as runtime:

        def make(_: Big) -> Big:
            return Big()

        future = runtime.submit(make, given)
        argument, result = weakref.ref(given), weakref.ref(future.result(20))
        assert runtime.wait(20)
        del given
        gc.collect()
        assert argument() is None
        assert result() is not None
        del future
        gc.collect()
        assert result() is None


def test_a_call_that_the_user_holds_can_be_asked_for_again() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    with Runtime(workers=1) as runtime:
        call = double.call(4)
        assert runtime.submit(call).result(20) == 8  # type: ignore[arg-type]
        gc.collect()
        assert runtime.submit(double, call).result(20) == 16  # type: ignore[arg-type]


def test_a_future_answers_like_those_of_the_standard_library() -> None:
    release = threading.Event()
    heard: list[object] = []

    def hold() -> str:
        release.wait(20)
        return "held"

    def fail() -> None:
        raise LookupError("nothing")

    with Runtime(workers=2) as runtime:
        held, failed = runtime.submit(task(cpu=0)(hold)), runtime.submit(task(cpu=0)(fail))  # side by side
        assert isinstance(failed.exception(20), LookupError)
        with pytest.raises(concurrent.futures.TimeoutError):
            held.result(0)
        with pytest.raises(concurrent.futures.TimeoutError):
            held.exception(0)
        held.add_done_callback(heard.append)
        assert concurrent.futures.wait([held, failed], 0).done == {failed}
        first = concurrent.futures.wait([held, failed], 20, concurrent.futures.FIRST_EXCEPTION)
        assert first.done == {failed}
        release.set()
        assert set(concurrent.futures.as_completed([held, failed], 20)) == {held, failed}
        assert not held.cancel()
        assert (held.done(), held.running(), held.cancelled()) == (True, False, False)
        assert runtime.wait(20)
    assert heard == [held]
    held.add_done_callback(heard.append)
    assert heard == [held, held]


def test_cancelling_tells_callbacks_and_waiters_once() -> None:
    heard: list[object] = []
    with Runtime(workers=1) as runtime:
        runtime.pause()
        future = runtime.submit(int)
        future.add_done_callback(heard.append)
        assert future.cancel()
        assert future.cancel()
        assert heard == [future]
        assert concurrent.futures.wait([future], 0).done == {future}
        with pytest.raises(concurrent.futures.CancelledError):
            future.exception(0)

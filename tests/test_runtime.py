"""The long-lived runtime: futures, maps and batches."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import Any

import numpy as np
import pytest

from penstock import Runtime, task, tidying
from penstock.errors import Cancelled, CycleError, OptionError, ResourceError, TaskFailed

pytestmark = pytest.mark.timeout(60)


def test_submit_gives_a_future_of_the_value_or_the_error() -> None:
    def divide(a: float, b: float) -> float:
        return a / b

    with Runtime(workers=2) as runtime:
        good, bad = runtime.submit(divide, 6, b=3), runtime.submit(divide, 1, 0)
        assert good.result(20) == 2
        assert isinstance(bad.exception(20), ZeroDivisionError)
        assert (good.attempts, good.name) == (1, "divide")
        assert concurrent.futures.wait([good, bad], 20).not_done == set()


def test_map_keeps_the_order_of_its_arguments() -> None:
    with Runtime(workers=2) as runtime:
        futures = runtime.map(pow, range(50), [2] * 50)
        assert [future.result(20) for future in futures] == [k * k for k in range(50)]


def test_calls_may_be_arguments_of_later_submissions() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    with Runtime(workers=1) as runtime:
        call = double.call(4)
        assert runtime.submit(double, call).result(20) == 16  # type: ignore[arg-type]


def test_a_future_can_be_cancelled_while_it_waits_and_says_why_it_does() -> None:
    release, started = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(20)

    with Runtime(workers=1) as runtime:
        first = runtime.submit(hold)
        assert started.wait(20)
        second = runtime.submit(pow, 2, 2)
        assert first.running()
        assert second.why() == "'pow' is ready, but all 1 workers are busy."
        assert second.cancel()
        assert not first.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            second.result(20)
        release.set()
        assert first.result(20) is None


def test_priorities_hold_among_what_waits() -> None:
    order: list[int] = []
    release, started = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(20)

    with Runtime(workers=1, policy="priority") as runtime:
        runtime.submit(hold)
        assert started.wait(20)
        for priority in (3, 1, 2):
            runtime.submit(task(priority=priority)(order.append), priority)
        release.set()
        assert runtime.wait(20)
    assert order == [1, 2, 3]


def test_a_long_task_in_a_workers_hand_does_not_keep_short_ones_waiting_behind_it() -> None:
    """Warm the workers up with tiny tasks, so that one takes many at once, one of which then hangs. Again and again: the
    other may look for what is left at any instant, also while the first is taking them."""
    with Runtime(workers=2) as runtime:
        runtime.submit_many(int, [(k,) for k in range(20_000)], cpu=0).wait(20)
        for _ in range(200):
            release, others_ran = threading.Event(), threading.Event()
            ran: list[int] = []

            def tiny(k: int, ran: list[int] = ran, others_ran: threading.Event = others_ran) -> None:
                ran.append(k)
                if len(ran) == 399:
                    others_ran.set()

            def hang(k: int, release: threading.Event = release) -> None:
                release.wait(20)

            functions = [tiny] * 400
            functions[100] = hang
            batch = runtime.submit_many(functions, [(k,) for k in range(400)], cpu=0)
            assert others_ran.wait(15)
            release.set()
            assert batch.wait(20)
            assert sorted(ran) == [k for k in range(400) if k != 100]


def test_submit_many_runs_a_graph_given_as_arrays_and_passes_results_along() -> None:
    def total(*values: int) -> int:
        return 1 + sum(values)

    indptr = np.array([0, 0, 1, 2, 4])
    indices = np.array([~0, ~0, ~1, ~2])  # a diamond
    with Runtime(workers=2) as runtime:
        batch = runtime.submit_many(total, indptr=indptr, indices=indices, pass_results=True)
        assert batch.results() == [1, 2, 2, 5]
        after = runtime.submit_many(total, indptr=np.array([0, 1]), indices=np.array([batch.ids[3]]), pass_results=True)
        assert after.results() == [6]
        assert (len(batch), batch[3], list(batch)) == (4, 5, [1, 2, 2, 5])


def test_submit_many_takes_a_priority_for_each_task() -> None:
    order: list[int] = []
    with Runtime(workers=1, policy="priority") as runtime:
        runtime.pause()
        batch = runtime.submit_many(order.append, [(k,) for k in range(5)], priority=np.array([4.0, 3, 2, 1, 0]))
        runtime.resume()
        assert batch.wait(20)
    assert order == [4, 3, 2, 1, 0]


def test_submit_many_refuses_what_does_not_fit_together() -> None:
    with Runtime(workers=1) as runtime:
        with pytest.raises(OptionError, match="arguments: 2, count: 3"):
            runtime.submit_many(pow, [(1, 2), (2, 2)], count=3)
        with pytest.raises(CycleError):
            runtime.submit_many(pow, indptr=np.array([0, 1, 2]), indices=np.array([~1, ~0]), pass_results=True)
        with pytest.raises(ResourceError, match="task 'pow' asks for memory=900TiB"):
            runtime.submit_many(pow, count=1, memory="900TiB")
        assert runtime.submit(pow, 2, 3).result(20) == 8  # and nothing of them is left


def test_the_first_failure_of_a_batch_is_raised_with_its_cause() -> None:
    def odd(k: int) -> int:
        if k % 2 == 0:
            raise ValueError(f"{k} is even")
        return k

    with Runtime(workers=2) as runtime:
        batch = runtime.submit_many(odd, [(1,), (2,), (3,)])
        with pytest.raises(TaskFailed, match="2 is even") as caught:
            batch.results()
        assert isinstance(caught.value.__cause__, ValueError)
        assert batch[2] == 3


def test_retries_of_a_batch_follow_its_options() -> None:
    seen: list[int] = []

    def flaky(k: int) -> int:
        seen.append(k)
        if seen.count(k) == 1:
            raise OSError("first time")
        return k

    with Runtime(workers=2) as runtime:
        assert runtime.submit_many(flaky, [(k,) for k in range(3)], retries=1).results() == [0, 1, 2]
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]


def test_a_closed_runtime_takes_no_more_tasks() -> None:
    with Runtime(workers=1) as runtime:
        pass
    with pytest.raises(Cancelled, match="takes no more tasks"):
        runtime.submit(pow, 2, 2)


def test_leaving_by_an_exception_cancels_what_waits() -> None:
    release, started = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(20)

    def leave() -> concurrent.futures.Future[int]:
        with Runtime(workers=1) as runtime:
            runtime.submit(hold)
            assert started.wait(20)
            waiting.append(runtime.submit(pow, 2, 2))
            release.set()
            raise KeyError("out")

    waiting: list[concurrent.futures.Future[int]] = []
    with pytest.raises(KeyError):
        leave()
    assert waiting[0].cancelled() or waiting[0].result(20) == 4


def test_many_threads_may_submit_at_once() -> None:
    with Runtime(workers=2) as runtime:
        totals: list[int] = []

        def client(base: int) -> None:
            futures = [runtime.submit(pow, base, k % 5) for k in range(200)]
            totals.append(sum(future.result(20) for future in futures))

        clients = [threading.Thread(target=client, args=(base,)) for base in range(4)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(30)
    assert sorted(totals) == sorted(40 * sum(base**k for k in range(5)) for base in range(4))


def test_tasks_that_idle_workers_take_over_run_once_each() -> None:
    runs = [0] * 3_000
    with Runtime(workers=4) as runtime:

        def count(k: int) -> int:
            runs[k] += 1  # nobody else's, unless a task runs twice
            return k if k % 100 else sum(range(20_000))  # a long one, behind which others lie in a worker's hand

        for _ in range(3):
            futures = runtime.map(count, range(len(runs)))
            assert sum(1 for k, future in enumerate(futures) if future.result(30) == k) >= len(runs) - 30
    assert runs == [3] * len(runs)


def test_a_result_that_another_thread_changes_meanwhile_is_looked_into_all_the_same() -> None:
    shared: dict[str, object] = {"list": [], "dict": {}, "set": set()}
    stop = threading.Event()

    def change() -> None:
        some_list, some_dict, some_set = [], {}, set()  # type: ignore[var-annotated]
        shared.update(list=some_list, dict=some_dict, set=some_set)
        while not stop.is_set():
            for k in range(200):
                some_list.append((k, object()))
                some_dict[k] = [k]
                some_set.add(k)
            some_list.clear()
            some_dict.clear()
            some_set.clear()

    changer = threading.Thread(target=change)
    changer.start()
    try:
        with Runtime(workers=3) as runtime:
            futures = [runtime.submit(lambda: shared) for _ in range(2_000)]
            assert all(future.result(30) is shared for future in futures)
    finally:
        stop.set()
        changer.join(30)
    assert not changer.is_alive()


def test_an_idle_runtime_uses_no_cpu() -> None:
    release, started = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(20)

    with Runtime(workers=2) as runtime:
        runtime.submit(pow, 2, 2).result(20)
        assert runtime.wait(20)
        before = time.process_time()
        release.wait(0.5)
        assert time.process_time() - before < 0.05
        release.set()


def test_map_takes_calls_that_have_not_been_submitted() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    with Runtime(workers=1) as runtime:
        futures = runtime.map(double, [double.call(1), double.call(2)])
        assert [future.result(20) for future in futures] == [4, 8]
        assert runtime.map(double, []) == []


def test_the_timeout_of_a_batch_is_for_all_of_it_together() -> None:
    gate, arrived = threading.Semaphore(0), threading.Semaphore(0)

    def wait() -> None:
        arrived.release()
        gate.acquire(timeout=20)

    with Runtime(workers=1) as runtime:
        batch = runtime.submit_many(wait, count=3)
        waited: list[bool] = []
        waiting = threading.Event()

        def wait_for_all() -> None:
            waiting.set()
            waited.append(batch.wait(0.5))

        waiter = threading.Thread(target=wait_for_all)
        waiter.start()
        assert waiting.wait(20)
        began = time.monotonic()
        while waiter.is_alive() and time.monotonic() - began < 10:
            arrived.acquire(timeout=20)
            waiter.join(0.3)  # one task ends every 0.3 s, so no single one takes as long as the timeout
            gate.release()
        waiter.join(20)
        gate.release(3)
        assert batch.wait(20)
    assert waited == [False]


def test_closing_a_paused_runtime_ends_the_pause() -> None:
    with Runtime(workers=1) as runtime:
        runtime.pause()
        future = runtime.submit(pow, 2, 3)
    assert future.result(0) == 8
    runtime.close()  # once more does nothing


def test_a_close_that_is_interrupted_cancels_what_runs_and_stops_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    runtime = Runtime(workers=1)
    future = runtime.submit(task(executor="processes")(time.sleep), 1000)
    monkeypatch.setattr(runtime._engine.idle, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        runtime.close()
    assert future.cancelled()
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("penstock")]
    for thread in ours:  # on a machine full of other work close() may have stopped waiting for them
        thread.join(30)
    assert [thread.name for thread in ours if thread.is_alive()] == []


def test_one_runtime_serves_callbacks_that_submit_more() -> None:
    done = threading.Event()
    results: list[int] = []

    with Runtime(workers=1) as runtime:

        def more(future: concurrent.futures.Future[int]) -> None:
            results.append(future.result())
            if len(results) == 50:
                done.set()
            else:
                runtime.submit(len, results).add_done_callback(more)

        runtime.submit(len, results).add_done_callback(more)
        assert done.wait(20)
    assert results == list(range(50))


def test_what_a_cancelled_thread_returns_late_is_not_passed_to_a_join_of_any() -> None:
    started, release = threading.Event(), threading.Event()

    def late() -> str:
        started.set()
        release.wait(20)
        return "late"

    with Runtime(workers=2, limits={"licence": 1}) as runtime:
        # The second starts when the first one's thread has returned.
        sources = runtime.submit_many([late, lambda: "in time"], cpu=0, resources={"licence": 1})
        join = runtime.submit_many(
            lambda *values: values,
            indptr=np.array([0, 2]),
            indices=np.array(sources.ids),
            pass_results=True,
            needs="any",
            cpu=0,
        )
        assert started.wait(20)
        runtime._engine.cancel([sources.ids[0]])
        release.set()
        assert join.results() == [(None, "in time")]


def test_a_runtime_lets_go_of_old_events_and_names_but_of_nothing_that_a_reader_has_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tidying, "BEHIND", 0)
    monkeypatch.setattr("penstock.runtime.KEPT_EVENTS", 1000)
    gate, seen = threading.Event(), []

    def slow(event: Any) -> None:
        gate.wait(30)
        seen.append(event.kind)

    for hook in (None, slow):
        with Runtime(workers=1, on_event=hook) as runtime:
            kept = runtime.submit(abs, -5)
            assert kept.result() == 5
            for _ in range(12):
                assert all(future.result() == 1 for future in [runtime.submit(abs, -1) for _ in range(4096)])
            log = runtime.view.log
            if hook is None:
                assert log.first > 100_000
                assert runtime.view.names[7] == runtime.view.names[8] == "a task that ended long ago"
            else:
                assert log.first == 0
                gate.set()
            assert (kept.name, kept.result()) == ("abs", 5)
            assert runtime.submit(abs, -2).name != "abs"
            rows = len(log)
    assert len(seen) >= rows

"""What a runtime lets go of while it lives: tasks that ended long ago, and batches that were released."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from penstock import Runtime, task, tidying
from penstock.errors import Cancelled, OptionError, TaskFailed
from penstock.policies import resolve
from penstock.states import State

pytestmark = pytest.mark.timeout(120)

BLOCK = 4096
"""Tasks whose memory the core gives back together; the first 3072 of a run stay."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "BEHIND", 0)
    monkeypatch.setattr(tidying, "EVERY", 1024)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime(workers=2) as runtime:
        yield runtime


def identity(number: int) -> int:
    return number


def run_many(runtime: Runtime, count: int = 2 * BLOCK) -> None:
    """Run tasks, few at a time: what the runtime lets go of as tasks come is what has ended by then."""
    for _ in range(count // 512):
        assert [f.result(30) for f in [runtime.submit(identity, k) for k in range(512)]] == list(range(512))


def is_forgotten(runtime: Runtime, number: int) -> bool:
    """Return whether the core knows no more of a task than how it ended."""
    return runtime._engine.scheduler.attempt(number) == 0 and runtime._engine.scheduler.state(number) >= State.SUCCEEDED


def test_the_core_forgets_tasks_whose_futures_have_their_results(runtime: Runtime) -> None:
    run_many(runtime, 3 * BLOCK)
    forgotten = [is_forgotten(runtime, k) for k in range(3 * BLOCK)]
    assert not any(forgotten[:3072])  # they share pages with others
    assert all(forgotten[3072 : 3072 + BLOCK])
    scheduler = runtime._engine.scheduler
    assert scheduler.count_state(0, len(scheduler), int(State.SUCCEEDED)) == 3 * BLOCK
    scheduler.check()


def test_a_future_says_the_same_of_its_task_when_that_has_been_forgotten(runtime: Runtime) -> None:
    tries: list[int] = []

    @task(retries=2)
    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return "done"

    def divide() -> float:
        return 1 / 0

    run_many(runtime, BLOCK)
    good, bad = runtime.submit(flaky), runtime.submit(divide)
    assert good.result(20) == "done"
    with pytest.raises(ZeroDivisionError):
        bad.result(20)
    before = [(f.name, f.attempts, f.usage, f.why(), f.running(), f.done()) for f in (good, bad)]
    run_many(runtime)
    assert is_forgotten(runtime, good.task)
    assert is_forgotten(runtime, bad.task)
    assert [(f.name, f.attempts, f.usage, f.why(), f.running(), f.done()) for f in (good, bad)] == before
    assert before[0][:2] == ("flaky", 3)
    assert before[1][:2] == ("divide", 1)
    assert before[0][3] == "'flaky' has succeeded."
    assert before[1][3] == "'divide' failed (EXCEPTION)."
    assert not good.cancel()
    assert not bad.cancel()
    runtime.set_priority(good, -5)  # too late, and no harm
    assert good.result() == "done"
    assert runtime._engine.scheduler.late_reports == 0


def test_a_cancelled_task_is_forgotten_too(runtime: Runtime) -> None:
    run_many(runtime, BLOCK)
    runtime.pause()
    future = runtime.submit(identity, 1)
    assert future.cancel()
    runtime.resume()
    run_many(runtime)
    assert is_forgotten(runtime, future.task)
    assert future.cancelled()
    assert future.why() == "'identity-4097' cancelled (CANCELLED)."
    assert runtime._engine.scheduler.state(future.task) == State.CANCELLED


def test_a_task_that_runs_keeps_its_block_and_only_that(runtime: Runtime) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        started.set()
        go_on.wait()
        return "slow"

    run_many(runtime, 2 * BLOCK)
    future = runtime.submit(task(slow, cpu=0))
    try:
        assert started.wait(20)
        run_many(runtime)
        assert future.running()
        assert future.why() == f"{future.name!r} is running, attempt 1."
        assert is_forgotten(runtime, future.task - BLOCK)
        assert is_forgotten(runtime, future.task + BLOCK)
        assert not is_forgotten(runtime, future.task - 1)
    finally:
        go_on.set()
    assert future.result(20) == "slow"
    run_many(runtime)
    assert is_forgotten(runtime, future.task)


def test_a_call_is_known_as_long_as_somebody_holds_it(runtime: Runtime) -> None:
    @task
    def made(number: int) -> list[int]:
        return [number]

    @task
    def longer(numbers: list[int], number: int) -> list[int]:
        return [*numbers, number]

    run_many(runtime, BLOCK)
    held = made.call(1)
    dropped = [longer.call(held, 2), longer.call(made.call(3), 4)]
    futures = [runtime.submit(call) for call in dropped]
    numbers = [runtime._engine.id_of(call) for call in (held, *dropped)]
    assert [future.result(20) for future in futures] == [[1, 2], [3, 4]]
    said = [(f.name, f.attempts, f.why()) for f in futures]
    del dropped
    gc.collect()
    run_many(runtime)
    assert [is_forgotten(runtime, number) for number in numbers] == [False, False, False]  # one of them keeps the block
    assert runtime._engine.results[numbers[1]] is None
    assert runtime._engine.results[numbers[0]] == [1]
    assert runtime.submit(longer.call(held, 5)).result(20) == [1, 5]
    assert runtime.submit(held).result(20) == [1]
    assert runtime._engine.id_of(held) == numbers[0]
    del held
    gc.collect()
    run_many(runtime)
    assert [is_forgotten(runtime, number) for number in numbers] == [True, True, True]
    assert [(f.name, f.attempts, f.why()) for f in futures] == said
    assert not runtime._engine.ids
    assert not runtime._engine._calls


def test_what_a_task_submits_or_returns_is_forgotten_with_it(runtime: Runtime) -> None:
    @task
    def leaf(number: int) -> int:
        return number

    @task
    def tree(number: int) -> list[object]:
        return [leaf(number), leaf(number + 1)]

    run_many(runtime, BLOCK)
    first = len(runtime._engine.scheduler)
    assert runtime.submit(tree, 5).result(20) == [5, 6]
    run_many(runtime)
    assert [is_forgotten(runtime, number) for number in range(first, first + 3)] == [True, True, True]
    assert not runtime._engine.ids
    assert not runtime._engine._children
    assert len(runtime._engine._by_name) < BLOCK
    assert len(runtime._engine._used_names) < BLOCK


def test_a_call_of_a_task_that_runs_long_is_let_go_of_later(runtime: Runtime) -> None:
    started, go_on = threading.Event(), threading.Event()

    @task(cpu=0)
    def slow() -> str:
        started.set()
        go_on.wait()
        return "slow"

    run_many(runtime, BLOCK)
    future = runtime.submit(slow.call())
    number = future.task
    try:
        assert started.wait(20)
        run_many(runtime)
        assert list(runtime._engine.ids.values()) == [number]
    finally:
        go_on.set()
    assert future.result(20) == "slow"
    run_many(runtime)
    assert is_forgotten(runtime, number)
    assert not runtime._engine.ids


def test_a_runtime_with_forgotten_tasks_is_set_and_closed_like_any_other() -> None:
    runtime = Runtime(workers=1)
    started, go_on = threading.Event(), threading.Event()
    run_many(runtime)
    blocker = runtime.submit(lambda: (started.set(), go_on.wait(30)))
    waiting = [runtime.submit(identity, k) for k in range(10)]
    assert started.wait(20)
    runtime.set_policy(resolve("hybrid"))
    runtime.set_limits({"cpu": 2})
    assert runtime._engine.scheduler.open_tasks([State.RUNNING]) == [blocker.task]
    go_on.set()
    runtime.close(cancel=True)
    for future in waiting:
        assert future.done()
    runtime._engine.scheduler.check()
    with pytest.raises(Cancelled):
        runtime.submit(identity, 1)


def test_nothing_of_a_forgotten_task_is_left_in_the_tables(runtime: Runtime) -> None:
    @task(retries=1, timeout="30s", deadline="1h")
    def odd(number: int) -> int:
        if number % 50 == 0:
            raise ValueError(number)
        return number

    futures = [runtime.submit(odd, k) for k in range(2 * BLOCK)]
    assert sum(future.exception(30) is not None for future in futures) == 164
    del futures
    run_many(runtime)
    tables = runtime._engine
    assert len(tables.errors) <= 256
    for left in (
        tables.failures,
        tables.usage,
        tables.gathered,
        tables.fell_back,
        tables._waiters,
        tables._rows_before,
    ):
        assert not left
    assert set(tables.functions[3072 : 3072 + BLOCK]) == {None}
    assert is_forgotten(runtime, 3072)


def test_a_batch_lets_go_of_everything_when_it_is_released(runtime: Runtime) -> None:
    run_many(runtime, BLOCK)
    batch = runtime.submit_many(identity, [(k,) for k in range(2 * BLOCK)])
    after = runtime.submit_many(identity, indptr=np.array([0, 1]), indices=np.array([batch.ids[-1]]), pass_results=True)
    assert after.results() == [2 * BLOCK - 1]
    batch.release()
    batch.release()  # once is enough
    assert is_forgotten(runtime, batch.ids[BLOCK])
    assert set(runtime._engine.results[batch.ids.start : batch.ids.stop]) == {None}
    assert after.results() == [2 * BLOCK - 1]
    for ask in (batch.results, lambda: batch[0], lambda: list(batch)):
        with pytest.raises(OptionError, match="has been released, so its results are gone; take them before"):
            ask()
    assert len(batch) == 2 * BLOCK
    assert batch.wait(0)


def test_a_batch_in_a_with_block_is_released_at_its_end_whatever_became_of_it(runtime: Runtime) -> None:
    def odd(number: int) -> int:
        if number % 2:
            return number
        raise ValueError(number)

    with runtime.submit_many(odd, [(k,) for k in range(10)], retries=1) as batch, pytest.raises(TaskFailed):
        batch.results()
    assert not runtime._engine.errors
    assert not runtime._engine.failures
    with pytest.raises(KeyboardInterrupt), runtime.submit_many(threading.Event().wait, [(30,)] * 4, cpu=2) as batch:
        raise KeyboardInterrupt
    assert batch.wait(0)
    states = [State(runtime._engine.scheduler.state(number)) for number in batch.ids]
    assert states == [State.CANCELLED] * 4


BEFORE: set[threading.Thread] = set()
"""Threads that another test has left in a function that does not return."""


@pytest.fixture(autouse=True)
def _note_threads() -> None:
    BEFORE.clear()
    BEFORE.update(threading.enumerate())


def ours() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("penstock") and t not in BEFORE]


def penstock_threads() -> list[str]:
    return [thread.name for thread in ours()]


def wait_for_no_threads() -> None:
    for thread in ours():
        thread.join(30)
    assert penstock_threads() == []


def test_a_runtime_that_is_dropped_runs_what_it_has_and_stops_its_threads() -> None:
    go_on = threading.Event()

    def last() -> str:
        go_on.wait()
        return "last"

    runtime = Runtime(workers=2, name="dropped")
    ended = weakref.ref(runtime._engine)
    runtime.pause()
    futures = [runtime.submit(identity, k) for k in range(100)] + [runtime.submit(last)]
    with pytest.warns(ResourceWarning, match="runtime 'dropped' was never closed; use it in a with block, or call"):
        del runtime
    assert "penstock-control" in penstock_threads()
    go_on.set()
    assert [future.result(30) for future in futures] == [*range(100), "last"]
    wait_for_no_threads()
    del futures
    gc.collect()
    assert ended() is None


def test_a_runtime_that_is_dropped_unused_leaves_nothing() -> None:
    kinds: list[str] = []
    runtime = Runtime(workers=2, on_event=lambda event: kinds.append(event.kind.name))
    with pytest.warns(ResourceWarning, match="never closed"):
        del runtime
    wait_for_no_threads()
    assert [kind for kind in kinds if kind.startswith("RUN")] == ["RUN_STARTED", "RUN_FINISHED"]


def test_a_runtime_that_was_closed_says_nothing_when_it_is_dropped(recwarn: pytest.WarningsRecorder) -> None:
    runtime = Runtime(workers=1)
    assert runtime.submit(identity, 3).result(20) == 3
    runtime.close()
    del runtime
    gc.collect()
    assert not recwarn.list
    assert penstock_threads() == []

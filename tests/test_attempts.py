"""Rules about the attempts of tasks, on real workers: total time, breakers, fallbacks in turn, tenacity, deadlines."""

from __future__ import annotations

import functools
import math
import threading
import time
import traceback
from typing import Any

import pytest
import tenacity

import penstock
from penstock import Breaker, Pipeline, Retry, Runtime, command, task
from penstock.errors import BreakerOpen, Cancelled, OptionError, ResultRefused, TaskFailed
from penstock.observe.events import EventKind
from penstock.states import Cause, State

QUICK = Retry(attempts=3, first_wait_s=0.001, jitter_s=0.0)
LANES = pytest.mark.parametrize("executor", ["threads", "processes"])

pytestmark = pytest.mark.timeout(60)


def run(pipeline: Pipeline, **options: Any) -> penstock.RunResult:
    return pipeline.run(progress=False, **options)


def count(result: penstock.RunResult, kind: EventKind) -> int:
    return int((result.events["kind"] == kind).sum())


def broken(*args: object) -> Any:
    raise ConnectionError("down")


# ----------------------------------------------------------------------------------------------------- fallbacks


@LANES
def test_fallbacks_are_tried_in_turn_and_a_value_needs_no_call(executor: Any) -> None:
    @task(executor=executor, retries=1, retry=QUICK, fallback=[broken, broken, penstock.value(7)])
    def first(x: int) -> int:
        return int(broken())

    with Pipeline("p") as p:
        got = first(1)
    result = run(p)
    assert result.ok
    assert result[got] == 7
    assert count(result, EventKind.FALLBACK) == 3
    assert result.attempts["first"] == 5


def test_a_task_whose_fallbacks_all_fail_has_the_last_ones_error() -> None:
    def other(x: int) -> int:
        raise KeyError("other")

    with Pipeline("p") as p:
        task(fallback=[broken, other])(broken)(1)
    result = run(p)
    assert isinstance(result.errors["broken"], KeyError)
    assert result.attempts["broken"] == 3


def test_a_command_falls_back_to_commands_in_turn_and_to_a_value() -> None:
    with Pipeline("p") as p:
        a: Any = command("a", ["false"], fallback=[["false"], ["echo", "second"]])
        b: Any = command("b", ["false"], fallback=[["false"], penstock.value("said")])
        c: Any = command("c", ["false"], fallback=penstock.value("at once"))
    result = run(p)
    assert (result[a], result[b], result[c]) == ("second\n", "said", "at once")


# ------------------------------------------------------------------------------------------------- allowed failure


@LANES
def test_what_depends_on_a_task_that_may_fail_runs_with_none_in_its_place(executor: Any) -> None:
    @task(executor=executor, allow_failure=True)
    def extra() -> int:
        return int(broken())

    @task
    def both(a: int, b: list[int | None]) -> tuple[int, list[int | None]]:
        return a, b

    with Pipeline("p") as p:
        needs_it = extra.with_options(name="never", after=[task(broken)()])()
        got = both(1, [extra(), needs_it])
    result = run(p)
    assert result[got] == (1, [None, None])
    assert result.states["extra"] == State.FAILED
    assert result.states["never"] == State.UPSTREAM_FAILED
    assert not result.ok  # for `broken`


def test_a_run_in_which_only_allowed_tasks_failed_is_ok_and_goes_on_under_stop() -> None:
    with Pipeline("p") as p:
        task(allow_failure=True)(broken)()
        after = task(lambda: 1).with_options(priority=1)()
    result = run(p, workers=1, on_failure="stop")
    assert result.ok
    assert result[after] == 1
    with pytest.raises(TaskFailed, match="down"):
        result["broken"]


# --------------------------------------------------------------------------------------------------- on_failure


def test_finish_running_lets_what_runs_end_and_stop_ends_it() -> None:
    begun, gate = threading.Event(), threading.Event()

    @task(cpu=0)
    def held() -> str:
        begun.set()
        assert gate.wait(30)
        return "done"

    @task(cpu=0)
    def fails() -> None:
        begun.wait(30)
        raise ValueError("now")

    def watch(event: Any) -> None:
        if how == "finish_running" and event.kind is EventKind.CANCELLED and event.name == "later":
            gate.set()

    for how, state in (("finish_running", State.SUCCEEDED), ("stop", State.CANCELLED)):
        begun.clear()
        gate.clear()
        with Pipeline("p") as p:
            held()
            fails()
            task(name="later", cpu=0)(lambda: 1).with_options(after=[p["held"]])()
        result = run(p, workers=2, on_failure=how, on_event=watch)
        gate.set()
        assert result.states["held"] == state
        assert result.states["later"] in (State.CANCELLED, State.UPSTREAM_FAILED)
        assert result.states["fails"] == State.FAILED


# ----------------------------------------------------------------------------------------------------- time limits


def test_no_attempt_begins_after_the_total_time_of_a_retry_rule() -> None:
    @task(retry=Retry(attempts=100, first_wait_s=0.05, factor=1, jitter_s=0, total_s=0.2))
    def always() -> None:
        broken()

    with Pipeline("p") as p:
        always()
    result = run(p)
    assert 1 <= result.attempts["always"] <= 5
    assert result.causes["always"] == Cause.EXCEPTION


@LANES
def test_total_timeout_ends_the_attempt_that_runs_and_leaves_time_for_the_fallback(executor: Any) -> None:
    @task(executor=executor, total_timeout=1, retries=50, retry=QUICK, fallback=penstock.value("instead"))
    def replaced(warm: str) -> Any:
        return _second_hangs(30)

    with Pipeline("p") as p:
        # Their worker process has started, so the time goes by in the second attempt, not on the way to the first.
        warm = task(executor=executor, name="warm")(str)
        got = replaced(warm(1))
        replaced.with_options(name="lost", fallback=None)(warm(got))
    result = run(p, workers=1)
    assert result[got] == "instead"
    assert result.states["lost"] == State.FAILED
    assert result.causes["lost"] == Cause.TIMEOUT
    assert "total_timeout of 1 s" in str(result.errors["lost"])


def _second_hangs(seconds: float) -> None:
    """Fail at once, then take `seconds`, but end early when given up in a thread."""
    if penstock.current().attempt == 1:
        broken()
    attempt, until = penstock.current(), time.monotonic() + min(seconds, 2)
    while time.monotonic() < until:
        time.sleep(0.01)
        engine = getattr(attempt, "_engine", None)
        if engine is not None and not engine.is_running(attempt.task, attempt.attempt):
            return


def test_total_timeout_also_ends_a_task_that_waits_for_room_again() -> None:
    gate = threading.Event()
    held: list[Any] = []

    @task(priority=-1)
    def hog() -> None:
        assert gate.wait(30)

    with Runtime(workers=1) as runtime:

        @task(total_timeout=0.2, retries=1, retry=Retry(attempts=2, first_wait_s=0.05, jitter_s=0))
        def starved() -> None:
            held.append(runtime.submit(hog))  # which has the worker next
            broken()

        with pytest.raises(TimeoutError, match="total_timeout"):
            runtime.submit(starved).result(30)
        gate.set()
        held[0].result(30)
    assert len(held) == 1


def test_the_runs_own_timeout_fails_what_runs_and_cancels_what_waits() -> None:
    @task(executor="processes", cpu=0)
    def hang() -> None:
        threading.Event().wait()

    with Pipeline("p") as p:
        held = hang()
        task(name="next")(lambda x: x)(held)
        command("program", ["sleep", "1000"], cpu=0)
    result = run(p, timeout="2.5s")
    assert result.timed_out
    assert not result.ok
    assert {name: state.name for name, state in result.states.items()} == {
        "hang": "FAILED",
        "next": "CANCELLED",
        "program": "FAILED",
    }
    assert result.causes["hang"] == Cause.TIMEOUT
    assert "run's timeout of 2.5 s" in str(result.errors["hang"])
    assert count(result, EventKind.RUN_TIMED_OUT) == 1


@pytest.mark.parametrize("timeout", ["soon", 0, -1, True, float("inf")])
def test_a_runs_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with Pipeline("p") as p, pytest.raises(OptionError, match="timeout"):
        run(p, timeout=timeout)


def test_a_deadline_is_said_to_be_at_risk_and_then_missed() -> None:
    seen = threading.Event()

    def watch(event: Any) -> None:
        if event.kind is EventKind.DEADLINE_MISSED:
            seen.set()

    with Pipeline("p") as p:
        task(deadline=0.1, name="late")(lambda: seen.wait(30))()
        task(deadline=1000, name="in time")(lambda: None)()
    result = run(p, on_event=watch)
    assert result.ok
    late = [EventKind(row["kind"]).name for row in result.events if row["task"] == 0]
    assert [kind for kind in late if "DEADLINE" in kind] == ["DEADLINE_AT_RISK", "DEADLINE_MISSED"]
    assert count(result, EventKind.DEADLINE_MISSED) == 1
    assert "succeeded (late)" in result.table()


# -------------------------------------------------------------------------------------------------------- breaker


@LANES
def test_after_failures_in_a_row_the_rest_go_straight_to_their_fallback(executor: Any) -> None:
    with Pipeline("p") as p:
        calls = [
            task(
                executor=executor, breaker=Breaker("api", failures=3, cool_down_s=1000), fallback=penstock.value(-1),
                name="call", priority=k, resources={"turn": 1},
            )(broken)()
            for k in range(8)
        ]  # fmt: skip
        task(name="bare", breaker=Breaker("api", failures=3, cool_down_s=1000), priority=9, resources={"turn": 1})(
            broken
        )()
        other = task(name="other", breaker="else")(lambda: 1)()
    result = run(p, workers=1, policy="priority", limits={"turn": 1})
    assert [result[call] for call in calls] == [-1] * 8
    assert result[other] == 1
    assert count(result, EventKind.BREAKER_OPENED) == 1
    assert isinstance(result.errors["bare"], BreakerOpen)
    assert "breaker 'api' is open after 3 failures in a row, the last of them ConnectionError: down" in str(
        result.errors["bare"]
    )
    assert result.attempts["bare"] == 0  # its function was never called


def test_a_probe_that_succeeds_after_the_cool_down_closes_the_breaker() -> None:
    up = threading.Event()
    rule = Breaker("api", failures=1, cool_down_s=0.1)

    @task(breaker=rule, retries=0)
    def ask() -> int:
        if not up.is_set():
            broken()
        return 1

    with Runtime(workers=1) as runtime:
        before = -math.inf
        while True:
            asked = time.monotonic()
            try:
                runtime.submit(ask).result(30)
            except ConnectionError:  # the first, or a probe, on a machine so slow that the breaker has cooled down
                assert time.monotonic() - before >= rule.cool_down_s
                before = asked
            except BreakerOpen:
                break
        assert before > 0
        up.set()
        until = time.monotonic() + 30
        while True:
            try:
                assert runtime.submit(ask).result(30) == 1
                break
            except BreakerOpen:
                assert time.monotonic() < until
        assert runtime.submit(ask).result(30) == 1


def test_two_rules_for_one_breaker_are_refused() -> None:
    with Pipeline("p") as p:
        task(breaker="api")(broken)()
        task(breaker=Breaker("api", failures=2))(broken)()
    with pytest.raises(OptionError, match="another task has Breaker"):
        run(p)


# ------------------------------------------------------------------------------------------------------- tenacity


def test_tenacitys_stop_wait_and_retry_rules_are_asked_and_nothing_sleeps_in_a_worker() -> None:
    slept: list[float] = []
    waits: list[tuple[int, float]] = []

    def wait(state: Any) -> float:
        waits.append((state.attempt_number, round(state.idle_for, 3)))
        return 0.01

    rules = tenacity.Retrying(
        sleep=slept.append,
        stop=tenacity.stop_after_attempt(4),
        wait=wait,
        retry=tenacity.retry_if_exception_type(ConnectionError),
    )
    with Pipeline("p") as p:
        task(retry=rules)(broken)()
        task(name="other", retry=rules)(lambda: [][0])()
    result = run(p)
    assert result.attempts == {"broken": 4, "other": 1}
    assert waits == [(1, 0.0), (2, 0.01), (3, 0.02), (4, 0.03)]
    assert slept == []
    assert isinstance(result.errors["other"], IndexError)


@LANES
def test_a_result_that_tenacitys_rule_refuses_is_another_attempt(executor: Any) -> None:
    rules = [tenacity.retry_if_result(_is_small), tenacity.stop_after_attempt(5), tenacity.wait_fixed(0.001)]
    with Pipeline("p") as p:
        grown = task(executor=executor, retry=rules)(_attempt)()
        task(executor=executor, retry=[*rules[:1], tenacity.stop_after_attempt(2)], name="small")(_attempt)()
    result = run(p)
    assert result[grown] == 3
    assert isinstance(result.errors["small"], ResultRefused)
    assert result.causes["small"] == Cause.EXCEPTION


def _attempt() -> int:
    return penstock.current().attempt


def _is_small(value: int) -> bool:
    return value < 3


def test_try_again_asks_for_another_attempt_whatever_the_rule() -> None:
    @task(retry=[tenacity.retry_never, tenacity.stop_after_attempt(3)][1])
    def again() -> int:
        if penstock.current().attempt < 3:
            raise tenacity.TryAgain
        return penstock.current().attempt

    with Pipeline("p") as p:
        got = again()
    assert run(p)[got] == 3


def test_a_rule_that_raises_fails_its_task_and_not_the_run() -> None:
    def wrong(state: Any) -> float:
        raise RuntimeError("in the rule")

    with Pipeline("p") as p:
        task(retry=tenacity.Retrying(wait=wrong))(broken)()
        one = task(name="one")(lambda: 1)()
    result = run(p)
    assert result[one] == 1
    assert "in the rule" in str(result.errors["broken"])
    assert isinstance(result.errors["broken"].__context__, ConnectionError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": tenacity.AsyncRetrying()}, "it is asynchronous"),
        ({"retry": tenacity.Retrying(before_sleep=print)}, "it has before_sleep="),
        ({"retry": tenacity.Retrying(retry_error_callback=print)}, "it has retry_error_callback="),
        ({"retry": [tenacity.wait_none(), tenacity.wait_none()]}, "two wait rules"),
        ({"retry": tenacity.stop_after_attempt(2), "retries": 2}, "tenacity's own rules"),
        ({"retry": []}, "a penstock.Retry"),
        ({"breaker": 3}, "a name, or a penstock.Breaker"),
        ({"allow_failure": "yes"}, "True or False"),
        ({"total_timeout": "soon"}, "total_timeout"),
        ({"fallback": [3]}, "penstock.value(x)"),
    ],
)
def test_options_that_are_not_allowed_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        task(**options)(len)
    assert message in str(caught.value)
    assert "task 'len'" in str(caught.value)


# --------------------------------------------------------------------------------------------------------- causes


@pytest.mark.parametrize("watched", [False, True], ids=["plain", "watched"])
@LANES
def test_an_exceptions_traceback_has_the_users_frames_only(executor: Any, watched: bool) -> None:
    options: dict[str, Any] = {"breaker": "b"} if watched else {}
    with Pipeline("p") as p:
        task(executor=executor, **options)(_calls_broken)()
    error = run(p).errors["_calls_broken"]
    text = "".join(traceback.format_exception(error))
    assert "_calls_broken" in text
    assert "in broken" in text
    assert "/penstock/" not in text.replace(__file__, "")


def _calls_broken() -> None:
    broken()


def test_a_lost_process_is_told_with_its_signal_or_exit_code() -> None:
    with Pipeline("p") as p:
        task(executor="processes", name="killed")(_kill_me)()
        task(executor="processes", name="left")(functools.partial(_leave, 3))()
    result = run(p)
    for name, code, number, said in (
        ("killed", None, 9, "was killed by signal 9 (SIGKILL)"),
        ("left", 3, None, "exited with code 3"),
    ):
        with pytest.raises(TaskFailed, match="LOST") as caught:
            result[name]
        assert (caught.value.exit_code, caught.value.signal) == (code, number)
        assert said in str(caught.value)
        assert caught.value.cause is Cause.LOST


def _kill_me() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def _leave(code: int) -> None:
    import os

    os._exit(code)


def test_a_cancelled_task_raises_cancelled_and_what_needed_it_says_upstream() -> None:
    gate = threading.Event()
    with Pipeline("p") as p:
        first = task(name="first")(lambda: gate.wait(30))()
        task(name="second")(lambda x: x)(first)
    with p.start() as live:
        live.cancel(first)
        gate.set()
        result = live.wait()
    assert result.states["first"] == State.CANCELLED
    with pytest.raises(Cancelled):
        result[first]
    with pytest.raises(TaskFailed, match="UPSTREAM"):
        result["second"]

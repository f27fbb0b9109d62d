"""Pipelines on real workers: values, failures, control while they run, and the result."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock import Pipeline, Retry, task
from penstock.errors import Cancelled, OptionError, ResourceError, ResultError, TaskFailed
from penstock.observe.events import EventKind
from penstock.states import Cause, State

QUICK = Retry(attempts=3, first_wait_s=0.01, jitter_s=0.0)

pytestmark = pytest.mark.timeout(60)


@task
def one() -> int:
    return 1


@task
def add(*values: int) -> int:
    return sum(values)


@task
def fail(message: str) -> int:
    raise ValueError(message)


def kinds(result: penstock.RunResult, name: str) -> list[EventKind]:
    number = list(result.states).index(name)
    return [EventKind(row["kind"]) for row in result.events if row["task"] == number and row["kind"] != 1]


def test_values_pass_along_the_edges_and_results_are_found_by_call_and_by_name() -> None:
    with Pipeline("values") as p:
        a = one()
        b = add(a, a, 3)
        c = add(*[a, b])
    result = p.run(progress=False)
    assert result.ok
    assert (result[a], result[b], result["add-2"]) == (1, 5, 6)
    assert dict(result) == {"one": 1, "add": 5, "add-2": 6}
    assert c in result
    assert repr(result) == "<RunResult 'values': 3 succeeded>"
    assert kinds(result, "add") == [EventKind.READY, EventKind.STARTED, EventKind.SUCCEEDED]


def test_a_pipeline_can_run_again_and_twice_at_once() -> None:
    with Pipeline("again") as p:
        last = add(one(), 1)
    runs = [p.start(), p.start()]
    assert [run.wait()[last] for run in runs] == [2, 2]
    assert p.run(progress=False)[last] == 2


def test_an_empty_pipeline_ends_at_once() -> None:
    result = Pipeline("empty").run(progress=False)
    assert result.ok
    assert dict(result) == {}


def test_a_failure_ends_what_needs_it_and_nothing_else() -> None:
    with Pipeline("p") as p:
        bad = fail("no such file")
        lost = add(bad, 1)
        fine = one()
    result = p.run(progress=False)
    assert not result.ok
    assert result.states == {"fail": State.FAILED, "add": State.UPSTREAM_FAILED, "one": State.SUCCEEDED}
    assert result[fine] == 1
    with pytest.raises(
        TaskFailed, match=r"task 'fail' failed after 1 attempt \(EXCEPTION\): ValueError: no such file"
    ) as caught:
        result[bad]
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(TaskFailed, match=r"task 'add' did not run \(UPSTREAM\): 'fail' ended without a result"):
        result[lost]
    with pytest.raises(ResultError, match="has no task 'nothing'"):
        result["nothing"]


def test_a_flaky_task_succeeds_through_retries_that_hold_no_worker() -> None:
    failures = iter([OSError("busy"), OSError("busy")])
    between = threading.Event()

    # One of the two waits is enough for the other task's start, however slow the machine.
    @task(retry=Retry(attempts=3, first_wait_s=0.5, factor=1, jitter_s=0.0))
    def flaky() -> str:
        for error in failures:
            raise error
        assert between.is_set()  # the only worker ran the other task during a backoff
        return "done"

    @task(priority=1)
    def other() -> None:
        between.set()

    with Pipeline("p") as p:
        call = flaky()
        other()
    result = p.run(workers=1, policy="priority", progress=False)
    assert result[call] == "done"
    assert result.attempts["flaky"] == 3
    assert kinds(result, "flaky").count(EventKind.RETRYING) == 2


def test_only_the_given_exceptions_are_retried() -> None:
    @task(retries=5, retry=QUICK, retry_on=OSError)
    def wrong() -> None:
        raise ValueError("not transient")

    with Pipeline("p") as p:
        wrong()
    result = p.run(progress=False)
    assert result.attempts == {"wrong": 1}
    assert result.states["wrong"] == State.FAILED


def test_a_fallback_stands_in_with_the_same_arguments_after_the_last_attempt() -> None:
    def simpler(x: int, *, scale: int) -> int:
        return x * scale

    @task(retries=1, retry=QUICK, fallback=simpler)
    def ambitious(x: int, *, scale: int) -> int:
        raise ArithmeticError("did not converge")

    with Pipeline("p") as p:
        value = ambitious(add(2, 3), scale=10)
        after = add(value, 1)
    result = p.run(progress=False)
    assert result.ok
    assert (result[value], result[after]) == (50, 51)
    assert result.attempts["ambitious"] == 3
    assert EventKind.FALLBACK in kinds(result, "ambitious")


def test_a_timeout_gives_up_on_a_thread_whose_late_value_is_dropped() -> None:
    release = threading.Event()
    attempts: list[int] = []

    # Retries to spare: on a slow machine the second attempt may be too slow as well, and that is not the point.
    @task(timeout=0.05, retries=50, retry=QUICK, cpu=0)
    def slow() -> str:
        attempts.append(penstock.current().attempt)
        if len(attempts) == 1:
            release.wait(20)
            return "late"
        return "in time"

    @task(cpu=0)
    def after(value: str) -> str:
        release.set()
        return value

    with Pipeline("p") as p:
        last = after(slow())
    result = p.run(workers=2, progress=False)
    assert result[last] == "in time"
    assert attempts == list(range(1, result.attempts["slow"] + 1))
    assert result.states["slow"] == State.SUCCEEDED
    assert kinds(result, "slow").count(EventKind.TIMED_OUT) == len(attempts) - 1 >= 1


def test_skip_leaves_out_a_branch_and_a_join_of_any_runs_with_the_other() -> None:
    @task
    def choose() -> str:
        penstock.skip("left")
        return "right"

    @task
    def left(_: str) -> str:
        return "left"

    @task
    def right(_: str) -> str:
        return "right"

    @task
    def onward(value: str) -> str:
        return value

    @task(needs="any")
    def join(*values: str | None) -> list[str | None]:
        return list(values)

    with Pipeline("p") as p:
        choice = choose()
        a, b = left(choice), right(choice)
        skipped = onward(a)
        joined = join(a, b)
    result = p.run(progress=False)
    assert result.ok  # what was skipped on purpose is no failure
    assert result[joined] == [None, "right"]
    assert result.causes == {"left": Cause.SKIPPED, "onward": Cause.SKIPPED}
    with pytest.raises(Cancelled, match="task 'onward' was skipped"):
        result[skipped]


def test_a_task_that_calls_sys_exit_fails_and_the_run_goes_on() -> None:
    @task
    def leave() -> None:
        sys.exit(3)

    with Pipeline("p") as p:
        leave()
        fine = one()
    result = p.run(progress=False)
    assert result[fine] == 1
    with pytest.raises(TaskFailed) as raised:
        result["leave"]
    assert str(raised.value) == (
        "task 'leave' failed after 1 attempt (EXCEPTION): it called sys.exit(3); return from the task to succeed, raise "
        "an exception to fail"
    )


def test_a_failed_result_says_the_kind_of_the_error_and_its_text() -> None:
    @task
    def look() -> int:
        return {"a": 1}["b"]

    with Pipeline("p") as p:
        looked = look()
    with pytest.raises(TaskFailed) as raised:
        p.run(progress=False)[looked]
    assert str(raised.value) == "task 'look' failed after 1 attempt (EXCEPTION): KeyError: 'b'"
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_refused_run_leaves_an_older_trace_as_it_is(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text("of yesterday")
    with Pipeline("p") as p:
        task(name="huge", memory="900TiB")(lambda: None)()
    with pytest.raises(ResourceError, match="task 'huge'"):
        p.run(trace=trace)
    assert trace.read_text() == "of yesterday"


def test_a_demand_that_can_never_be_met_is_refused_before_anything_starts() -> None:
    ran = threading.Event()

    @task
    def first() -> None:
        ran.set()

    with Pipeline("p") as p:
        first()
        task(name="huge", memory="900TiB")(lambda: None)()
    with pytest.raises(ResourceError, match=r"task 'huge' asks for memory=900TiB, but this machine has"):
        p.run(progress=False)
    assert not ran.is_set()


def test_limits_keep_tasks_from_running_side_by_side_and_leave_room_to_others() -> None:
    started, release, known = threading.Event(), threading.Event(), threading.Event()
    seen: list[State] = []

    @task(resources={"licence": 1}, cpu=0)
    def hold() -> None:
        started.set()
        release.wait(20)

    @task(resources={"licence": 1}, cpu=0)
    def second() -> bool:
        return release.is_set()

    @task(priority=1, cpu=0)
    def less_urgent() -> None:  # starts though a more urgent task waits, which could not run beside the first
        assert started.wait(20)
        assert known.wait(20)
        seen.append(run.state("second"))
        release.set()

    with Pipeline("p") as p:
        hold()
        last = second()
        less_urgent()
    run = p.start(workers=3, policy="priority", limits={"licence": 1})
    known.set()
    result = run.wait()
    assert result[last] is True
    assert seen == [State.READY]


def blocked(order: list[str]) -> tuple[Pipeline, threading.Event, threading.Event]:
    """A pipeline whose first task holds the only worker until told, with three more behind it."""
    started, release = threading.Event(), threading.Event()

    @task(priority=-10)
    def hold() -> None:
        started.set()
        release.wait(20)

    @task
    def note(name: str) -> None:
        order.append(name)

    with Pipeline("p") as p:
        hold()
        for k, name in enumerate("abc"):
            note.with_options(name=name, priority=k)(name)
    return p, started, release


def test_the_priority_of_a_waiting_task_can_change() -> None:
    order: list[str] = []
    p, started, release = blocked(order)
    run = p.start(workers=1, policy="priority")
    assert started.wait(20)
    run.set_priority("c", -5)
    release.set()
    assert run.wait().ok
    assert order == ["c", "a", "b"]
    with pytest.raises(OptionError, match="priority=nan of task 'a'"):
        run.set_priority("a", float("nan"))


def test_the_policy_can_change_while_tasks_wait() -> None:
    order: list[str] = []
    p, started, release = blocked(order)
    run = p.start(workers=1, policy="priority")
    assert started.wait(20)
    run.set_priority("a", 9)
    run.set_policy("fifo")
    release.set()
    assert run.wait().ok
    assert order == ["a", "b", "c"]


def test_a_paused_run_starts_nothing_and_says_so() -> None:
    order: list[str] = []
    p, started, release = blocked(order)
    run = p.start(workers=1, policy="priority")
    assert started.wait(20)
    assert run.why("a") == "'a' is ready, but all 1 workers are busy."
    run.pause()
    release.set()
    future = run.future("hold")
    assert future.result(20) is None
    assert run.why("a") == "'a' is ready, but the run is paused."
    assert order == []
    run.resume()
    assert run.wait().ok
    assert order == ["a", "b", "c"]


def test_cancelling_a_task_ends_what_depends_on_it_and_the_rest_goes_on() -> None:
    order: list[str] = []
    p, started, release = blocked(order)
    run = p.start(workers=1, policy="priority")
    assert started.wait(20)
    run.cancel("b")
    release.set()
    result = run.wait()
    assert order == ["a", "c"]
    assert result.states["b"] == State.CANCELLED
    assert not result.ok
    with pytest.raises(Cancelled, match="task 'b' was cancelled"):
        result["b"]


def test_limits_can_change_while_tasks_wait() -> None:
    order: list[str] = []
    started, release = threading.Event(), threading.Event()

    @task(resources={"licence": 2}, cpu=0)
    def wide() -> None:
        order.append("wide")

    @task(resources={"licence": 1}, cpu=0)
    def hold() -> None:
        started.set()
        release.wait(20)

    with Pipeline("p") as p:
        hold()
        wide()
    run = p.start(workers=2, policy="fifo", limits={"licence": 2})
    assert started.wait(20)
    with pytest.raises(ResourceError, match="task 'wide' asks for licence=2"):
        run.set_limits({"licence": 1})
    assert "licence=2" in run.why("wide")
    run.set_limits({"licence": 3})
    assert run.future("wide").result(20) is None
    assert order == ["wide"]
    release.set()
    assert run.wait().ok


def test_waiting_with_a_timeout_leaves_the_run_going() -> None:
    order: list[str] = []
    p, started, release = blocked(order)
    run = p.start(workers=1)
    assert started.wait(20)
    with pytest.raises(TimeoutError, match=r"has not ended after 0\.01 s"):
        run.wait(0.01)
    release.set()
    assert run.wait().ok


def test_hooks_hear_of_everything_and_a_hook_that_raises_changes_nothing() -> None:
    heard: list[str] = []
    told: list[object] = []

    def hook(event: object) -> None:
        heard.append(str(event))
        raise RuntimeError("a bad hook")

    with Pipeline("p") as p:
        one()
        fail("really")
    result = p.run(on_event=hook, alerts=[told.append], progress=False)
    assert len(heard) >= 1
    assert result.states["one"] == State.SUCCEEDED
    assert any("really" in str(alert) for alert in told)


def test_stop_on_failure_starts_nothing_more() -> None:
    with Pipeline("p") as p:
        fail("first")
        waits = [task(name=f"later{k}", priority=k)(lambda: 1)() for k in range(5)]
    result = p.run(workers=1, policy="fifo", on_failure="stop", progress=False)
    assert result.states["fail"] == State.FAILED
    assert all(result.states[name] == State.CANCELLED for name in result.states if name.startswith("later"))
    assert len(waits) == 5


INTERRUPTED = textwrap.dedent(
    """
    import sys
    from penstock import Pipeline, task

    @task
    def quick():
        return "kept"

    @task
    def long(_):
        print("running", flush=True)
        return sys.stdin.readline()

    @task
    def never(x):
        return x

    with Pipeline("p") as p:
        a = quick()
        b = long(a)
        c = never(b)

    def on_event(event):
        if event.kind.name == "CANCELLED":
            print("cancelled", event.name, flush=True)

    result = p.run(progress=False, workers=1, grace_s=60, on_event=on_event)
    print(result.interrupted, {k: v.name for k, v in result.states.items()}, result[a], flush=True)
    """
)


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_stops_starting_then_kills_and_keeps_what_has_finished(presses: int) -> None:
    pipe = subprocess.PIPE
    arguments = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cancelled never\n"  # the first press has been seen
        if presses == 2:
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "cancelled long\n"
        else:
            process.stdin.write("go on\n")
            process.stdin.flush()
        out, errors = process.communicate(timeout=60)
    said = ["penstock: interrupted: nothing more starts; 1 running task may end within 60 s, Ctrl-C again kills it"]
    if presses == 2:
        said.append("penstock: interrupted: killing 1 running task")
    assert errors.splitlines() == said
    assert process.returncode == 0
    long = "SUCCEEDED" if presses == 1 else "CANCELLED"
    never = "CANCELLED"
    assert out == f"True {{'quick': 'SUCCEEDED', 'long': '{long}', 'never': '{never}'}} kept\n"


def test_an_abandoned_thread_does_not_keep_the_interpreter_from_ending() -> None:
    code = textwrap.dedent(
        """
        import time
        from penstock import Pipeline, task

        @task(timeout=0.05)
        def stuck():
            time.sleep(1.5)

        with Pipeline("p") as p:
            stuck()
        print(p.run(progress=False).states["stuck"].name)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "FAILED\n", "")


def test_several_threads_may_wait_for_one_run_and_get_the_same_result() -> None:
    order: list[str] = []
    p, started, release = blocked(order)
    run = p.start(workers=1)
    assert started.wait(20)
    results: list[penstock.RunResult] = []
    ready = threading.Barrier(5)

    def wait() -> None:
        with pytest.raises(TimeoutError):
            run.wait(0.01)
        ready.wait(20)
        results.append(run.wait())

    waiters = [threading.Thread(target=wait) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    ready.wait(20)
    release.set()
    results.append(run.wait(float("inf")))
    for waiter in waiters:
        waiter.join(20)
    assert len(results) == 5
    assert len({id(result) for result in results}) == 1


def test_leaving_the_block_of_a_paused_run_ends_the_pause() -> None:
    with Pipeline("p") as p:
        call = one()
    with p.start() as run:
        run.pause()
    assert run.wait()[call] == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"on_failure": "sop"}, "on_failure='sop': allowed is 'continue', 'stop' or 'finish_running'"),
        ({"grace_s": "5"}, "grace_s='5': allowed is a number of seconds from 0 up"),
        ({"grace_s": float("nan")}, "grace_s=nan: allowed is a number of seconds from 0 up"),
        ({"limits": 0.8}, "limits=0.8: allowed is a mapping such as"),
    ],
)
def test_an_option_of_a_run_that_is_not_allowed_is_refused_before_anything_starts(
    option: dict[str, object], message: str
) -> None:
    ran = threading.Event()
    with Pipeline("p") as p:
        task(name="first")(ran.set)()
    with pytest.raises(OptionError, match=message):
        p.run(progress=False, **option)  # type: ignore[arg-type]
    assert not ran.is_set()


def test_what_a_live_run_is_told_is_checked() -> None:
    order: list[str] = []
    p, started, release = blocked(order)
    run = p.start(workers=1)
    assert started.wait(20)
    with pytest.raises(OptionError, match=r"priority=1000.* of task 'a': allowed is a finite number"):
        run.set_priority("a", 10**400)
    with pytest.raises(OptionError, match="limits=5: allowed is a mapping"):
        run.set_limits(5)  # type: ignore[arg-type]
    release.set()
    assert run.wait().ok


def test_a_keyboard_interrupt_in_a_task_is_its_failure_and_no_ctrl_c() -> None:
    @task
    def interrupted() -> None:
        raise KeyboardInterrupt

    with Pipeline("p") as p:
        interrupted()
        fine = one()
    result = p.run(progress=False)
    assert (result[fine], result.interrupted) == (1, False)
    assert "it raised KeyboardInterrupt" in str(result.errors["interrupted"])


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_an_error_whose_message_cannot_be_shown_is_reported_all_the_same(executor: Any) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    @task(executor=executor)
    def raises() -> None:
        raise Mute

    told: list[object] = []
    with Pipeline("p") as p:
        call = raises()
    result = p.run(alerts=[told.append], progress=False)
    with pytest.raises(TaskFailed, match="its message cannot be shown"):
        result[call]
    assert any("its message cannot be shown" in str(alert) for alert in told)


def test_what_a_cancelled_thread_returns_late_does_not_reach_a_join_of_any() -> None:
    started, release = threading.Event(), threading.Event()

    @task(resources={"licence": 1}, cpu=0)
    def late() -> str:
        started.set()
        release.wait(20)
        return "late"

    @task(resources={"licence": 1}, cpu=0, priority=1)
    def in_time() -> str:  # starts when the thread has returned
        return "in time"

    @task(needs="any", cpu=0)
    def join(*values: str | None) -> list[str | None]:
        return list(values)

    with Pipeline("p") as p:
        joined = join(late(), in_time())
    run = p.start(policy="priority", workers=2, limits={"licence": 1})
    assert started.wait(20)
    run.cancel("late")
    release.set()
    assert run.wait()[joined] == [None, "in time"]

"""The engine when something of it, or of its user's, goes wrong, and what is left of it at the end."""

from __future__ import annotations

import gc
import logging
import math
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from array import array
from typing import Any

import pytest

from penstock import Pipeline, Runtime, task
from penstock.engine import Engine
from penstock.errors import CycleError, InternalError, ResourceError
from penstock.lanes import Lanes
from penstock.probes.sample import Collector

pytestmark = pytest.mark.timeout(60)

PATIENCE_S = 20


class Broken(RuntimeError):
    pass


def broken(*_: object) -> Any:
    raise Broken("a rule of ours")


@pytest.fixture
def held() -> Any:
    """A function that holds its worker until the fixture's event is set."""
    release = threading.Event()

    def hold() -> None:
        release.wait(PATIENCE_S)

    hold.release = release  # type: ignore[attr-defined]
    return hold


def test_a_control_thread_that_fails_ends_the_run_with_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lanes, "launch", broken)
    with Pipeline("p") as p:
        task(executor="processes")(int)()
    run = p.start()
    with pytest.raises(InternalError, match="a rule of ours") as caught:
        run.wait(PATIENCE_S)
    assert isinstance(caught.value.__cause__, Broken)
    with pytest.raises(InternalError, match="a rule of ours"):
        run.wait(PATIENCE_S)


def test_a_sampler_that_fails_ends_the_run_with_an_internal_error(monkeypatch: pytest.MonkeyPatch, held: Any) -> None:
    monkeypatch.setattr(Collector, "collect", broken)
    with Pipeline("p") as p:
        task(held)()
    run = p.start()
    with pytest.raises(InternalError, match="a rule of ours"):
        run.wait(PATIENCE_S)
    held.release.set()


def test_whoever_waits_for_a_future_hears_of_a_worker_that_fails(monkeypatch: pytest.MonkeyPatch, held: Any) -> None:
    monkeypatch.setattr(Engine, "attempt_failed", broken)
    runtime = Runtime(workers=8)
    waiting = runtime.submit(task(cpu=0)(held))
    batch = runtime.submit_many(held, count=4, cpu=0)
    failing = runtime.submit(task(cpu=0)(int), "no number")
    for future in (failing, waiting):
        with pytest.raises(InternalError, match="a rule of ours"):
            future.result(PATIENCE_S)
    with pytest.raises(InternalError, match="a rule of ours"):
        runtime.submit(int)
    with pytest.raises(InternalError, match="a rule of ours"):
        batch.wait(PATIENCE_S)
    held.release.set()
    with pytest.raises(InternalError, match="a rule of ours"):
        runtime.close()


def test_a_refused_batch_leaves_an_idle_runtime_idle() -> None:
    with Runtime(workers=1) as runtime:
        assert runtime.submit(pow, 2, 2).result(PATIENCE_S) == 4
        for _ in range(20):
            assert runtime.wait(PATIENCE_S)
            with pytest.raises(CycleError):
                runtime.submit_many(pow, indptr=array("q", [0, 1, 2]), indices=array("q", [~1, ~0]), pass_results=True)
        assert runtime.wait(PATIENCE_S)


def test_more_different_demands_than_a_run_may_have_are_the_users_error() -> None:
    with Runtime(workers=1) as runtime:
        runtime.pause()
        for extra in range(4096):
            runtime._engine._shape(task(memory=extra)(int).spec)
        with pytest.raises(ResourceError, match="task 'int': a run has at most 4096 different resource demands"):
            runtime.submit(task(memory="1GiB")(int))
        assert runtime.wait(PATIENCE_S)


def test_a_callback_on_a_failed_task_may_wait_for_a_thread_that_submits(held: Any) -> None:
    answers: list[int] = []
    answered = threading.Event()

    def fail_when_told() -> None:
        held()
        raise ValueError

    with Runtime(workers=2) as runtime:
        future = runtime.submit(fail_when_told)

        def submit_from_another_thread(_: object) -> None:
            submitter = threading.Thread(target=lambda: answers.append(runtime.submit(pow, 2, 3).result(PATIENCE_S)))
            submitter.start()
            submitter.join(PATIENCE_S)
            answered.set()

        future.add_done_callback(submit_from_another_thread)
        held.release.set()
        assert answered.wait(2 * PATIENCE_S)
    assert answers == [8]


def test_a_callback_that_calls_sys_exit_is_logged_and_its_worker_lives_on(
    held: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="penstock"), Runtime(workers=1) as runtime:
        future = runtime.submit(held)
        future.add_done_callback(lambda _: sys.exit(3))
        held.release.set()
        assert future.result(PATIENCE_S) is None
        assert runtime.submit(pow, 2, 3).result(PATIENCE_S) == 8
    assert "a callback on the future of task 'hold' raised" in caplog.text


def test_other_limits_bring_the_workers_that_they_have_room_for() -> None:
    with Runtime(limits={"cpu": 0.1}) as runtime:
        runtime.pause()
        future = runtime.submit(task(cpu=0.1)(int))
        assert runtime.view.workers == math.ceil(runtime.view.limits["cpu"] / 100)
        runtime.set_limits({"cpu": 0.9})
        assert runtime.view.workers == math.ceil(runtime.view.limits["cpu"] / 100) > 1
        assert future.cancel()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_nothing_is_left_of_runs_that_have_ended(executor: Any, fails: bool) -> None:
    @task(executor=executor)
    def one() -> int:
        if fails:
            raise ValueError("its traceback is kept with it")
        return 1

    with Pipeline("p") as p:
        one()
    engines: list[weakref.ref[Engine]] = []

    def once() -> None:
        run = p.start()
        engines.append(weakref.ref(run._engine))
        assert run.wait().ok is not fails

    once()
    gc.collect()  # what other tests have left, too
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(10):
        once()
    gc.collect()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert [engine for engine in engines if engine() is not None] == []


def test_a_run_whose_handle_is_dropped_goes_on_to_its_end_and_lets_go(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []

    @task
    def first() -> None:
        ran.append("first")

    @task
    def second(_: None) -> None:
        ran.append("second")
        raise ValueError("at the end")

    before = set(threading.enumerate())
    with Pipeline("p") as p:
        second(first())
    run = p.start()
    run.pause()  # nobody is left to resume it
    engine = weakref.ref(run._engine)
    with caplog.at_level("WARNING", "penstock"):
        del run
        gc.collect()
        for thread in set(threading.enumerate()) - before:
            thread.join(20)
    gc.collect()
    assert ran == ["first", "second"]
    assert [record.getMessage() for record in caplog.records] == [
        "run 'p', whose handle was dropped, has ended with failed tasks: second"
    ]
    assert (engine(), set(threading.enumerate()) - before) == (None, set())


def test_nothing_is_left_of_a_runtime_that_was_closed() -> None:
    runtime = Runtime(workers=1)
    future = runtime.submit(pow, 2, 2)
    engine = weakref.ref(runtime._engine)
    runtime.close()
    del runtime
    gc.collect()
    assert future.result() == 4
    assert engine() is not None  # the future can still say how it went
    del future
    gc.collect()
    assert engine() is None


def test_a_forked_process_is_told_that_the_runtime_is_not_its_own() -> None:
    code = textwrap.dedent(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        from penstock import Runtime
        with Runtime(workers=1) as runtime:
            runtime.submit(int).result()
            child = os.fork()
            if child == 0:
                try:
                    runtime.submit(int)
                except Exception as error:
                    print(error, flush=True)
                sys.exit()
            print(os.waitpid(child, 0)[1], runtime.submit(pow, 2, 3).result())
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    said, ended = done.stdout.splitlines()
    assert said.startswith("this runtime was started by process ")
    assert said.endswith("a process that was forked needs one of its own.")
    assert (ended, done.stderr, done.returncode) == ("0 8", "", 0)


RETURNS_TWICE = """
    import os, sys, warnings
    warnings.simplefilter("ignore")
    from penstock import Pipeline, task

    @task
    def double() -> object:
        child = os.fork()
        if child:
            status = os.waitpid(child, 0)[1]
            return "parent", os.waitstatus_to_exitcode(status), threads()
        print("child")
        BODY

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    @task
    def after(first: object) -> object:
        return first

    with Pipeline("p") as p:
        last = after(double())
    result = p.run(workers=2)
    print(result[last][:2], dict(sorted(result.attempts.items())))
    """


@pytest.mark.parametrize(
    ("body", "code", "complaint"),
    [
        ("return 'child'", 0, ""),
        ("raise ValueError('of the child')", 1, "ValueError: of the child"),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('of the child')", 1, "of the child"),
        ("return after(1)", 0, ""),
    ],
)
def test_a_forked_child_that_comes_back_from_its_task_ends_and_leaves_the_run_to_its_parent(
    body: str, code: int, complaint: str
) -> None:
    program = textwrap.dedent(RETURNS_TWICE).replace("BODY", body)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines() == ["child", f"('parent', {code}) {{'after': 1, 'double': 1}}"]
    assert (done.stderr.splitlines() or [""])[-1] == complaint
    assert done.returncode == 0


def test_a_child_that_a_callback_forks_on_a_worker_does_not_go_on_working() -> None:
    program = textwrap.dedent(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        from penstock import Runtime
        children = []
        def fork(future):
            child = os.fork()
            if child:
                children.append(os.waitpid(child, 0)[1])
        with Runtime(workers=1) as runtime:
            runtime.pause()
            first = runtime.submit(int)
            first.add_done_callback(fork)
            runtime.resume()
            first.result()
        print(children)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[0]\n", "", 0)


@pytest.mark.parametrize(
    ("program", "warning"),
    [
        ("run = p.start(); begun.wait()", "run 'p' is cut off by the end of the program: 2 tasks had not ended."),
        ("p.start(); begun.wait()", "run 'p' is cut off by the end of the program: 2 tasks had not ended."),
        (
            "r = Runtime(name='mine'); r.submit(wait.function); begun.wait()",
            "runtime 'mine' is cut off by the end of the program: 1 task had not ended.",
        ),
        ("r = Runtime(); r.submit(int).result()", ""),
        ("run = p.start(); begun.wait(); done.set(); run.wait()", ""),
        (
            "run = p.start(); begun.wait(); child = os.fork()\nif child: os.waitpid(child, 0); done.set(); run.wait()",
            "",
        ),
    ],
)
def test_work_that_the_end_of_the_program_cuts_off_is_not_lost_in_silence(program: str, warning: str) -> None:
    setting = """
        import os, threading, warnings
        warnings.simplefilter("ignore")
        from penstock import Pipeline, Runtime, task
        begun, done = threading.Event(), threading.Event()

        @task
        def wait() -> None:
            begun.set()
            done.wait()

        @task
        def after(nothing: None) -> None: ...

        with Pipeline("p") as p:
            after(wait())
        """
    code = textwrap.dedent(setting) + program
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    said = f"{warning} Wait for it, or leave its with block.\n" if warning else ""
    assert (done.stdout, done.stderr, done.returncode) == ("", said, 0)

"""Why a task is not running, as a sentence: who holds what it lacks, and what the guard does."""

from __future__ import annotations

import threading

from penstock import Pipeline, task


def test_why_names_the_running_tasks_that_hold_what_is_lacking_the_largest_first():
    begun, gate = threading.Semaphore(0), threading.Event()

    @task(cpu=0)
    def hold() -> None:
        begun.release()
        gate.wait(30)

    with Pipeline("seats") as p:
        hold.with_options(name="small", resources={"seat": 1})()
        hold.with_options(name="large", resources={"seat": 2})()
        hold.with_options(name="late", resources={"seat": 2})()
    with p.start(policy="fifo", limits={"seat": 4}, workers=3, progress=False) as run:
        assert begun.acquire(timeout=30)
        assert begun.acquire(timeout=30)
        said = run.why("late")
        gate.set()
        assert run.wait(30).ok
    assert said == "'late' is ready, but it asks for seat=2 and 1 of 4 is free; 'large' (2), 'small' (1) hold it."
    assert run.why("late") == "'late' has succeeded."


def test_why_says_that_memory_is_short_and_what_runs_while_the_guard_is_closed():
    begun, gate = threading.Event(), threading.Event()

    @task(cpu=0)
    def first() -> None:
        begun.set()
        gate.wait(30)

    @task(cpu=0)
    def second() -> None: ...

    with Pipeline("short") as p:
        first()
        second.with_options(priority=1)()
    run = p.start(policy="priority", workers=1, progress=False)
    try:
        assert begun.wait(30)
        run._engine.scheduler.guard(True, 1)
        assert run.why("second") == (
            "'second' is ready, but memory is short, so nothing starts while other tasks run: 'first'."
        )
    finally:
        gate.set()
    assert run.wait(30).ok  # the guard is closed still: with nothing else running, the second one starts

"""Between the core's start of a process or command and its executor."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import penstock
from penstock import Pipeline, task
from penstock.states import State

pytestmark = pytest.mark.timeout(60)


def test_a_task_that_is_cancelled_while_it_is_being_launched_is_killed_and_gives_its_resources_back() -> None:
    started = threading.Event()
    runs: list[penstock.Run] = []

    class CancelsWhenLookedInto:
        """Found in an argument, which is put together after the core has started the task and before its launch."""

        def __getitem__(self, key: object) -> float:
            runs[0].cancel("victim")
            return 1000.0

    @task
    def result() -> CancelsWhenLookedInto:
        started.wait(20)
        return CancelsWhenLookedInto()

    @task(executor="processes", resources={"licence": 1}, cpu=0)
    def victim(seconds: float) -> None:
        time.sleep(seconds)

    @task(executor="processes", resources={"licence": 1}, cpu=0, priority=1)
    def heir(_: object) -> str:
        return "started"

    @task
    def nothing(_: object) -> None:
        return None

    with Pipeline("p") as p:
        trap = result()
        victim(trap[0])  # type: ignore[index]
        last = heir(nothing(trap))
    runs.append(p.start(policy="priority", limits={"licence": 1}))
    started.set()
    done = runs[0].wait(40)
    assert done[last] == "started"
    assert done.states["victim"] == State.CANCELLED


def test_what_the_calls_of_a_process_task_give_need_not_be_picklable() -> None:
    @task
    def unpicklable() -> Any:
        return threading.Lock()

    @task(executor="processes")
    def parent() -> dict[str, Any]:
        return {"lock": unpicklable(), "number": 3}

    with Pipeline("p") as p:
        value = parent()
    result = p.run(progress=False)
    assert result.errors == {}
    assert result[value] == {"lock": result["unpicklable"], "number": 3}
    assert result.attempts["parent"] == 1

"""Tasks that return calls: what they stand for, and what becomes of the task when they fail or cannot be put together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.test_run import QUICK, add, fail, one

import penstock
from penstock import Pipeline, task
from penstock.errors import TaskFailed
from penstock.states import State

pytestmark = pytest.mark.timeout(60)


def test_a_task_may_return_calls_and_its_result_is_theirs() -> None:
    @task
    def tree(depth: int) -> int:
        if depth == 0:
            return 1
        return add(tree(depth - 1), tree(depth - 1))

    @task
    def several() -> list[int]:
        return [one(), add(1, 1)]

    with Pipeline("p") as p:
        top = tree(5)
        both = several()
        after = add(top, 1)
    result = p.run(progress=False)
    assert result.ok
    assert (result[top], result[both], result[after]) == (32, [1, 2], 33)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_returned_calls_stand_for_their_results_wherever_they_are_in_what_a_task_returns(executor: Any) -> None:
    @task(executor=executor)
    def spread() -> Any:
        pair = several()
        return {
            "list": [0, add(1, 2), "as it is"],
            "deep": {"er": [(add(3, 4), 5)]},
            "part": pair[1],
            add(5, 6): {"set", add(7, 8)},
        }

    @task(executor=executor)
    def part() -> int:
        return several()[0]

    @task(executor=executor)
    def second() -> Any:
        return 1, one()

    @task
    def several() -> list[int]:
        return [20, 21]

    with Pipeline("p") as p:
        calls = spread(), part(), second()
    result = p.run(progress=False)
    assert result.ok
    expected = {"list": [0, 3, "as it is"], "deep": {"er": [(7, 5)]}, "part": 21, 11: {"set", 15}}
    assert [result[call] for call in calls] == [expected, 20, (1, 1)]


def test_a_call_that_a_helper_thread_of_a_task_has_submitted_may_be_returned() -> None:
    @task
    def parent() -> Any:
        submit = penstock.current().submit
        with ThreadPoolExecutor(1) as helper:
            return {"sum": helper.submit(submit, add, 20, 22).result()}

    with Pipeline("p") as p:
        call = parent()
    result = p.run(progress=False)
    assert result[call] == {"sum": 42}
    assert result.states == {"parent": State.SUCCEEDED, "add": State.SUCCEEDED}


def test_a_task_that_makes_calls_and_returns_none_of_them_gives_the_very_object_that_it_returned() -> None:
    kept = {"a": [1]}

    @task
    def parent() -> Any:
        penstock.current().submit(add, 1, 2)
        add(3, 4)  # made and dropped: it never runs
        return kept

    with Pipeline("p") as p:
        call = parent()
    result = p.run(progress=False)
    assert result[call] is kept
    assert result.states == {"parent": State.SUCCEEDED, "add": State.SUCCEEDED}
    assert result.attempts["parent"] == 1


def test_a_returned_container_that_cannot_be_looked_into_is_a_value_like_any_other() -> None:
    class Closed(dict[str, int]):
        def keys(self) -> Any:
            raise RuntimeError("closed")

    @task
    def parent() -> Any:
        penstock.current().submit(add, 1, 2)
        return Closed(a=1)

    with Pipeline("p") as p:
        call = parent()
    result = p.run(progress=False)
    assert result.ok
    assert type(result[call]) is Closed


def test_a_task_may_submit_tasks_and_returned_calls_that_fail_fail_it() -> None:
    @task
    def parent() -> int:
        extra = penstock.current().submit(add, 20, 22)
        return add(extra, fail("child"))

    with Pipeline("p") as p:
        call = parent()
    result = p.run(progress=False)
    assert result["add"] == 42
    assert result.states["parent"] == State.UPSTREAM_FAILED
    with pytest.raises(TaskFailed):
        result[call]


def test_a_fallback_gets_the_tasks_arguments_also_when_putting_returned_calls_together_failed() -> None:
    @task
    def empty() -> dict[str, int]:
        return {}

    @task(fallback=lambda x: ("instead", x))
    def parent(x: int) -> object:
        return [empty(), empty()["missing"]]

    with Pipeline("p") as p:
        call = parent(7)
    result = p.run(progress=False)
    assert result[call] == ("instead", 7)
    assert result.attempts["parent"] == 2


def test_a_retry_of_a_task_whose_returned_calls_could_not_be_put_together_calls_it_again() -> None:
    @task
    def table(attempt: int) -> dict[int, str]:
        return {2: "found"} if attempt == 2 else {}

    attempts: list[int] = []

    @task(retries=2, retry=QUICK)
    def parent() -> object:
        attempts.append(len(attempts) + 1)
        return [table(attempts[-1]), table(attempts[-1])[2]]

    with Pipeline("p") as p:
        call = parent()
    result = p.run(progress=False)
    assert result[call] == [{2: "found"}, "found"]
    assert (attempts, result.attempts["parent"]) == ([1, 2], 2)


def test_a_task_that_returns_a_call_which_waits_for_it_fails_with_the_cycle() -> None:
    own: list[int] = []

    @task
    def parent() -> int:
        return penstock.current().submit(add, own[0])

    with Pipeline("p") as p:
        own.append(parent())
    result = p.run(progress=False)
    assert str(result.errors["parent"]) == "'parent' -> 'add' -> 'parent' is a cycle; remove one of these edges."
    assert result.states == {"parent": State.FAILED, "add": State.UPSTREAM_FAILED}
    assert result.attempts == {"parent": 1, "add": 0}


def test_a_task_that_needs_any_of_its_inputs_needs_all_that_it_returns() -> None:
    @task(needs="any")
    def join(*_: object) -> list[int]:
        return [fail("child"), one()]

    with Pipeline("p") as p:
        call = join(one(), fail("input"))
    result = p.run(progress=False)
    assert result.states["join"] == State.UPSTREAM_FAILED
    with pytest.raises(TaskFailed, match="'fail-2' ended without a result"):
        result[call]

"""What a resumed run takes over, what it runs again, and what it says about it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock
from penstock import Pipeline, RunResult, task
from penstock.errors import OptionError
from penstock.journal import StoreError, read_run
from penstock.journal.results import LARGE
from penstock.states import State

pytestmark = pytest.mark.timeout(60)

ran: list[str] = []
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()
    broken.clear()


@task
def load(n: int) -> Any:
    ran.append("load")
    return np.arange(n)


@task
def total(values: Any, plus: int = 0) -> int:
    ran.append("total")
    return int(values.sum()) + plus


@task
def check(number: int) -> int:
    ran.append("check")
    if "check" in broken:
        raise ValueError("not yet")
    return number


def pipeline(n: int = 10, plus: int = 0) -> Pipeline:
    with Pipeline("sums") as p:
        check(total(load(n), plus))
    return p


def run(p: Pipeline, store: Path, **options: Any) -> RunResult:
    return p.run(store=store, progress=False, **options)


def failed_once(store: Path, n: int = 10) -> None:
    broken.add("check")
    assert not run(pipeline(n), store).ok
    broken.clear()
    ran.clear()


@pytest.mark.parametrize("n", [10, LARGE])
def test_what_was_committed_does_not_run_again_and_its_result_is_there(store: Path, n: int) -> None:
    failed_once(store, n)
    result = run(pipeline(n), store, resume=True)
    assert ran == ["check"]
    assert result.ok
    assert result["load"].tolist() == list(range(n))
    result["load"][0] = 7  # arrays can be written to, as they could the first time
    assert (result["total"], result["check"]) == (n * (n - 1) // 2,) * 2
    assert result.taken_over == ("load", "total")
    assert (result.run_number, result.store_error, dict(result.again)) == (1, None, {})
    assert [path.name for path in (store / "runs").iterdir()] == ["1"]


def test_a_run_that_has_succeeded_is_not_resumed_but_a_new_one_begins(store: Path) -> None:
    assert run(pipeline(), store).run_number == 1
    assert run(pipeline(), store, resume=True).run_number == 2
    assert ran == ["load", "total", "check"] * 2


def test_a_resumed_run_can_be_resumed_again(store: Path) -> None:
    failed_once(store)
    broken.add("check")
    assert not run(pipeline(), store, resume=1).ok
    broken.clear()
    assert run(pipeline(), store, resume=1)["check"] == 45
    assert ran == ["check", "check"]
    recorded = read_run(store, 1)
    assert (recorded.state, len(recorded.sessions)) == ("succeeded", 3)
    assert recorded.taken_over == [True, True, False]
    assert (recorded.finish_ns >= recorded.start_ns).all()
    assert recorded.origin(3, 0) == (1, 0)


def test_changed_arguments_run_again_with_what_depends_on_them_and_say_so(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed_once(store)
    assert run(pipeline(plus=1), store, resume=1)["check"] == 46
    assert ran == ["total", "check"]
    said = capsys.readouterr().err
    assert "run 1 goes on; 1 of 3 tasks had finished and do not run again" in said
    assert "'total' runs again: its arguments have changed." in said


def test_changed_code_runs_again_with_what_depends_on_it_and_says_so(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(factor: int) -> Pipeline:
        @task(name="scale")
        def scale(x: int) -> int:
            ran.append("scale")
            return x * factor

        with Pipeline("code") as p:
            check(total.with_options(name="after")(_array(scale(2))))
        return p

    broken.add("check")
    run(made(3), store)
    broken.clear()
    ran.clear()
    result = run(made(4), store, resume=1)
    assert result["check"] == 8
    assert ran == ["scale", "array", "total", "check"]
    said = capsys.readouterr().err
    assert "'scale' runs again: its code has changed." in said
    assert "'_array' runs again: 'scale', which it depends on, runs again." in said
    assert result.taken_over == ()


@task
def _array(x: int) -> Any:
    ran.append("array")
    return np.array([x])


def test_renamed_and_reordered_tasks_are_known_by_what_they_are(store: Path) -> None:
    failed_once(store)
    with Pipeline("sums") as p:
        load(3)
        check.with_options(name="look")(total.with_options(name="sum")(load.with_options(name="all")(10), 0))
    result = run(p, store, resume=1)
    assert result["look"] == 45
    assert ran.count("total") == 0
    assert sorted(ran) == ["check", "load"]
    assert sorted(result.taken_over) == ["all", "sum"]


def test_start_from_a_task_runs_it_and_all_that_depends_on_it(store: Path) -> None:
    run(pipeline(), store)
    ran.clear()
    assert run(pipeline(), store, resume=1, start_from=["total"])["check"] == 45
    assert ran == ["total", "check"]


def test_a_forced_task_runs_and_what_depends_on_it_only_if_its_result_is_another(store: Path) -> None:
    run(pipeline(), store)
    ran.clear()
    result = run(pipeline(), store, resume=1, force=["load"])
    assert ran == ["load"]
    assert (result.ok, result["check"]) == (True, 45)


def test_a_forced_task_that_gives_something_else_moves_on_what_depends_on_it(store: Path) -> None:
    seeds = [1, 2]

    @task(name="draw")
    def draw() -> int:
        ran.append("draw")
        return seeds.pop()

    with Pipeline("draws") as p:
        check(draw())
    assert run(p, store)["check"] == 2
    assert run(p, store, resume=1, force=["draw"])["check"] == 1
    assert ran == ["draw", "check", "draw", "check"]
    # The newer result is the one that counts from now on.
    assert run(p, store, resume=1)["check"] == 1
    assert ran == ["draw", "check", "draw", "check"]


def test_a_result_that_was_made_of_another_result_than_the_newest_is_not_taken_over(store: Path) -> None:
    seeds = [1, 2]

    @task(name="draw")
    def draw() -> int:
        return seeds.pop()

    with Pipeline("draws") as p:
        check(draw())
    assert run(p, store)["check"] == 2
    broken.add("check")
    assert not run(p, store, resume=1, force=["draw"]).ok
    broken.clear()
    result = run(p, store, resume=1)
    assert (result["draw"], result["check"]) == (1, 1)
    assert dict(result.again) == {"check": "what it depends on has another result now"}


def test_forcing_what_is_not_there_is_refused_before_anything_starts(store: Path) -> None:
    run(pipeline(), store)
    ran.clear()
    with pytest.raises(OptionError, match=r"force: the pipeline has no task 'laod'. Did you mean 'load'\?"):
        run(pipeline(), store, resume=1, force=["laod"])
    assert ran == []
    assert read_run(store, 1).state == "succeeded"


def test_resume_of_a_run_that_is_not_there_is_refused(store: Path) -> None:
    run(pipeline(), store)
    with pytest.raises(StoreError, match="has no run 5; it has runs 1"):
        run(pipeline(), store, resume=5)
    with pytest.raises(OptionError, match="need a store"):
        pipeline().run(store="off", resume=True)


def test_what_a_task_skipped_is_skipped_again_without_running_it(store: Path) -> None:
    @task
    def look(n: int) -> int:
        ran.append("look")
        if n == 0:
            penstock.skip()
        return n

    @task
    def use(n: int) -> int:
        ran.append("use")
        return n

    @task(needs="any")
    def gather(*values: int) -> list[int]:
        ran.append("gather")
        return list(values)

    def made() -> Pipeline:
        with Pipeline("skips") as p:
            gathered = gather(use(look(0)), use(look(1)))
            check.with_options(after=[gathered])(3)
        return p

    broken.add("check")
    run(made(), store)
    broken.clear()
    ran.clear()
    result = run(made(), store, resume=1)
    assert ran == ["check"]
    assert result.ok
    assert [result.states[name] for name in ("use", "use-2")] == [State.CANCELLED, State.SUCCEEDED]
    assert result["gather"] == [None, 1]


def test_tasks_that_others_made_are_taken_over_by_what_they_are(store: Path) -> None:
    @task
    def leaf(n: int) -> int:
        ran.append(f"leaf {n}")
        if n == 3 and "leaf" in broken:
            raise ValueError("not yet")
        return n

    @task
    def fan(most: int) -> list[int]:
        ran.append("fan")
        return [leaf(n) for n in range(most)]

    with Pipeline("made") as p:
        fan(5)
    broken.add("leaf")
    assert not run(p, store, workers=1).ok
    broken.clear()
    ran.clear()
    result = run(p, store, resume=1, workers=1)
    assert result["fan"] == [0, 1, 2, 3, 4]
    assert ran == ["fan", "leaf 3"]


@pytest.mark.parametrize("durability", ["group", "each"])
def test_processes_and_commands_are_taken_over_too(store: Path, durability: str) -> None:
    @task(executor="processes")
    def square(x: int) -> int:
        return x * x

    with Pipeline("lanes") as p:
        said = penstock.command("say", ["printf", "%s", square(7)])
        check(said)  # type: ignore[arg-type]
    broken.add("check")
    run(p, store, durability=durability)
    broken.clear()
    result = run(p, store, resume=True, durability=durability)
    assert (result["check"], result.taken_over) == ("49", ("square", "say"))


def test_with_durability_each_a_result_is_on_the_disk_before_what_depends_on_it_starts(store: Path) -> None:
    found: list[int] = []

    @task
    def first() -> list[int]:
        return [1, 2]

    @task
    def second(values: list[int]) -> int:
        found.append(len(read_run(store, 1).last.results))
        values.append(3)  # too late to change what is stored
        return len(values)

    with Pipeline("each") as p:
        check(second(first()))
    broken.add("check")
    run(p, store, durability="each")
    broken.clear()
    assert found == [1]
    assert run(p, store, resume=True, durability="each")["first"] == [1, 2]


def test_a_result_that_cannot_be_stored_is_said_and_its_task_runs_again(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    @task
    def lock() -> Any:
        ran.append("lock")
        return threading.Lock()

    @task
    def use(given: Any) -> bool:
        return given.locked() or "check" in broken

    with Pipeline("locks") as p:
        check(use(lock()))  # type: ignore[arg-type]
    broken.add("check")
    run(p, store)
    broken.clear()
    assert "task 'lock': its result, a lock, cannot be pickled" in caplog.text
    result = run(p, store, resume=True)
    assert result.ok
    assert ran.count("lock") == 2


def test_cached_results_are_taken_by_other_runs_and_by_content(store: Path) -> None:
    @task(cache=True)
    def slow(values: Any) -> int:
        ran.append("slow")
        return int(values.sum())

    @task(cache=True, executor="processes")
    def apart(x: int) -> int:
        return x + 1

    def made(n: int) -> Pipeline:
        with Pipeline(f"cached {n}") as p:
            apart(slow(load(n)))
        return p

    assert [run(made(n), store)["apart"] for n in (5, 5, 6, 5)] == [11, 11, 16, 11]
    assert ran == ["load", "slow", "load", "load", "slow", "load"]
    assert penstock.Pipeline("none").run(store="off").ok


def test_two_processes_cannot_work_on_one_run_at_once(store: Path) -> None:
    failed_once(store)
    live = pipeline().start(store=store, resume=1)
    try:
        with pytest.raises(StoreError, match=r"run 1 of store .* is running in this process; wait for it"):
            run(pipeline(), store, resume=1)
    finally:
        live.wait()
    gc.collect()
    assert read_run(store, 1).state == "succeeded"

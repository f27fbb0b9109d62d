"""What tasks that say nothing of their memory are taken to need."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import command, task
from penstock.executors.protocol import Report, Usage
from penstock.guesses import Guesses
from penstock.options import TaskSpec
from penstock.states import Cause

MIB = 1024**2
GIB = 1024**3


def spec_of(function: Any = abs, **options: Any) -> TaskSpec:
    return task(executor="processes", **options)(function).spec


def report(peak: int | None, *, cpu_s: float | None = None, failed: bool = False) -> Report:
    error = ValueError() if failed else None
    cause = Cause.EXCEPTION if failed else Cause.NONE
    return Report(0, 1, None, error, cause, 0, 1_000_000_000, Usage(cpu_s, peak))


def ask(guesses: Guesses, spec: TaskSpec, memory: int | None = 8 * GIB, cores: int = 4000) -> dict[str, int]:
    family = guesses.family(spec)
    assert family is not None
    guesses.ask(family, {"memory": memory, "cpu": cores}.get, cores)
    return {"cpu": family.asks.cpu, "memory": family.asks.memory}


def test_only_tasks_that_can_be_measured_and_leave_something_out_are_guessed() -> None:
    guesses = Guesses()
    assert guesses.family(task(abs).spec) is None  # on a thread
    assert guesses.family(spec_of(cpu=1, memory="1GiB")) is None
    family = guesses.family(spec_of(memory="1GiB"))
    assert family is not None
    assert family.guessed == {"cpu"}
    assert guesses.family(spec_of(memory="1GiB")) is family
    assert guesses.family(spec_of(memory="2GiB")) is not family


def test_an_unknown_function_starts_with_a_cores_share_and_comes_to_what_was_measured() -> None:
    guesses, spec = Guesses(), spec_of()
    assert ask(guesses, spec) == {"cpu": 1000, "memory": 2 * GIB}
    assert guesses.learn(spec, report(100 * MIB)) is not None
    assert ask(guesses, spec) == {"cpu": 1000, "memory": 150 * MIB}
    for _ in range(30):
        guesses.learn(spec, report(100 * MIB))
    assert 100 * MIB < ask(guesses, spec)["memory"] < 105 * MIB


def test_a_guess_never_keeps_a_task_from_starting_alone() -> None:
    guesses, spec = Guesses(), spec_of()
    guesses.learn(spec, report(100 * GIB))
    assert ask(guesses, spec, memory=GIB)["memory"] == GIB


def test_what_the_user_said_is_not_changed_by_what_was_measured() -> None:
    guesses, spec = Guesses(), spec_of(memory="1GiB")
    guesses.learn(spec, report(100 * MIB))
    assert ask(guesses, spec)["memory"] == GIB


def test_a_task_that_was_seen_to_keep_several_cores_busy_asks_for_them() -> None:
    guesses, spec = Guesses(), spec_of()
    guesses.learn(spec, report(MIB, cpu_s=3.0))
    assert ask(guesses, spec)["cpu"] == 3000
    assert ask(guesses, spec, cores=2000)["cpu"] == 2000


def test_a_failed_attempt_only_raises_a_guess() -> None:
    guesses, spec = Guesses(), spec_of()
    guesses.learn(spec, report(100 * MIB))
    assert guesses.learn(spec, report(10 * MIB, failed=True)) is None
    assert guesses.learn(spec, report(None, failed=True)) is None
    assert guesses.learn(spec, report(400 * MIB, failed=True)) is not None
    assert ask(guesses, spec)["memory"] > 400 * MIB


def test_functions_learn_apart_and_their_families_together() -> None:
    guesses = Guesses()
    guesses.learn(spec_of(abs, priority=1), report(100 * MIB))
    assert ask(guesses, spec_of(abs, cpu=2))["memory"] == 150 * MIB
    assert ask(guesses, spec_of(len))["memory"] == 2 * GIB


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["sort", "a.txt"], ["sort", "b.txt"], True),
        (["python3", "train.py", "1"], ["python3", "train.py", "2"], True),
        (["python3", "train.py"], ["python3", "load.py"], False),
        (["sort", "a.txt"], ["wc", "a.txt"], False),
    ],
)
def test_commands_are_told_apart_by_program_and_script(one: list[str], other: list[str], same: bool) -> None:
    guesses = Guesses()
    first, second = (guesses.family(command("c", argv).spec) for argv in (one, other))
    assert first is not None
    assert second is not None
    assert (first.learned is second.learned) is same

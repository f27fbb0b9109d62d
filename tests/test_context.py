"""`penstock.context`: what a running task can ask, through whatever provider is installed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock import context, current, skip, task
from penstock.context import NoRunningTaskError
from penstock.task import Call


class Running:
    """A context as a runtime would give it; keeps what it was asked for."""

    name = "train-2"
    task = 7
    attempt = 3

    def __init__(self) -> None:
        self.skipped: list[tuple[object, ...]] = []

    def submit(self, target: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return (target, args, kwargs)

    def skip(self, *targets: object) -> None:
        self.skipped.append(targets)


@pytest.fixture
def inside() -> Iterator[Running]:
    """This thread runs a task, no other thread does."""
    running = Running()
    here = threading.get_ident()
    before = context.install(lambda: running if threading.get_ident() == here else None)
    yield running
    context.install(before)


@task
def double(x: int) -> int:
    return 2 * x


def test_current_outside_a_task_says_where_it_may_be_called() -> None:
    assert not context.running()
    with pytest.raises(NoRunningTaskError, match="outside a running task"):
        current()
    with pytest.raises(NoRunningTaskError):
        skip("report")


def test_current_gives_what_the_installed_provider_knows(inside: Running) -> None:
    assert context.running()
    assert (current().name, current().task, current().attempt) == ("train-2", 7, 3)


def test_skip_is_passed_on_to_the_running_task(inside: Running) -> None:
    skip("report", "plot")
    skip()
    assert inside.skipped == [("report", "plot"), ()]


def test_a_thread_that_a_task_started_is_not_inside_it(inside: Running) -> None:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(context.running()))
    thread.start()
    thread.join(10)
    assert seen == [False]


def test_install_returns_what_was_installed_before(inside: Running) -> None:
    mine = context.install(None)
    assert mine is not None
    assert not context.running()
    assert context.install(mine) is None
    assert context.running()


def test_calling_a_task_inside_a_running_one_makes_a_call_of_no_pipeline(inside: Running) -> None:
    call: Any = double(21)
    assert type(call) is Call
    assert call.pipeline is None
    assert call.args == (21,)

"""Why a task is not running now, as a sentence."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock import _core
from penstock.errors import message_of
from penstock.resources import RESOURCES, format_amount
from penstock.states import Cause, State

if TYPE_CHECKING:
    from penstock.engine import Engine

__all__ = ["why"]

_HOLDERS = 3
_NAMED = 5  # how many names a sentence lists before it counts the rest


def why(engine: Engine, task: int) -> str:
    """Return why a task is not running now, or that it is, or how it ended."""
    told = engine.scheduler.explain(task)
    state = State(told["state"])
    name = repr(engine.names[task])
    if state == State.RUNNING:
        if told["suspended"]:
            return f"{name} has begun attempt {told['attempt']} and stands still for more urgent tasks."
        return f"{name} is running, attempt {told['attempt']}."
    if state == State.WAITING:
        open_ones = [engine.names[p] for p in engine.predecessors(task) if engine.scheduler.state(p) != State.SUCCEEDED]
        return f"{name} waits for {_listed(open_ones) if open_ones else str(told['unmet']) + ' tasks'}."
    if state == State.BACKOFF:
        left = (told["retry_at"] - time.monotonic_ns()) / 1e9
        error = engine.errors.get(task)
        return f"{name} failed with {_shown(error)} and is tried again in {max(left, 0.0):.1f} s."
    if state == State.READY:
        return f"{name} is ready, but {_not_started(engine, told)}."
    cause = Cause(told["cause"])
    if state == State.SUCCEEDED:
        return succeeded(engine.names[task])
    if state == State.UPSTREAM_FAILED:
        return f"{name} did not run, because {engine.failed_before(task)} ended without a result."
    word = "was skipped" if cause == Cause.SKIPPED else state.name.lower()
    return f"{name} {word} ({cause.name})."


def succeeded(name: str) -> str:
    """Return the sentence about a task that has succeeded."""
    return f"{name!r} has succeeded."


def _not_started(engine: Engine, told: dict[str, object]) -> str:
    if told["paused"]:
        return "the run is paused"
    if told["guarded"]:
        return f"memory is short, so nothing starts while other tasks run: {_listed(_running(engine))}"
    after = told["after"]
    if isinstance(after, int):
        return f"the plan starts {engine.names[after]!r} before it"
    lacking = told["lacking"]
    if lacking == _core.THREAD_SLOTS:
        return f"all {engine.workers} workers are busy"
    if isinstance(lacking, int):
        name = RESOURCES[lacking] if lacking < len(RESOURCES) else engine.custom[lacking - len(RESOURCES)]
        asked, free, capacity = (
            format_amount(name, max(0, int(str(told[k])))) for k in ("demanded", "free", "capacity")
        )
        outside = engine.admission.outside(name)
        other = f"; {format_amount(name, outside)} is used by others" if outside else ""
        return f"it asks for {name}={asked} and {free} of {capacity} is free{_holders(engine, lacking, name)}{other}"
    reserved_for = told["reserved_for"]
    if isinstance(reserved_for, int):
        return f"room is kept for {engine.names[reserved_for]!r}, which needs more of the machine and has waited longer"
    if not told["ahead"]:
        return "no worker has taken it yet"
    return f"{told['ahead']} tasks of the same demand are in its heap, and more urgent ones start first"


def _running(engine: Engine) -> list[str]:
    return [engine.names[task] for task in engine.scheduler.open_tasks([State.RUNNING])]


def _holders(engine: Engine, resource: int, name: str) -> str:
    """Return which running tasks hold most of a resource, as the next part of a sentence; empty when none does."""
    running = engine.scheduler.open_tasks([State.RUNNING])
    amounts = {task: engine.scheduler.demand(task)[resource] for task in running}
    holding = sorted((task for task, amount in amounts.items() if amount > 0), key=lambda task: (-amounts[task], task))
    if not holding:
        return ""
    shown = ", ".join(f"{engine.names[task]!r} ({format_amount(name, amounts[task])})" for task in holding[:_HOLDERS])
    rest = len(holding) - _HOLDERS
    return f"; {shown} hold{'s' if len(holding) == 1 else ''} it" if rest <= 0 else f"; {shown} and {rest} more hold it"


def _shown(error: BaseException | None) -> str:
    return "no error" if error is None else f"{type(error).__name__}: {message_of(error)}".removesuffix(": ")


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"

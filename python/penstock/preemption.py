"""Preemption: a much more urgent task gets the room of tasks that said they could do without it for a while.

It is off unless the run asks for it, and touches only attempts of `preemptible` tasks, in processes and commands. The
control thread looks whenever something has become ready or free:

    1. what stands still goes on, if the core has room for it behind what is more urgent;
    2. for the most urgent ready task that does not fit, the least urgent and youngest preemptible attempts give way, as few
       as make it fit, and none when all together would not.

"pause" stops the processes of an attempt. They keep their memory, which stays accounted for, so a task that lacks memory,
a GPU or a resource of the user's own is not helped by it. "requeue" ends the attempt, which starts again later and gives
back all it had; that is no failure of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock.errors import OptionError
from penstock.observe.events import EventKind
from penstock.resources import RESOURCES
from penstock.states import Cause, State

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.executors import Report
    from penstock.lanes import Lanes

__all__ = ["GAP", "Preemption", "preemption_of"]

GAP = 10.0
"""How much smaller the number of a much more urgent task's priority is, unless the run says otherwise."""

_YIELDED = frozenset(RESOURCES.index(name) for name in ("cpu", "disk", "network"))

Key = tuple[int, int]


def preemption_of(how: object, gap: object) -> tuple[str, float] | None:
    """Return what a run's options say, or None: there is to be none.

    Raises:
        OptionError: one of them is not allowed.
    """
    if how not in ("off", "pause", "requeue"):
        raise OptionError(f"preempt={how!r}: allowed is 'off', 'pause' or 'requeue'.")
    if isinstance(gap, bool) or not isinstance(gap, (int, float)) or not 0 < gap < float("inf"):
        raise OptionError(
            f"preempt_gap={gap!r}: allowed is a number above 0, by which the priority of a much more urgent task is smaller."
        )
    return None if how == "off" else (str(how), float(gap))


class Preemption:
    """The preempting of one engine.

    What it remembers is written by the control thread alone, in `look`; others only read it. An attempt that has ended is
    forgotten when the core says so, and thus never before what it held is free again.
    """

    def __init__(self, engine: Engine, lanes: Lanes, how: str, gap: float) -> None:
        self._engine: Engine = weakref.proxy(engine)
        self._lanes = lanes
        self._pauses = how == "pause"
        self._gap = gap
        self._still: set[Key] = set()  # paused
        self._giving: dict[Key, list[int]] = {}  # being ended -> what the attempt gives back
        engine.scheduler.tell_all()
        engine.admission.standing_still = self._standing_still

    def look(self) -> None:
        """Let go on what can, and make room for the most urgent task that lacks it."""
        engine = self._engine
        self._go_on()
        for key in [key for key in self._giving if not engine.is_running(*key)]:
            del self._giving[key]
        if engine.stopping or not any(True for _ in self._candidates()):
            return
        for task in engine.scheduler.blocked():
            if self._make_room(task):
                return  # the core tells of the next one when this one has started

    def gave_way(self, report: Report) -> bool:
        """Return whether an attempt that has ended starts again as if it had not been started; for any thread."""
        return (report.task, report.attempt) in self._giving and report.cause is Cause.CANCELLED

    def _standing_still(self) -> list[int]:
        return [task for task, _ in sorted(self._still.copy(), key=self._urgency)]

    # ------------------------------------------------------------------------------------------------- the rules

    def _go_on(self) -> None:
        engine = self._engine
        for key in sorted(self._still, key=self._urgency):
            if not engine.is_running(*key):
                self._still.discard(key)  # its executor ends it
            elif engine.scheduler.proceed(*key):
                self._still.discard(key)
                self._lanes.hold(*key, held=False)

    def _make_room(self, task: int) -> bool:
        scheduler = self._engine.scheduler
        if scheduler.state(task) != State.READY:
            return False
        told = scheduler.explain(task)
        if told["paused"] or told["guarded"] or not isinstance(told["lacking"], int):
            return False
        short = {
            resource: asked - scheduler.free(resource)
            for resource, asked in enumerate(scheduler.demand(task))
            if asked > max(0, scheduler.free(resource))
        }
        for given in self._giving.values():
            for resource in short:
                short[resource] -= given[resource]
        short = {resource: amount for resource, amount in short.items() if amount > 0}
        if not short:
            return bool(self._giving)
        if self._pauses and not short.keys() <= _YIELDED:
            return False
        chosen: list[Key] = []
        for key in sorted(self._below(scheduler.priority(task)), key=self._urgency, reverse=True):
            held = scheduler.demand(key[0])
            if any(held[resource] > 0 for resource in short):
                chosen.append(key)
                short = {r: amount - held[r] for r, amount in short.items() if amount > held[r]}
            if not short:
                break
        if short:
            return False
        given_way = [self._pause(key) if self._pauses else self._requeue(key) for key in chosen]
        return any(given_way)

    def _candidates(self) -> Iterator[Key]:
        engine = self._engine
        for key in self._lanes.launched():
            if engine.specs[key[0]].preemptible and key not in self._still and key not in self._giving:
                yield key

    def _below(self, priority: float) -> list[Key]:
        scheduler = self._engine.scheduler
        return [key for key in self._candidates() if scheduler.priority(key[0]) >= priority + self._gap]

    def _urgency(self, key: Key) -> tuple[float, int]:
        """The order in which attempts come: the more urgent first, and of equals the one that began first."""
        return self._engine.scheduler.priority(key[0]), self._lanes.launched_ns(*key)

    def _pause(self, key: Key) -> bool:
        lease = self._lanes.lease(*key)
        if lease is None or not self._engine.scheduler.suspend(*key, lease):  # it has ended
            return False
        self._still.add(key)
        self._lanes.hold(*key, held=True)
        return True

    def _requeue(self, key: Key) -> bool:
        engine = self._engine
        with engine.lock:
            if self._lanes.lease(*key) is None or not engine.is_running(*key):
                return False
            self._giving[key] = engine.scheduler.demand(key[0])
        engine.log.append(int(EventKind.EVICTED), task=key[0], attempt=key[1], cause=int(Cause.CANCELLED))
        self._lanes.kill(*key)
        return True

"""A machine that exists in arithmetic alone, on which the real core starts tasks as the real admission lets it.

Time is given, and the readings are made of counters as the kernel keeps them: in clock ticks, read a little late. So what
admission does with an outside load is the same at each run, on any machine that runs the tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

from penstock import _core
from penstock.admission import PERIOD_S, Admission
from penstock.policies import resolve
from penstock.probes.cgroup import Groups
from penstock.probes.machine import Machine
from penstock.probes.reading import Rate, Reading
from penstock.probes.sample import Sample, Use

__all__ = ["Played", "play"]

GIB = 1024**3
STEP_NS = 10_000_000
TICK_NS = 10_000_000
S = 1_000_000_000


@dataclass
class Played:
    """What happened.

    Attributes:
        held: thousandths of a core that our tasks held, at each step of 10 ms.
        told: instants (s) and capacities of the CPU: at first, and whenever admission changed it in the core.
        ended: how many tasks ended, by the thousandths of a core that they declared.
    """

    held: list[int] = field(default_factory=list)
    told: list[tuple[float, int]] = field(default_factory=list)
    ended: dict[int, int] = field(default_factory=dict)

    def between(self, begin_s: float, end_s: float) -> list[int]:
        """What was held from one instant to another."""
        return self.held[round(begin_s * S / STEP_NS) : round(end_s * S / STEP_NS)]

    def changes(self, begin_s: float, end_s: float) -> int:
        """How often the capacity changed in a span of time."""
        return sum(begin_s <= at < end_s for at, _ in self.told)


def play(
    monkeypatch: pytest.MonkeyPatch,
    hog: Callable[[float], float],
    *,
    cores: int,
    tasks: Mapping[int, int],
    lasting_s: float,
    for_s: float,
    limits: Mapping[str, object] | None = None,
    busy: float = 1.0,
    seed: int = 0,
    known: bool = True,
) -> Played:
    """Run tasks beside an outside load for a while.

    Args:
        monkeypatch: puts the machine where admission looks for one.
        hog: gives the cores that others would use at an instant (s).
        cores: of the machine. When all want more, each gets its share.
        tasks: how many there are, in this order, by the thousandths of a core that they declare.
        lasting_s: how long a task runs when it gets all that it wants.
        for_s: how long to play.
        limits: as a user gives them.
        busy: share of its declared cores that a task keeps busy.
        seed: of when the samples are taken and how long tasks last.
        known: False: no reading is to be had.
    """
    draw = random.Random(seed)
    has = {"cpu": 1000 * cores, "memory": 16 * GIB, "disk": None, "network": None, "gpu": 0, "gpu_memory": 0}
    readings = {
        name: Reading(value, "virtual", 0, "" if value is not None else "unknown") for name, value in has.items()
    }
    machine = Machine(MappingProxyType(readings), (), frozenset(range(cores)), Groups())
    monkeypatch.setattr("penstock.admission._this_machine", lambda: machine)
    admission, scheduler = Admission(limits), _core.Scheduler()
    scheduler.set_policy(*resolve("priority").to_core())
    admission.attach(scheduler)
    for cpu, count in tasks.items():
        scheduler.submit(count, shape=scheduler.shape([cpu, 0, 0, 0, 0, 0]), now=0)

    played, running = Played(), dict[tuple[int, int, int], list[float]]()  # -> thousandths wanted, and core-ns left
    everyone, ours = [0.0, 0.0], [0.0, 0.0]  # core-ns so far; the second as the kernel shows it
    rates, due_ns = (Rate(), Rate()), 0
    played.told.append((0.0, scheduler.capacity(0)))
    for now_ns in range(0, round(for_s * S), STEP_NS):
        while taken := scheduler.take(0, 0, 1, now_ns):
            task, attempt, lease, _ = taken[0]
            wanted = busy * scheduler.demand(task)[0]
            running[task, attempt, lease] = [wanted, wanted / 1000 * lasting_s * draw.uniform(0.8, 1.2) * S]
        played.held.append(scheduler.held(0))
        outside = 1000 * hog(now_ns / S)
        wish = outside + sum(wanted for wanted, _ in running.values())
        share = min(1.0, 1000 * cores / wish) if wish else 1.0
        everyone[0] += wish * share / 1000 * STEP_NS
        ours[0] += (wish - outside) * share / 1000 * STEP_NS
        for key, one in list(running.items()):
            one[1] -= one[0] * share / 1000 * STEP_NS
            if one[1] <= 0:
                del running[key]
                asked = scheduler.demand(key[0])[0]
                played.ended[asked] = played.ended.get(asked, 0) + 1
                scheduler.finish(*key, now=now_ns + STEP_NS)
        if now_ns >= due_ns:
            due_ns = now_ns + round(PERIOD_S * S) + draw.choice((0, 0, STEP_NS, 2 * STEP_NS))
            for counter in (everyone, ours):
                counter[1] = counter[0] // TICK_NS * TICK_NS
            at = now_ns + STEP_NS
            total, own = (
                Reading(rate // 1_000_000 if known and rate is not None else None, "virtual", at)
                for rate in (rates[0].step(int(everyone[1]), at), rates[1].step(int(ours[1]), at))
            )
            admission._sampled(Sample(at, MappingProxyType({"cpu": Use(total, own)}), (), MappingProxyType({})))
            if scheduler.capacity(0) != played.told[-1][1]:
                played.told.append((at / S, scheduler.capacity(0)))
    scheduler.check()
    return played

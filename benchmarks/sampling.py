"""What looking at the machine costs: `python -m benchmarks.sampling`.

A run is brought into a state in which the probes are on, and the CPU clocks of the two threads that look are read twice: the
sampler's, which measures every signal, and the memory guard's, which looks while attempts run in processes. Figures are shares
of one core. The machine may do other work meanwhile: a thread's own clock does not count that, though cold caches cost.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from benchmarks.machine import environment
from benchmarks.measures import Absent
from penstock import Pipeline, State, command, task
from penstock.probes.sample import Collector
from penstock.run import Run

__all__ = ["GOAL", "SITUATIONS", "Situation", "main", "measure"]

GOAL = 0.005
"""Of one core, for the sampler at its default rate."""

WATCHED_S, PATIENCE_S = 20.0, 60.0
SAMPLER, GUARD = "penstock-sampler", "penstock-guard"


@dataclass(frozen=True)
class Situation:
    """What goes on while the two threads are watched.

    Args:
        what: for the table.
        processes: attempts that run in processes of their own, each measured with its tree.
        waits: a task waits for memory that another one holds, which makes the sampler look at its default rate; otherwise
            all that there is runs.
    """

    what: str
    processes: int
    waits: bool


SITUATIONS = (
    Situation("a task waits for memory", 0, waits=True),
    Situation("the same beside 4 processes", 4, waits=True),
    Situation("the same beside 32 processes", 32, waits=True),
    Situation("all there is runs, on a thread", 0, waits=False),
)


@dataclass(frozen=True)
class Cost:
    """Shares of one core, and samples a second."""

    sampler: float
    guard: float
    samples: float


def measure(situation: Situation, watched_s: float = WATCHED_S) -> Cost:
    """Return what looking costs in a situation.

    Raises:
        Absent: this system does not give the CPU time of a thread.
    """
    if not hasattr(time, "pthread_getcpuclockid"):
        raise Absent("this system does not give the CPU time of a thread")
    taken, gate = [0], threading.Event()
    with _counted(taken), _pipeline(situation, gate).start(progress=False, store=False) as run:
        try:
            _wait_until_started(run, situation)
            time.sleep(1)  # the run comes to rest
            before, begun, first = _cpu_s(), time.monotonic(), taken[0]
            time.sleep(watched_s)
            after, lasted_s, last = _cpu_s(), time.monotonic() - begun, taken[0]
        finally:
            gate.set()
            run.cancel()
            run.wait()
    spent = {name: (after[name] - before.get(name, 0.0)) / lasted_s for name in after}
    return Cost(spent[SAMPLER], spent.get(GUARD, 0.0), (last - first) / lasted_s)


def _pipeline(situation: Situation, gate: threading.Event) -> Pipeline:
    most = round(0.6 * psutil.virtual_memory().available)  # room for one, not for two
    hold = task(memory=most, cpu=0.001)(gate.wait)
    with Pipeline("sampling") as pipeline:
        for number in range(situation.processes):
            command(f"process-{number}", ["sleep", "600"], cpu=0.001)
        hold.with_options(name="holds")()
        if situation.waits:
            hold.with_options(name="waits")()
    return pipeline


def _wait_until_started(run: Run, situation: Situation) -> None:
    names = ["holds", *(f"process-{number}" for number in range(situation.processes))]
    until = time.monotonic() + PATIENCE_S
    while any(run.state(name) is not State.RUNNING for name in names):
        if time.monotonic() > until:
            raise Absent(f"not all had started after {PATIENCE_S:g} s")
        time.sleep(0.05)


@contextmanager
def _counted(taken: list[int]) -> Iterator[None]:
    """Count in `taken[0]` how many samples are taken."""
    collect = Collector.collect

    def count(self: Collector, *roots: object) -> object:
        taken[0] += 1
        return collect(self, *roots)  # type: ignore[arg-type]

    Collector.collect = count  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Collector.collect = collect  # type: ignore[method-assign]


def _cpu_s() -> dict[str, float]:
    """Return the CPU seconds that each of the two threads has used so far."""
    found = {}
    for thread in threading.enumerate():
        if thread.name in (SAMPLER, GUARD) and thread.ident is not None:
            found[thread.name] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table. Exit status: 0; 1 when the sampler takes more than GOAL of a core at its default rate."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description="Measure what the probes cost.")
    parser.add_argument(
        "--seconds", type=float, default=WATCHED_S, help="how long each situation is watched, 20 by default"
    )
    given = parser.parse_args(arguments)
    about = environment()
    print(f"{about['cpu']}, {about['cores']} cores, {about['kernel']}, {about['python']}.\n")
    print("| | sampler, of one core | guard, of one core | samples a second |")
    print("|---|---|---|---|")
    missed = False
    for situation in SITUATIONS:
        try:
            cost = measure(situation, given.seconds)
        except Absent as absent:
            print(f"{situation.what}: left out; {absent}", file=sys.stderr)
            continue
        print(f"| {situation.what} | {cost.sampler:.3%} | {cost.guard:.3%} | {cost.samples:.1f} |", flush=True)
        missed |= cost.sampler > GOAL
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())

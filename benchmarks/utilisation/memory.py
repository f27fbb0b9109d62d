"""Memory that nobody foresaw: jobs whose real peaks are up to ten times what they declare, in a small control group."""

from __future__ import annotations

import random

from benchmarks.measures import Absent, Figures
from benchmarks.utilisation.group import memory_bound
from benchmarks.utilisation.jobs import Job
from benchmarks.utilisation.sides import prepare, run_jobs
from penstock.probes.cgroup import find_groups, oom_kills

__all__ = ["NOTE", "jobs", "run"]

FULL = 60
BOUND = 2 << 30
DECLARED = 140 << 20
TIMES = 10
RATE, HOLD_S = 700e6, 0.2
NOTE = (
    f"Processes that declare {DECLARED >> 20} MiB and half a core each and take from as much to {TIMES} times as much (evenly spread in "
    f"the logarithm), {RATE / 1e6:.0f} MB/s each while they grow, in a memory control group of {BOUND >> 30} GiB whose own counter gives the "
    "kernel's kills. penstock has 3 retries for what it stops itself, and so have declared demands alone for what the "
    "kernel kills; a pool has none."
)


def jobs(count: int) -> list[Job]:
    """The same jobs for every side."""
    draw = random.Random(2)
    peaks = [DECLARED * TIMES ** ((number + 0.5) / count) for number in range(count)]
    draw.shuffle(peaks)
    return [
        Job(f"job-{number}", ("fill", str(int(peak)), str(RATE), str(HOLD_S)), cpu=0.5, memory=DECLARED)
        for number, peak in enumerate(peaks)
    ]


def run(side: str, scale: float) -> Figures:
    with memory_bound(BOUND):  # before penstock looks at the machine for the first time
        prepare(side)
        made = jobs(max(8, round(FULL * scale)))
        outcome = run_jobs(side, made)
        kills = oom_kills(find_groups())
    if kills is None:
        raise Absent("the kernel does not count what it kills in a control group")
    return {"finished": len(outcome.done), "jobs": len(made), "kills": kills, "makespan_s": outcome.makespan_s}

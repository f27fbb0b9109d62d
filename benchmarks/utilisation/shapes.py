"""Mixed CPU shapes: how much of the cores is used while there is work waiting."""

from __future__ import annotations

import random

from benchmarks.measures import Figures, require
from benchmarks.utilisation.jobs import Job
from benchmarks.utilisation.sides import CORES, prepare, run_jobs

__all__ = ["NOTE", "jobs", "run"]

FULL = 72
NOTE = (
    "Busy processes of 0.3 to 0.9 CPU seconds for each core that they declare, a third each of 2 cores (two processes), 1 core and "
    "half a core (busy for half of the time), in random order. The CPU seconds are the processes' own, so what others "
    "use of the machine counts as not used. The tail begins when the last job does: nothing is left to start."
)


def jobs(count: int) -> list[Job]:
    """The same jobs for every side."""
    draw = random.Random(4)
    made = []
    for number in range(count):
        cores = (2, 1, 0.5)[number % 3]
        cores = min(cores, CORES)
        share, copies = min(1.0, cores), max(1, int(cores))
        seconds = draw.uniform(0.3, 0.9) * share
        made.append(Job(f"job-{number}", ("burn", f"{seconds:.3f}", str(share), str(copies)), cpu=cores))
    draw.shuffle(made)
    return made


def run(side: str, scale: float) -> Figures:
    prepare(side)
    made = jobs(max(9, round(FULL * scale)))
    outcome = run_jobs(side, made)
    require("jobs that ended well", len(outcome.done), len(made))
    return {"utilisation": outcome.utilisation(CORES), "makespan_s": outcome.makespan_s, "jobs": len(made)}

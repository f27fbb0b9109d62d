"""Mixed CPU shapes: how much of the cores is used while there is work waiting."""

from __future__ import annotations

import random

from benchmarks.measures import Figures, require
from benchmarks.utilisation.jobs import Job
from benchmarks.utilisation.sides import CORES, prepare, run_jobs
from benchmarks.utilisation.watch import watched

__all__ = ["NOTE", "jobs", "run"]

FULL = 72
NOTE = (
    "Busy processes of 0.3 to 0.9 CPU seconds for each core that they declare, a third each of 2 cores (two processes), 1 core and "
    "half a core (busy for half of the time), in random order. CPU used is all that the side's processes use, of all that others on "
    "the machine left. The tail begins when the last job does: nothing is left to start."
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
    with watched() as looks:
        outcome = run_jobs(side, made)
    require("jobs that ended well", len(outcome.done), len(made))
    used, others = looks.of_the_rest(CORES, outcome.begun, outcome.tail)
    return {
        "utilisation": used,
        "others": others,
        "jobs_only": outcome.utilisation(CORES),
        "makespan_s": outcome.makespan_s,
        "jobs": len(made),
    }

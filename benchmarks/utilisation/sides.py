"""The three sides: penstock, penstock that does not look at the machine, and a pool as large as there are cores."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measures import PENSTOCK
from benchmarks.utilisation.jobs import Done, Job, Outcome
from penstock import Pipeline, command
from penstock.admission import Admission
from penstock.probes.machine import Machine
from penstock.probes.memory import MemoryProbe
from penstock.probes.pressure import PressureProbe
from penstock.probes.reading import Reading

__all__ = ["CORES", "DECLARED", "POOL", "SIDES", "prepare", "run_jobs"]

DECLARED, POOL = "declared only", "fixed pool"
SIDES = (PENSTOCK, DECLARED, POOL)

RETRIES = 3
"""For a task that memory ended. A pool has no such thing."""


CORES = max(1, (Machine.detect().capacity.get("cpu") or 1000) // 1000)


def prepare(side: str) -> None:
    """Make this process's penstock the side's: for DECLARED, no sample is ever taken and the guard learns nothing.

    What is left is the ledger: declared demands against limits. The switch is here alone, for whoever wants penstock wants
    its probes.
    """
    if side != DECLARED:
        return

    def unknown(self: object, now_ns: int) -> Reading:
        return Reading.unknown("this side does not look", "none", now_ns)

    Admission.wake = Admission.look = lambda self: None  # type: ignore[method-assign]
    MemoryProbe.read = unknown  # type: ignore[method-assign]
    PressureProbe.read = unknown  # type: ignore[method-assign]


def run_jobs(side: str, jobs: Sequence[Job], limits: Mapping[str, object] | None = None) -> Outcome:
    """Run all jobs to their end as a side does, submitted together and in this order."""
    return _pool(jobs) if side == POOL else _penstock(jobs, limits)


def _penstock(jobs: Sequence[Job], limits: Mapping[str, object] | None) -> Outcome:
    with Pipeline("utilisation") as pipeline:
        for job in jobs:
            asked = {name: value for name, value in (("memory", job.memory), ("disk", job.disk)) if value is not None}
            command(job.name, job.argv, cpu=job.cpu, retries=RETRIES, **asked)  # type: ignore[arg-type]
    begun = time.monotonic()
    result = pipeline.run(policy="utilisation", limits=limits, progress=False, store=False)
    ended = time.monotonic()
    return Outcome(begun, ended, {name: Done.parse(text) for name, text in result.items()})


def _pool(jobs: Sequence[Job]) -> Outcome:
    """A process for each job, as many at once as there are cores: one that is killed takes no other with it."""

    def run(job: Job) -> Done | None:
        ended = subprocess.run(job.argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return Done.parse(ended.stdout) if ended.returncode == 0 else None

    begun = time.monotonic()
    with ThreadPoolExecutor(CORES) as pool:
        found = list(pool.map(run, jobs))
    ended = time.monotonic()
    return Outcome(begun, ended, {job.name: one for job, one in zip(jobs, found, strict=True) if one is not None})

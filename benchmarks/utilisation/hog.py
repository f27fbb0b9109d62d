"""An outside hog that comes and goes: does what we run make way for it, and take the room when it has gone?"""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from benchmarks.measures import Figures, require
from benchmarks.utilisation.jobs import Job
from benchmarks.utilisation.sides import CORES, prepare, run_jobs
from benchmarks.utilisation.watch import LOOK_S, watched

__all__ = ["NOTE", "jobs", "run"]

FULL = 60
LIMIT = 0.8
PHASE_S = 3.0
SLACK = 0.05
NOTE = (
    f"Jobs of half a core beside stress-ng on half of the cores, {PHASE_S:g} s on and {PHASE_S:g} s off, under limits={{'cpu': {LIMIT}}} for all "
    f"that runs on the machine. CPU is the whole machine's, looked at every {LOOK_S} s from the start to the end of the run; over the "
    f"limit is by more than {SLACK:.0%} of the machine. A pool has no limit: it runs as many jobs as there are cores."
)


def jobs(count: int) -> list[Job]:
    """The same jobs for every side."""
    draw = random.Random(1)
    return [
        Job(f"job-{number}", ("burn", f"{draw.uniform(0.3, 0.6):.3f}", "0.5", "1"), cpu=0.5) for number in range(count)
    ]


def run(side: str, scale: float) -> Figures:
    prepare(side)
    made = jobs(max(8, round(FULL * scale)))
    with _hog(), watched() as looks:
        outcome = run_jobs(side, made, {"cpu": LIMIT})
    busy = looks.shares(CORES)
    require("jobs that ended well", len(outcome.done), len(made))
    return {
        "average": sum(busy) / len(busy),
        "of_limit": sum(busy) / len(busy) / LIMIT,
        "over": sum(one > LIMIT + SLACK for one in busy) / len(busy),
        "makespan_s": outcome.makespan_s,
        "jobs": len(made),
    }


def _start_hog() -> int:
    """Start it and return its process. Its parent ends at once, so that it is no part of our process tree."""
    copies = max(1, CORES // 2)
    tool = shutil.which("stress-ng")
    argv = (
        [tool, "--cpu", str(copies), "--timeout", "60s", "--quiet"]
        if tool
        else Job("hog", ("burn", "60", "1", str(copies)), 0).argv
    )
    line = f"{shlex.join(argv)} </dev/null >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(["/bin/sh", "-c", line], stdout=subprocess.PIPE, text=True, check=True).stdout)


def _end_hog(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        hog = psutil.Process(pid)
        for one in (hog, *hog.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.kill()


@contextmanager
def _hog() -> Iterator[None]:
    """Run the hog in every second phase, from now on."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.wait(PHASE_S):
            hog = _start_hog()
            over.wait(PHASE_S)
            _end_hog(hog)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

"""Jobs that write beside jobs that compute: writers that take more of the disk than they say."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.measures import Figures, require
from benchmarks.programs import ROOT
from benchmarks.utilisation.jobs import Done, Job, Outcome
from benchmarks.utilisation.sides import CORES, prepare, run_jobs
from benchmarks.utilisation.watch import watched

__all__ = ["NOTE", "jobs", "run"]

FULL = 12
SIZE = 768 << 20
CPU_S = 1.2
DECLARED = 1 / 3
ALONE = 3
NOTE = (
    f"{FULL} jobs write {SIZE >> 20} MiB each to the device, past the page cache's delay, and {2 * FULL} compute for {CPU_S} s on one core, a writer "
    f"before every two of them. The limit of the disk is what one writer alone was measured to write in this run (median of {ALONE}); "
    "writers declare a third of that and no core, and take all they get. A slow-down is the mean time of a job over that of one "
    "alone, without the time that it waited to start."
)


def jobs(count: int, folder: Path, rate: int) -> list[Job]:
    """The same jobs for every side, but for the rate, which is the disk's at that moment."""
    made = []
    for number in range(count):
        made.append(Job(f"write-{number}", _writing(folder / f"file-{number}"), cpu=0, disk=int(DECLARED * rate)))
        made += [Job(f"compute-{number}-{k}", ("burn", str(CPU_S), "1", "1"), cpu=1) for k in range(2)]
    return made


def run(side: str, scale: float) -> Figures:
    prepare(side)
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:  # /tmp may be memory
        folder = Path(name)
        writer, burner = (
            Job("alone", _writing(folder / "alone"), cpu=0),
            Job("alone", ("burn", str(CPU_S), "1", "1"), cpu=1),
        )
        writes_s = statistics.median(_lasted(run_jobs(side, [writer]).done["alone"]) for _ in range(ALONE))
        burns_s = _lasted(run_jobs(side, [burner]).done["alone"])
        rate = int(SIZE / writes_s)
        made = jobs(max(3, round(FULL * scale)), folder, rate)
        with watched() as looks:
            outcome = run_jobs(side, made, {"disk": rate})
    require("jobs that ended well", len(outcome.done), len(made))
    wrote = sum(job.disk is not None for job in made)
    _, others = looks.of_the_rest(CORES, outcome.begun, outcome.ended)
    return {
        "alone_mb_s": rate / 1e6,
        "written_mb_s": wrote * SIZE / 1e6 / outcome.makespan_s,
        "writers": _mean_lasted(outcome, "write") / writes_s,
        "computers": _mean_lasted(outcome, "compute") / burns_s,
        "makespan_s": outcome.makespan_s,
        "others": others,
    }


def _writing(file: Path) -> tuple[str, ...]:
    return ("write", str(file), str(SIZE))


def _mean_lasted(outcome: Outcome, kind: str) -> float:
    return statistics.mean(_lasted(one) for name, one in outcome.done.items() if name.startswith(kind))


def _lasted(one: Done) -> float:
    return one.ended - one.began

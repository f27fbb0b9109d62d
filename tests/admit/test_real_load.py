"""The same beside a real load: timed, so only on request and on a machine that does nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import pytest
from benchmarks.utilisation.jobs import Job
from benchmarks.utilisation.watch import repeated

from penstock import Pipeline, _core, command
from penstock.probes.cpu import affinity

CORES = len(affinity() or (0,))
PHASES, PHASE_S, FOLLOWED_S, JOB_S = 4, 6.0, 2.0, 0.4

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("PENSTOCK_LONG"), reason="timed: PENSTOCK_LONG=1 runs it, on a quiet machine"
    ),
    pytest.mark.skipif(
        not shutil.which("stress-ng"), reason="the outside load is Debian's stress-ng, which is not here"
    ),
    pytest.mark.skipif(CORES < 2, reason="one core has no room for an outside load and two jobs"),
    pytest.mark.timeout(180),
]


def start_hog(copies: int) -> int:
    """Start an outside load and return its process group. Its parent ends at once, so it is none of our process tree."""
    line = f"setsid stress-ng --cpu {copies} --timeout 60s --quiet </dev/null >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(["/bin/sh", "-c", line], stdout=subprocess.PIPE, text=True, check=True).stdout)


@contextmanager
def watched(scheduler: _core.Scheduler, every_s: float = 0.02) -> Iterator[list[tuple[float, int, int]]]:
    """Note (instant, held, capacity) all the time."""
    seen = list[tuple[float, int, int]]()
    with repeated(lambda: seen.append((time.monotonic(), scheduler.held(0), scheduler.capacity(0))), every_s):
        yield seen


def test_a_hog_that_comes_and_goes_is_followed_within_two_seconds_and_nothing_goes_back_in_between(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limit, copies = 0.8 * CORES, CORES // 2
    beside, alone = 1000 * limit - 1000 * copies, 1000 * limit - 500
    with Pipeline("beside-a-hog") as pipeline:
        for number in range(int(8 * PHASES * PHASE_S * CORES)):
            command(f"job-{number}", Job("", ("burn", str(JOB_S / 2), "0.5", "1"), 0.5).argv, cpu=0.5)
    marks = []
    with pipeline.start(limits={"cpu": limit}, progress=False, store=False) as run:
        with watched(run._engine.scheduler) as seen:
            time.sleep(PHASE_S)
            for _ in range(PHASES):
                hog = start_hog(copies)
                marks.append((time.monotonic(), True))
                time.sleep(PHASE_S)
                with suppress(ProcessLookupError):
                    os.killpg(hog, signal.SIGKILL)
                marks.append((time.monotonic(), False))
                time.sleep(PHASE_S)
        run.cancel()
    followed, back = [], 0
    for at, came in marks:
        during = [(when - at, held, capacity) for when, held, capacity in seen if at <= when < at + PHASE_S]
        if came:
            followed.append(max((when for when, held, _ in during if held > beside), default=0.0))
        else:
            followed.append(min((when for when, held, _ in during if held >= alone), default=PHASE_S))
        steady = [capacity for when, _, capacity in during if when > FOLLOWED_S]
        back += sum(b > a if came else b < a for a, b in pairwise(steady))
    with capsys.disabled():
        told = ", ".join(
            f"{'came' if came else 'went'} {s:.2f} s" for (_, came), s in zip(marks, followed, strict=True)
        )
        print(f"\nfollowed after: {told}; and in between the capacity went back {back} times")
    assert max(followed) <= FOLLOWED_S + JOB_S
    assert back == 0

"""The first case once more on a Python without the GIL, where there is one with penstock installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.cases import independent
from benchmarks.measures import Absent, Case, Figures, Measure
from benchmarks.programs import ROOT

__all__ = ["CASE"]

INTERPRETERS = ("python3.14t", "python3.13t")
NAMES = {"penstock, free-threaded": 0, "ThreadPoolExecutor(2), free-threaded": independent.CASE.sides.index("ThreadPoolExecutor(2)")}  # fmt: skip


def free_threaded(scale: float) -> dict[str, Figures]:
    interpreter = next(filter(None, map(shutil.which, INTERPRETERS)), None)
    if interpreter is None:
        raise Absent(f"there is no free-threaded Python here ({' or '.join(INTERPRETERS)} on PATH)")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, number in NAMES.items():
            file = Path(folder, "outcome.json")
            command = [interpreter, "-m", "benchmarks.child", "independent", str(number), repr(scale), str(file)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                last = done.stderr.strip().rpartition("\n")[2]
                raise Absent(
                    f"there is no free-threaded Python with penstock here: {Path(interpreter).name} says {last}"
                )
            found[name] = next(iter(json.loads(file.read_text())["figures"].values()))
    return found


CASE = Case(
    "free-threaded",
    "Independent no-op tasks on a free-threaded Python",
    "task",
    (Measure(tuple(NAMES), free_threaded),),
)

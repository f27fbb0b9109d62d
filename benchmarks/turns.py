"""Takes the measures of a case in turn, each in a process of its own, and keeps going when one of them does not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measures import Case, Figures

__all__ = ["ROOT", "take_turns"]

ROOT = Path(__file__).resolve().parents[1]


def take_turns(case: Case, scale: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every side `rounds` times, in turn, so that a slow minute of the machine is everyone's.

    Returns:
        `rounds`: by side, the figures of each round; `left_out`: by side, a sentence that says why it has none.
    """
    found: dict[str, list[Figures]] = {name: [] for name in case.sides}
    left_out: dict[str, str] = {}
    for turn in range(rounds):
        for number, measure in enumerate(case.measures):
            if measure.sides[0] in left_out or (measure.once and turn):
                continue
            say(f"{case.name}, round {turn + 1} of {rounds}: {', '.join(measure.sides)}")
            outcome = _in_a_process(case.name, number, scale, measure.limit_s)
            if "figures" in outcome:
                for name, figures in outcome["figures"].items():
                    found[name].append(figures)
            else:
                for name in measure.sides:
                    left_out[name] = outcome["absent"]
                say(f"  left out: {outcome['absent']}")
    return {
        "rounds": {name: figures for name, figures in found.items() if name not in left_out},
        "left_out": left_out,
    }


def _in_a_process(case: str, number: int, scale: float, limit_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "outcome.json"), Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", case, str(number), repr(scale), str(file)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                return {"absent": f"it had not ended after {limit_s:.0f} s"}
            finally:
                _end(process)
        if code == 0 and file.exists():
            outcome: dict[str, Any] = json.loads(file.read_text())
            return outcome
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return {"absent": f"its process {how}: {last or 'it printed nothing'}"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child that has not ended, with the daemons that it may have started."""
    if process.poll() is not None:
        return
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()

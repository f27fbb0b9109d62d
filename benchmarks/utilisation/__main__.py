"""`python -m benchmarks.utilisation`: each case against a fixed pool and against declared demands alone, in one run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.machine import environment
from benchmarks.measures import PENSTOCK, Absent
from benchmarks.programs import ROOT
from benchmarks.utilisation.cases import CASES
from benchmarks.utilisation.report import draw, store, tables
from benchmarks.utilisation.sides import SIDES

FOLDER = Path(__file__).parent
QUICK = ROOT / "build" / "benchmarks" / "utilisation"
QUICK_SCALE, LIMIT_S = 0.1, 170.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, store them with the plot. Exit status: 0; 1 when a side of penstock's has no figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.utilisation", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="CASE", help=f"may be repeated; one of {', '.join(CASES)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, stored in build/ alone")
    parser.add_argument("--out", type=Path, help="a folder for figures, tables and plot")
    given = parser.parse_args(arguments)
    folder: Path = given.out or (QUICK if given.quick else FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "measured.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    broken = False
    for case in given.only or CASES:
        scale = QUICK_SCALE if given.quick else 1.0
        sides: dict[str, Any] = {}
        for side in SIDES:
            begun = time.monotonic()
            sides[side] = _in_a_process(case, side, scale)
            print(f"{case}, {side}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
            broken |= side == PENSTOCK and "figures" not in sides[side]
        found[case] = {"measured": date.today().isoformat(), "scale": scale, "sides": sides}  # noqa: DTZ011
        file.write_text(json.dumps(found, indent=1) + "\n")
    text = tables(found, environment())
    print(text)
    store(text, folder / "README.md")
    try:
        draw(found, folder / "utilisation.svg")
    except Absent as absent:
        print(absent, file=sys.stderr)
    return int(broken)


def _in_a_process(case: str, side: str, scale: float) -> dict[str, Any]:
    """Return one side's figures, or {"absent": why there are none}."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "outcome.json"), Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.utilisation.child", case, side, str(scale), str(file)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                return {"absent": f"it had not ended after {LIMIT_S:.0f} s"}
            finally:
                with suppress(ProcessLookupError):  # what a pool has started is in its group
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code == 0 and file.exists():
            outcome: dict[str, Any] = json.loads(file.read_text())
            return outcome
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        return {"absent": f"its process ended with status {code}: {last or 'it printed nothing'}"}


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m benchmarks`: measures everything and redraws the report."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.machine import environment
from benchmarks.measures import PENSTOCK
from benchmarks.report import redraw
from benchmarks.store import Record, load, save
from benchmarks.turns import ROOT, take_turns

RESULTS = ROOT / "benchmarks" / "results"
QUICK = ROOT / "build" / "benchmarks" / "results"
QUICK_SCALE, QUICK_ROUNDS = 0.02, 3
EXPECTED = ("a run at this scale stops at", "there is no free-threaded Python", "the C++ programs are left out")
README = ROOT / "benchmarks" / "README.md"


def main(arguments: list[str] | None = None) -> int:
    """Measure, store after each case, redraw. Exit status: 0, also when a rival was left out; 1: penstock's side was."""
    given = _parsed(arguments)
    stored = not given.quick and given.out is None
    folder: Path = given.out or (QUICK if given.quick else RESULTS)
    file = folder / "measured.json"
    cases = {} if given.quick and not given.only else load(file)
    broken = []
    for name in [] if given.redraw else given.only or CASES:
        case = CASES[name]
        begun = time.monotonic()
        scale = given.scale or (QUICK_SCALE if given.quick else 1.0)
        found = take_turns(case, scale, given.rounds or (QUICK_ROUNDS if given.quick else case.rounds), _say)
        measured = {"measured": date.today().isoformat(), "scale": scale, "environment": environment()}  # noqa: DTZ011
        cases[name] = Record({**measured, **found})
        broken += [
            side
            for side, why in found["left_out"].items()
            if side.startswith(PENSTOCK) and not any(reason in why for reason in EXPECTED)
        ]
        save(file, {known: cases[known] for known in CASES if known in cases})
        _say(f"{name}: {time.monotonic() - begun:.0f} s, stored")
    redraw(load(file), folder, README if stored else None, _say)  # as stored: rounded, so that a later redraw agrees
    if broken:
        _say(f"penstock itself could not be measured: {', '.join(broken)}")
    return 1 if broken else 0


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure penstock against its rivals.")
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="CASE", help=f"may be repeated; one of {', '.join(CASES)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the size, 3 rounds, stored in build/ alone")
    parser.add_argument("--rounds", type=int, help="instead of 5")
    parser.add_argument("--scale", type=float, help="share of the full size, such as 0.1")
    parser.add_argument("--out", type=Path, help="a folder for figures and report, instead of benchmarks/results")
    parser.add_argument("--redraw", action="store_true", help="measure nothing; draw the stored figures anew")
    given = parser.parse_args(arguments)
    if given.scale is not None and not 0 < given.scale <= 1:
        parser.error(f"--scale {given.scale}: allowed is above 0 and at most 1")
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: at least 1 is needed")
    return given


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

"""Takes one measure of one case in this process: `python -m benchmarks.child CASE NUMBER SCALE FILE`.

The outcome is written to FILE as JSON: {"figures": ...}, or {"absent": a sentence}. Rivals may print what they like.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.measures import Absent

__all__ = ["main"]


def main(name: str, number: str, scale: str, file: str) -> None:
    outcome: dict[str, object]
    try:
        outcome = {"figures": CASES[name].measures[int(number)].run(float(scale))}
    except Absent as absent:
        outcome = {"absent": str(absent)}
    Path(file).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])

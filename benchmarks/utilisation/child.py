"""Takes one side of one case in this process: `python -m benchmarks.utilisation.child CASE SIDE SCALE FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.measures import Absent
from benchmarks.utilisation.cases import CASES

__all__ = ["main"]


def main(case: str, side: str, scale: str, file: str) -> None:
    outcome: dict[str, object]
    try:
        outcome = {"figures": CASES[case].run(side, float(scale))}
    except Absent as absent:
        outcome = {"absent": str(absent)}
    Path(file).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])

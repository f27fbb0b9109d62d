"""Static against dynamic on days that differ from the plan: `penstock compare` on all workflows, and the mean of it.

    python -m benchmarks.quality.days
    python -m benchmarks.quality.days --files examples/digits.py --capacity cpu=4,memory=2GiB

In percent above what no schedule of the undisturbed day can beat; of urgent tasks also the seconds until they are done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.__main__ import DATA
from benchmarks.quality.workflows import MACHINES
from penstock.compare import Comparison, compare

__all__ = ["main", "table"]

POLICIES = ("static", "hybrid", "bottom_level", "fifo")


def table(days: Sequence[Comparison]) -> str:
    """Return the means over workloads as a table for a README."""
    above: dict[tuple[str, float, str], list[float]] = {}
    urgent: dict[str, list[float]] = {}
    for day in days:
        for row in day.rows:
            above.setdefault((row.scenario, row.level, row.policy), []).append(100 * row.above)
            if row.urgent_s is not None:
                urgent.setdefault(row.policy, []).append(row.urgent_s)
    lines = ["| | " + " | ".join(POLICIES) + " |", "|---" * (1 + len(POLICIES)) + "|"]
    for scenario, level in dict.fromkeys((scenario, level) for scenario, level, _ in above):
        values = [f"{np.mean(above[scenario, level, policy]):.1f}" for policy in POLICIES]
        lines.append(f"| {scenario} {level:g} | " + " | ".join(values) + " |")
    if urgent:
        values = [f"{np.mean(urgent[policy]):.3g} s" for policy in POLICIES]
        lines.append("| urgent tasks are done in | " + " | ".join(values) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Exit status: 0; 2 when the set is not there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.days", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that holds wfinstances/ (%(default)s)")
    parser.add_argument("--files", nargs="*", type=Path, help="what to compare in place of all workflows")
    parser.add_argument("--capacity", help="as of penstock compare; default: 16 cores and 64 GiB")
    parser.add_argument("--seeds", type=int, default=3, help="draws of noise")
    given = parser.parse_args(arguments)
    files = given.files or sorted((given.data / "wfinstances").glob("*.json.gz"))
    if not files:
        print(f"{given.data / 'wfinstances'} is not there; give --data or set PENSTOCK_DATA.", file=sys.stderr)
        return 2
    capacity: dict[str, object] = dict(next(iter(MACHINES.values())))
    if given.capacity is not None:
        capacity = dict(part.split("=", 1) for part in given.capacity.split(","))
    print(table([compare(file, capacity=capacity, seeds=range(given.seeds), policies=POLICIES) for file in files]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.quality`: how far from the best known makespan each method ends, on a set of instances."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality.methods import Method, methods
from benchmarks.quality.psplib import Instance, read_set

DATA = Path(os.environ.get("PENSTOCK_DATA", Path(__file__).parents[3] / "shared" / "data"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, or JSON. Exit status: 0; 2 when the set is not there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--set", default="j30", help="a folder of psplib/ in the data folder, such as j30")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="the data folder (default: %(default)s, or $PENSTOCK_DATA)"
    )
    parser.add_argument("--budget", type=float, nargs="*", default=[0.1], help="seconds the planner has an instance")
    parser.add_argument("--every", type=int, default=1, help="only every n-th instance")
    parser.add_argument("--seed", type=int, default=0, help="of the planner")
    parser.add_argument("--cp-sat", type=float, default=0.0, metavar="SECONDS", help="run OR-Tools CP-SAT too")
    parser.add_argument("--only", nargs="*", help="names of methods that contain one of these words")
    parser.add_argument("--json", action="store_true", help="one line a method")
    given = parser.parse_args(arguments)
    folder = given.data / "psplib" / given.set
    if not folder.is_dir():
        print(
            f"{folder} is not there; give --data, or set PENSTOCK_DATA to the folder that holds psplib/.",
            file=sys.stderr,
        )
        return 2
    instances = read_set(folder)[:: given.every]
    for name, several in methods(given.budget, given.seed, given.cp_sat).items():
        if given.only and not any(word in name for word in given.only):
            continue
        row = measure(several, instances)
        if given.json:
            print(json.dumps({"set": given.set, "method": name, "instances": len(instances), **row}), flush=True)
        else:
            print(
                f"{name:24} {row['mean_over_best']:7.3f} %  worst {row['worst']:6.2f} %  best met {row['met']:5.0f}"
                f" of {len(instances)}  {row['seconds']:9.6f} s each",
                flush=True,
            )
    return 0


def measure(several: Sequence[Method], instances: Sequence[Instance]) -> dict[str, float]:
    """Return the mean and the worst distance over the best known in percent, how often it is met, and seconds each."""
    over, met, began = [], 0.0, time.perf_counter()
    for method in several:
        for instance in instances:
            makespan = method(instance)
            assert makespan >= instance.best, f"{instance.name}: {makespan} beats the proven optimum {instance.best}"
            over.append(100.0 * (makespan - instance.best) / instance.best)
            met += (makespan == instance.best) / len(several)
    return {
        "mean_over_best": sum(over) / len(over),
        "worst": max(over),
        "met": met,
        "seconds": (time.perf_counter() - began) / len(over),
    }


if __name__ == "__main__":
    sys.exit(main())

"""What the journal costs: `python -m benchmarks.journal [--tasks N] [--rounds N]`.

100,000 tasks of a millisecond on two workers, and 100,000 that do nothing, as calls of one pipeline: with the journal off
and on, in turns, each in a process of its own. The time is that of `Pipeline.run`, from submission to the last commit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["main"]

GOALS = {"kept": 0.7, "noop_per_s": 50_000}


def _nothing() -> None: ...


def _millisecond() -> None:
    time.sleep(0.001)


def measure(kind: str, tasks: int, store: str, durability: str) -> float:
    """Run a pipeline of that many tasks in this process and return tasks per second."""
    from penstock import Pipeline
    from penstock.task import as_task

    run = as_task(_millisecond if kind == "1ms" else _nothing)
    pipeline = Pipeline("cost")
    for _ in range(tasks):
        pipeline.record(run.call())
    begun = time.perf_counter()
    result = pipeline.run(workers=2, progress=False, store=store, durability=durability)  # type: ignore[arg-type]
    took = time.perf_counter() - begun
    assert result.ok
    assert (result.store_error, result.run_number) == (None, None if store == "off" else 1)
    return tasks / took


def in_a_process(kind: str, tasks: int, durability: str) -> float:
    """Measure once in a process of its own; `durability` "off" is without a journal."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("PENSTOCK_BENCH_DIR", ".")) as folder:
        store = "off" if durability == "off" else str(Path(folder) / "store")
        given = [kind, str(tasks), store, "group" if durability == "off" else durability]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.journal", "--child", *given], capture_output=True, text=True, check=True
        )
    return float(json.loads(done.stdout))


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table. Exit status: 0; 1: a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["1ms", "noop"])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        kind, tasks, store, durability = given.child
        print(json.dumps(measure(kind, int(tasks), store, durability)))
        return 0
    missed = False
    for kind in [given.only] if given.only else ["1ms", "noop"]:
        figures: dict[str, list[float]] = {"off": [], "group": []}
        for _ in range(given.rounds):
            for durability, found in figures.items():
                found.append(in_a_process(kind, given.tasks, durability))
        off, on = (statistics.median(figures[side]) for side in ("off", "group"))
        print(f"{given.tasks} tasks, {kind}: {off:,.0f} tasks/s off, {on:,.0f} on: {on / off:.1%} kept")
        missed |= on / off < GOALS["kept"] if kind == "1ms" else on < GOALS["noop_per_s"]
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

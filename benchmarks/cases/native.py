"""The C++ programs: the heap alone against other queues, and how the core scales with threads. No Python inside."""

from __future__ import annotations

import json
from functools import partial

from benchmarks.measures import Case, Figures, Measure
from benchmarks.programs import built, output_of

__all__ = ["NATIVE_HEAP", "SCALING"]

FULL = 1_000_000


def _program(name: str, full: int, least: int, sides: tuple[str, ...], scale: float) -> dict[str, Figures]:
    """Run a program that takes a size and prints, with --json, a list of {"row", "side", "values"}."""
    rows = json.loads(output_of(built(name), str(max(least, round(full * scale))), "--json"))
    found: dict[str, Figures] = {side: {"rows": {}} for side in sides}
    for row in rows:
        found[row["side"]]["rows"][row["row"]] = row["values"]
    return found


HEAP_SIDES = ("penstock", "std::priority_queue", "mutex and std::priority_queue", "oneTBB concurrent_priority_queue")
SCALING_SIDES = ("penstock",)

NATIVE_HEAP = Case(
    "native-heap",
    "The heap alone in C++, million operations a second, a push and a pop counted as two",
    "operation",
    (Measure(HEAP_SIDES, partial(_program, "bench_priority_heap", FULL, 20_000, HEAP_SIDES), limit_s=900, once=True),),
    note="One thread is timed by its own processor time, two threads by the clock. Sides take turns within the program,"
    " five times each.",
)

SCALING = Case(
    "scaling",
    "The core without Python at 1 to 16 threads, as far as the machine has them, million operations a second",
    "operation",
    (Measure(SCALING_SIDES, partial(_program, "bench_scaling", FULL, 20_000, SCALING_SIDES), limit_s=600, once=True),),
)

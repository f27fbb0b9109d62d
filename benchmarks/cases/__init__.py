"""The cases by name, in the order of the report. Rivals are imported by the side that needs them, when it is measured."""

from __future__ import annotations

from benchmarks.cases import dag, free_threaded, growth, heap, idle, independent, latency, native, readiness

__all__ = ["CASES"]

CASES = {
    case.name: case
    for case in (
        independent.CASE,
        independent.PRIORITIES,
        dag.CASE,
        readiness.CASE,
        readiness.MEMORY,
        native.NATIVE_HEAP,
        heap.CASE,
        latency.CASE,
        growth.CASE,
        idle.CASE,
        native.SCALING,
        free_threaded.CASE,
    )
}

"""The cases by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.measures import Figures
from benchmarks.utilisation import disk, hog, memory, shapes, urgent

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One table of the report.

    Args:
        title: what is measured.
        run: gets a side's name and a share of the full size, in a process of its own; returns that side's figures.
        columns: the figures shown: key, heading, how one is written.
        plotted: the key and the axis of the plot.
        note: what a reader should know.
    """

    title: str
    run: Callable[[str, float], Figures]
    columns: tuple[tuple[str, str, str], ...]
    plotted: tuple[str, str]
    note: str


CASES = {
    "shapes": Case(
        "Mixed CPU shapes: 2, 1 and half cores",
        shapes.run,
        (
            ("utilisation", "CPU used until the tail, of what others left", "{:.1%}"), ("others", "others used", "{:.1%}"),
            ("makespan_s", "makespan", "{:.1f} s"), ("jobs", "jobs", "{}"),
        ),
        ("utilisation", "share of the cores used until the tail, of what others left"),
        shapes.NOTE,
    ),
    "urgent": Case(
        "Urgent tasks among 100,000 background ones",
        urgent.run,
        (
            ("p50_ms", "median wait", "{:.2f} ms"), ("p99_ms", "99th percentile", "{:.2f} ms"),
            ("worst_ms", "longest", "{:.2f} ms"), ("urgent", "urgent tasks", "{}"), ("background", "background tasks", "{}"),
        ),
        ("p99_ms", "99th percentile of the wait, ms, logarithmic"),
        urgent.NOTE,
    ),
    "memory": Case(
        "60 jobs that take up to ten times the memory that they declare, in 2 GiB",
        memory.run,
        (
            ("finished", "finished", "{}"), ("jobs", "of", "{}"), ("kills", "killed by the kernel", "{}"),
            ("makespan_s", "makespan", "{:.1f} s"),
        ),
        ("kills", "processes that the kernel killed for memory"),
        memory.NOTE,
    ),
    "disk": Case(
        "Jobs that write beside jobs that compute",
        disk.run,
        (
            ("writers", "slow-down of writers", "{:.2f}"), ("computers", "of those that compute", "{:.2f}"),
            ("makespan_s", "makespan", "{:.1f} s"), ("written_mb_s", "written", "{:.0f} MB/s"),
            ("alone_mb_s", "one writer alone", "{:.0f} MB/s"), ("others", "CPU that others used", "{:.1%}"),
        ),
        ("writers", "slow-down of writers"),
        disk.NOTE,
    ),
    "hog": Case(
        "Beside a CPU hog that comes and goes",
        hog.run,
        (
            ("average", "average CPU of the machine", "{:.1%}"), ("of_limit", "of the limit", "{:.1%}"),
            ("over", "time over the limit", "{:.1%}"), ("makespan_s", "makespan", "{:.1f} s"),
        ),
        ("over", "share of the time over the limit"),
        hog.NOTE,
    ),
}  # fmt: skip

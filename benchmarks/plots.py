"""The figures as small SVG files, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.cases.growth import BASELINE, PASSING, SIZES
from benchmarks.cases.growth import named as grown
from benchmarks.measures import PENSTOCK, need
from benchmarks.store import Record
from benchmarks.tables import quantity, thread_rows

__all__ = ["PLOTS", "draw"]

OURS, THEIRS = "#1f6f8b", "#777777"


def draw(cases: Mapping[str, Record], folder: Path) -> list[str]:
    """Draw what there are figures for; returns the names of the files.

    Raises:
        Absent: matplotlib is not installed.
    """
    matplotlib = need("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 8})
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (needed, plot) in PLOTS.items():
        if any(case not in cases or not cases[case].sides for case in needed):
            continue
        figure = plot(need("matplotlib.figure").Figure, cases)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
        drawn.append(f"{name}.svg")
    return drawn


def _sides(make: Any, cases: Mapping[str, Record]) -> Any:
    """Seconds for one task or node, by side."""
    names = ("independent", "dag", "readiness")
    figure = make(figsize=(7.5, 8), layout="constrained")
    axes = figure.subplots(3, 1, height_ratios=[len(cases[name].sides) for name in names])
    for axis, name in zip(axes, names, strict=True):
        record = cases[name]
        each = {side: seconds for side in reversed(record.sides) if (seconds := record.each_s(side)) is not None}
        _points(axis, each, "seconds for one node" if name == "readiness" else "seconds for one task")
        axis.set_title({"dag": "graph, values passed along the edges"}.get(name, name), loc="left")
    return figure


def _latency(make: Any, cases: Mapping[str, Record]) -> Any:
    figure = make(figsize=(7.5, 2.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, quantile, title in zip(axes, ("p50_us", "p99_us"), ("median", "99th percentile"), strict=True):
        record = cases["latency"]
        found = {side: us / 1e6 for side in reversed(record.sides) if (us := record.median(side, quantile)) is not None}
        _points(axis, found, "seconds")
        axis.set_title(title, loc="left")
    return figure


def _points(axis: Any, seconds: Mapping[str, float], what: str) -> None:
    """Points, not bars: a logarithmic axis has no zero for a bar's length to start from."""
    colours = [OURS if side.startswith(PENSTOCK) else THEIRS for side in seconds]
    axis.scatter(list(seconds.values()), list(seconds), color=colours, zorder=2)
    for side, one in seconds.items():
        axis.annotate(quantity(one), (one, side), xytext=(6, 0), textcoords="offset points", va="center")
    axis.set_xscale("log")
    axis.minorticks_off()
    axis.set_xlabel(f"{what}, logarithmic")
    axis.grid(alpha=0.3)
    axis.margins(x=0.15, y=0.1)
    axis.spines[["top", "right"]].set_visible(False)


def _growth(make: Any, cases: Mapping[str, Record]) -> Any:
    figure = make(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, colour, mark in ((PENSTOCK, OURS, "o"), (PASSING, OURS, "^"), (BASELINE, THEIRS, "s")):
        points = {size: each for size in SIZES if (each := cases["growth"].each_s(grown(name, size))) is not None}
        axis.plot(list(points), [1e9 * each for each in points.values()], marker=mark, color=colour, label=name)
    axis.set(xscale="log", yscale="log", xlabel="tasks, four predecessors each", ylabel="ns for one task")
    axis.grid(which="major", alpha=0.3)
    axis.legend(frameon=False)
    return figure


def _heap(make: Any, cases: Mapping[str, Record]) -> Any:
    record = cases["native-heap"]
    of_side = {side: record.rows(side) for side in record.sides if record.rows(side)}
    rows = [row for row in of_side[PENSTOCK] if not row.endswith("later")]
    figure = make(figsize=(7.5, 3.4), layout="constrained")
    axis = figure.subplots()
    for (side, values), mark in zip(of_side.items(), "osD^", strict=False):
        places = [place for place, row in enumerate(rows) if row in values]
        size, colour = (40, OURS) if side == PENSTOCK else (22, THEIRS)
        axis.scatter(places, [values[rows[place]] for place in places], size, color=colour, marker=mark, label=side)
    axis.set_xticks(range(len(rows)), rows, rotation=40, ha="right")
    axis.set(yscale="log", ylabel="million operations a second")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _scaling(make: Any, cases: Mapping[str, Record]) -> Any:
    figure = make(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    found = thread_rows(cases["scaling"])
    for operation, values in found.items():
        axis.plot(list(values), [value / values[1] for value in values.values()], marker="o", label=operation)
    threads = sorted({n for values in found.values() for n in values})
    axis.plot(threads, threads, color="black", linewidth=0.7, linestyle=":", label="as many times as threads")
    axis.set(xlabel="threads", ylabel="times as fast as one", xticks=threads)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


PLOTS: dict[str, tuple[tuple[str, ...], Callable[[Any, Mapping[str, Record]], Any]]] = {
    "sides": (("independent", "dag", "readiness"), _sides),
    "latency": (("latency",), _latency),
    "growth": (("growth",), _growth),
    "heap": (("native-heap",), _heap),
    "scaling": (("scaling",), _scaling),
}

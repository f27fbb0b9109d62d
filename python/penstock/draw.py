"""Pictures of simulated schedules. Needs matplotlib, which the extra "plot" brings."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import ExtraMissingError, OptionError
from penstock.observe.events import EventKind

if TYPE_CHECKING:
    from penstock.simulation import Simulation

__all__ = ["draw_schedules", "figure", "save"]

MOST_BARS = 5000
"""Above so many tasks, a schedule is drawn as what is in use over time instead of a bar for each task."""

COLOURS = 20


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """Return a matplotlib figure and a two-dimensional array of axes, without a display.

    Raises:
        ExtraMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ExtraMissingError("plot", "a picture") from None
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, made.subplots(rows, columns, squeeze=False)


def save(made: Any, path: str | PathLike[str]) -> None:
    """Write a figure; the file's ending says in which form.

    Raises:
        OptionError: the ending is unknown, or the file cannot be written.
    """
    try:
        made.savefig(fspath(path), dpi=110)
    except (ValueError, OSError) as error:
        raise OptionError(f"the picture {fspath(path)!r} cannot be written: {error}") from None


def draw_schedules(path: str | PathLike[str], schedules: Sequence[tuple[str, Simulation]]) -> None:
    """Draw schedules below each other on one time scale, with a row for each place that ran tasks.

    Args:
        path: of the picture: .png, .svg or .pdf.
        schedules: (title, simulation) each.

    Raises:
        ExtraMissingError, OptionError: as `figure` and `save`.
    """
    made, axes = figure(len(schedules), 1, 9.0, 0.6 + 2.2 * len(schedules))
    longest = max(simulation.makespan_s for _, simulation in schedules) or 1.0
    for (title, simulation), axis in zip(schedules, axes[:, 0], strict=True):
        _draw_one(axis, simulation)
        axis.axvline(simulation.lower_bound_s, color="black", linestyle=":", linewidth=1)
        axis.set_xlim(0, 1.02 * longest)
        axis.set_title(f"{title}: {simulation.makespan_s:.6g} s (dotted: lower bound)", fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("seconds")
    save(made, path)


def _draw_one(axis: Any, simulation: Simulation) -> None:
    start, finish = simulation.start_ns / 1e9, simulation.finish_ns / 1e9
    if len(start) > MOST_BARS:
        at = np.concatenate([start, finish])
        change = np.concatenate([np.ones(len(start)), -np.ones(len(finish))])
        order = np.argsort(at, kind="stable")
        axis.fill_between(at[order], np.cumsum(change[order]), step="post", linewidth=0)
        axis.set_ylabel("running")
        return
    started = simulation.events[simulation.events["kind"] == EventKind.STARTED]
    place = np.zeros(len(start), np.int64)
    place[started["task"]] = started["worker"]
    colours = simulation.workload.groups % COLOURS
    for colour in np.unique(colours):
        which = colours == colour
        axis.barh(
            place[which], (finish - start)[which], left=start[which], height=0.9, color=f"C{colour % 10}", linewidth=0
        )
    axis.invert_yaxis()
    axis.set_ylabel("place")

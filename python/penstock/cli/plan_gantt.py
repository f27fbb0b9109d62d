"""A planned schedule as a Gantt picture in text, as a table, as JSON, and as an image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from penstock.observe.text import plural, span_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.planning import Schedule

__all__ = ["as_json", "as_text", "draw"]

NS = 1_000_000_000
MOST_ROWS = 40
"""The picture in text shows at most so many tasks; the table has them all."""
MOST_NAME = 24


def as_text(name: str, names: Sequence[str], schedule: Schedule, width: int = 100) -> str:
    """Return the picture and the table, each in the order of the plan."""
    lines = [_heading(name, schedule), "", *_bars(names, schedule, width), "", f"{'start':>10}  {'end':>10}  task"]
    for task in schedule.order:
        begin, end = _span(schedule, task)
        lines.append(f"{_seconds(begin):>10}  {_seconds(end):>10}  {names[task]}")
    return "\n".join(lines)


def as_json(name: str, names: Sequence[str], schedule: Schedule) -> str:
    """Return the plan as JSON, times in seconds."""
    tasks = [
        {"name": names[task], "start_s": schedule.starts_ns[task] / NS, "duration_s": schedule.durations_ns[task] / NS}
        for task in schedule.order
    ]
    return json.dumps(
        {
            "pipeline": name,
            "policy": "static",
            "makespan_s": schedule.makespan_ns / NS,
            "lower_bound_s": schedule.lower_bound_ns / NS,
            "optimal": schedule.optimal,
            "guessed_durations": schedule.guessed,
            "tasks": tasks,
        },
        indent=2,
    )


def draw(name: str, names: Sequence[str], schedule: Schedule, file: str) -> None:
    """Write the picture as an image, in the format of the file's ending.

    Raises:
        ImportError: matplotlib is not there.
        ValueError: the ending is no format that it knows.
    """
    from matplotlib.figure import Figure

    rows = len(schedule.order)
    figure = Figure(figsize=(10, min(60.0, 1.5 + 0.22 * rows)), layout="constrained")
    axes = figure.add_subplot()
    begins = [schedule.starts_ns[task] / NS for task in schedule.order]
    lengths = [schedule.durations_ns[task] / NS for task in schedule.order]
    axes.barh(range(rows), lengths, left=begins, height=0.8)
    if rows <= 250:
        axes.set_yticks(range(rows), [_short(names[task]) for task in schedule.order], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("planned seconds")
    axes.set_title(_heading(name, schedule), fontsize=9)
    figure.savefig(file)


def _heading(name: str, schedule: Schedule) -> str:
    end, bound = schedule.makespan_ns / NS, schedule.lower_bound_ns / NS
    if schedule.optimal:
        quality = "no order is shorter"
    else:
        over = 100.0 * (end - bound) / bound if bound else 0.0
        quality = f"none is shorter than {span_text(bound)}, {over:.1f} % less" if bound else "no bound is known"
    guess = f"; {plural(schedule.guessed, 'duration')} guessed" if schedule.guessed else ""
    return f"{name}: {plural(len(schedule.order), 'task')} planned to end after {span_text(end)}; {quality}{guess}"


def _bars(names: Sequence[str], schedule: Schedule, width: int) -> list[str]:
    shown = list(schedule.order[:MOST_ROWS])
    label = min(MOST_NAME, max((len(names[task]) for task in shown), default=0))
    columns = max(20, width - label - 4)
    scale = columns / max(1, schedule.makespan_ns)
    lines = []
    for task in shown:
        begin, end = _span(schedule, task)
        left = min(columns - 1, int(begin * scale))
        length = max(1, min(columns, round(end * scale)) - left)
        lines.append(f"{_short(names[task]):<{label}} |{' ' * left}{'#' * length}".ljust(label + 2 + columns) + "|")
    if len(schedule.order) > MOST_ROWS:
        lines.append(f"{'':<{label}}  and {len(schedule.order) - MOST_ROWS:,} more, see the table")
    return lines


def _short(name: str) -> str:
    return name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…"


def _span(schedule: Schedule, task: int) -> tuple[int, int]:
    begin = schedule.starts_ns[task]
    return begin, begin + schedule.durations_ns[task]


def _seconds(ns: int) -> str:
    return f"{ns / NS:.3f}s"

"""The closing table of a run: one row a task, and one line of totals."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TextIO

from penstock.observe.text import UNKNOWN, amount_text, chain_text, plural, size_text, span_text
from penstock.observe.timeline import TaskRow, Timeline, batches, task_rows
from penstock.plan import critical_path
from penstock.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from penstock.observe.protocol import RunView

__all__ = ["MOST_ROWS", "Totals", "as_dicts", "print_table", "render", "totals"]

MOST_ROWS = 200
"""A table shows at most so many tasks: first those that did not succeed, then those that ran longest."""

CPU = 0

_HEADS = ("task", "state", "attempts", "wait", "run", "CPU", "cores", "peak memory", "I/O", "GPU memory")
NAME, STATE, ATTEMPTS, WAIT, RUN, CPU_TIME, CORES, PEAK, IO, GPU_PEAK = range(len(_HEADS))
LEAST_NAME, LEAST_STATE = 10, 10
"""Characters that a terminal keeps for these two before it leaves out a column of numbers."""
BETWEEN = 2
"""Characters between columns."""
_COLOURS = {
    State.SUCCEEDED: "green",
    State.FAILED: "bold red",
    State.UPSTREAM_FAILED: "red",
    State.CANCELLED: "yellow",
}


@dataclass(frozen=True, slots=True)
class Totals:
    """A run in one line. None is "not known".

    Attributes:
        makespan_s: from the start of the run to its end.
        cpu_used: cores, average over the run: of the whole machine as its probe read it, or, when the run
            was too short for that, what the tasks used.
        cpu_limit: cores.
        critical_path: names of the chain of dependencies that took longest to run, in order.
        critical_path_s: the sum of their run times; the makespan cannot be shorter with these run times.
        counts: how many tasks ended how.
    """

    makespan_s: float
    cpu_used: float | None
    cpu_limit: float | None
    critical_path: tuple[str, ...]
    critical_path_s: float
    counts: dict[str, int]

    def __str__(self) -> str:
        parts = [f"makespan {span_text(self.makespan_s)}", _cpu_text(self)]
        if self.critical_path:
            parts.append(f"critical path {span_text(self.critical_path_s)}: {chain_text(self.critical_path)}")
        parts.append(", ".join(f"{count:,} {word}" for word, count in self.counts.items()) or "no tasks")
        return " | ".join(parts)


def totals(view: RunView) -> Totals:
    """Return the totals of a run, or of what has happened of it so far."""
    timeline = _fold(view)
    return _totals(view, timeline, task_rows(view, timeline))


def as_dicts(view: RunView) -> list[dict[str, Any]]:
    """Return one dictionary a task, in submission order, of plain JSON values; None is "not known"."""
    rows = []
    for row in task_rows(view, _fold(view)):
        plain = asdict(row)
        plain.update(state=row.state.name.lower(), cause=row.cause.name.lower(), outcome=row.outcome)
        rows.append(plain)
    return rows


def render(view: RunView, *, most_rows: int = MOST_ROWS) -> str:
    """Return the table and the line of totals as aligned plain text."""
    timeline = _fold(view)
    rows = task_rows(view, timeline)
    shown = _chosen(rows, most_rows)
    columns = _telling(shown)
    cells = [tuple(line[column] for column in columns) for line in (_HEADS, *(_cells(row) for row in shown))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    if note := _left_out(rows, shown):
        lines.append(note)
    return "\n".join((*lines, "", str(_totals(view, timeline, rows))))


def print_table(view: RunView, file: TextIO | None = None, *, most_rows: int = MOST_ROWS) -> None:
    """Write the table to `file` (standard output): in colour to a terminal, else as `render` has it."""
    out = sys.stdout if file is None else file
    if not out.isatty():
        print(render(view, most_rows=most_rows), file=out)
        return
    from rich.console import Console

    console = Console(file=out)
    timeline = _fold(view)
    rows = task_rows(view, timeline)
    shown = _chosen(rows, most_rows)
    telling = _telling(shown)
    columns = _fitting([_HEADS, *(_cells(row) for row in shown)], telling, console.width)
    console.print(_rich_table(shown, columns))
    if len(columns) < len(telling):
        left = [_HEADS[column] for column in telling if column not in columns]
        console.print(f"({', '.join(left)}: no room in {console.width} columns)", style="dim")
    if note := _left_out(rows, shown):
        console.print(note, style="dim")
    console.print(_rich_totals(_totals(view, timeline, rows)))


def _fold(view: RunView) -> Timeline:
    timeline = Timeline()
    for rows in batches(view):
        timeline.update(rows)
    return timeline


def _totals(view: RunView, timeline: Timeline, rows: Sequence[TaskRow]) -> Totals:
    ran = [row.id for row in rows if row.run_s is not None]
    # A task starts after its predecessors have finished, so the order of finishing is an order of the graph.
    finished = timeline.column("finished_ns").tolist()
    ran.sort(key=lambda task: (finished[task] if finished[task] >= 0 else sys.maxsize, task))
    before = _predecessors(view, timeline)
    path, length = critical_path(ran, before, lambda task: rows[task].run_s or 0.0)
    counts: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row.state):
        counts[_word(row)] = counts.get(_word(row), 0) + 1
    limit = view.limits.get("cpu")
    return Totals(
        makespan_s=timeline.makespan_ns / 1e9,
        cpu_used=_cpu_used(timeline, rows),
        cpu_limit=limit / 1000 if limit is not None else None,
        critical_path=tuple(rows[task].name for task in path),
        critical_path_s=length,
        counts=counts,
    )


def _predecessors(view: RunView, timeline: Timeline) -> Callable[[int], Sequence[int]]:
    """Return what a task waited for, in a run in which tasks made tasks.

    A task that was made by another could not start before that one, so it also comes after whatever its maker waited
    for at first. (The maker itself, which waits for it in turn, is one node and stands behind it.)
    """
    made_after: dict[int, Sequence[int]] = {}
    submitted, started = timeline.column("submitted_ns"), timeline.column("first_started_ns")
    for maker in timeline.column("deferrals").nonzero()[0].tolist():
        waited_for = view.predecessors(maker)
        made = [task for task in waited_for if submitted[task] > started[maker]]
        first = [task for task in waited_for if submitted[task] <= started[maker]]
        while made:
            task = made.pop()
            if task not in made_after:
                made_after[task] = first
                made += [other for other in view.predecessors(task) if submitted[other] > started[maker]]

    def predecessors(task: int) -> Sequence[int]:
        own = view.predecessors(task)
        return [*own, *made_after[task]] if task in made_after else own

    return predecessors


def _word(row: TaskRow) -> str:
    return row.outcome.partition(" (")[0]


def _cpu_used(timeline: Timeline, rows: Sequence[TaskRow]) -> float | None:
    gauge = timeline.gauges.get(CPU)
    if gauge is not None and 2 * gauge.weight_ns >= timeline.makespan_ns > 0:
        return gauge.average / 1000
    known = [row.cpu_s for row in rows if row.run_s is not None]
    if not known or timeline.makespan_ns <= 0:
        return None
    total = 0.0
    for seconds in known:
        if seconds is None:
            return None
        total += seconds
    return total / (timeline.makespan_ns / 1e9)


def _cpu_text(of: Totals) -> str:
    if of.cpu_used is None:
        return f"average CPU {UNKNOWN}"
    used = f"average CPU {of.cpu_used:.2f}"
    if not of.cpu_limit:
        return f"{used} cores"
    limit = amount_text("cpu", of.cpu_limit * 1000)
    return f"{used} of {limit} cores ({of.cpu_used / of.cpu_limit:.0%} of the limit)"


def _chosen(rows: Sequence[TaskRow], most: int) -> Sequence[TaskRow]:
    if len(rows) <= most:
        return rows
    ranked = sorted(rows, key=lambda row: (row.state is State.SUCCEEDED, -(row.run_s or 0.0), row.id))
    return sorted(ranked[:most], key=lambda row: row.id)


def _left_out(rows: Sequence[TaskRow], shown: Sequence[TaskRow]) -> str:
    left = len(rows) - len(shown)
    return f"({plural(left, 'more task')}, the quickest of those that succeeded, not shown)" if left else ""


def _cells(row: TaskRow) -> tuple[str, ...]:
    return (
        row.name,
        row.outcome,
        str(row.attempts) if row.attempts else UNKNOWN,
        span_text(row.wait_s),
        span_text(row.run_s),
        span_text(row.cpu_s),
        _of_declared(None if row.cores is None else f"{row.cores:.2f}", amount_text("cpu", row.declared.get("cpu"))),
        _of_declared(_known_size(row.peak_memory), size_text(row.declared.get("memory"))),
        size_text(row.io_bytes),
        _of_declared(_known_size(row.gpu_memory), size_text(row.declared.get("gpu_memory"))),
    )


def _known_size(amount: int | None) -> str | None:
    return None if amount is None else size_text(amount)


def _of_declared(used: str | None, declared: str) -> str:
    """Return what was used, behind it what was declared if anything was: `0.93/1`, `310MiB/2.00GiB`, `-/2.00GiB`."""
    return (used or UNKNOWN) if declared == UNKNOWN else f"{used or UNKNOWN}/{declared}"


def _telling(rows: Sequence[TaskRow]) -> list[int]:
    """Return the columns of a table of these tasks."""
    rare = {
        IO: any(row.io_bytes is not None for row in rows),
        GPU_PEAK: any(row.gpu_memory is not None or "gpu_memory" in row.declared for row in rows),
    }
    return [column for column in range(len(_HEADS)) if rare.get(column, True)]


def _fitting(cells: Sequence[Sequence[str]], columns: Sequence[int], room: int) -> list[int]:
    """Return those of the columns that fit into `room` characters, with what may break into lines broken.

    Name and state always stay. Of the numbers the last ones go first; the run time stays longest.
    """
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS))]
    columns = list(columns)
    for column in (GPU_PEAK, IO, CORES, PEAK, CPU_TIME, WAIT, ATTEMPTS, RUN):
        if column not in columns:
            continue
        needed = min(widths[NAME], LEAST_NAME) + min(widths[STATE], LEAST_STATE)
        needed += sum(widths[each] for each in columns[2:]) + BETWEEN * (len(columns) - 1)
        if needed <= room:
            break
        columns.remove(column)
    return columns


def _rich_table(rows: Sequence[TaskRow], columns: Sequence[int]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, BETWEEN - 1, 0, 0), show_edge=False, header_style="bold")
    for column in columns:
        number = column not in (NAME, STATE)
        # A name that has no room goes on in the next line: cut off, those of one family would look alike.
        table.add_column(_HEADS[column], justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        name, outcome, *numbers = _cells(row)
        attempts = Text(numbers[0], style="yellow" if row.attempts > 1 else "")
        colour = "yellow" if row.fell_back and row.state is State.SUCCEEDED else _COLOURS.get(row.state, "")
        shown = [Text(name), Text(outcome, style=colour), attempts, *(Text(text) for text in numbers[1:])]
        table.add_row(*(shown[column] for column in columns))
    return table


def _rich_totals(of: Totals) -> RenderableType:
    from rich.text import Text

    return Text(f"\n{of}", style="bold")

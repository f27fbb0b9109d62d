"""The live display in a terminal: a bar, counts, what runs, the machine's gauges, and why nothing starts."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.observe.text import amount_text, interrupted_text, plural, span_text
from penstock.observe.timeline import Timeline
from penstock.resources import RESOURCES
from penstock.states import State

if TYPE_CHECKING:
    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["LiveDisplay"]

MOST_TASKS = 10
BAR, LEAST_BAR = 24, 8
ROOMY = 80
"""Columns of a terminal in which the gauges' bars have their full width."""
STALLED_S = 0.5
NS = 1_000_000_000


class LiveDisplay:
    """Redraws at each batch of rows and at each `quiet`. What tasks print appears above it.

    Args:
        view: the run.
        file: a terminal.
    """

    def __init__(self, view: RunView, file: TextIO, *, console: Console | None = None) -> None:
        self._view = view
        self._timeline = Timeline()
        self._stalled_since_ns: int | None = None
        self._console = Console(file=file) if console is None else console
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def feed(self, rows: Events) -> None:
        """Take the next rows of the log and redraw."""
        self._timeline.update(rows)
        self.quiet(time.monotonic_ns())

    def quiet(self, now_ns: int) -> None:
        """Redraw, for the clock and the spinning times."""
        self._live.update(self.frame(now_ns), refresh=True)

    def close(self) -> None:
        """Take the display off the screen; the closing table follows it."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # what tasks printed without ending the line
        self._live.stop()

    def frame(self, now_ns: int) -> RenderableType:
        """Return the picture as of `now_ns` on the run's clock."""
        counts = self._timeline.counts()
        parts: list[RenderableType] = [self._head(now_ns), self._counts(counts)]
        running = self._running(now_ns)
        reason = self._why_nothing_starts(counts, now_ns)
        if running is not None:
            parts += [Text(), running]
        if reason is not None:
            parts += [Text(), Text(reason, style="yellow")]
        if (gauges := self._gauges()) is not None:
            parts += [Text(), gauges]
        return Group(*parts)

    def _head(self, now_ns: int) -> RenderableType:
        timeline = self._timeline
        total, finished = len(timeline), timeline.finished
        elapsed = (now_ns - timeline.origin_ns) / NS if timeline.started_ns is not None else 0.0
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text(self._view.name, style="bold", overflow="ellipsis", no_wrap=True),
            ProgressBar(total=max(total, 1), completed=finished, width=2 * BAR, complete_style="green"),
            Text(f"{finished:,}/{total:,}"),
            Text(span_text(elapsed), style="cyan"),
        )
        return line

    def _counts(self, counts: dict[State, int]) -> RenderableType:
        words = (
            (State.RUNNING, "running", "cyan"),
            (State.READY, "ready", ""),
            (State.WAITING, "waiting", ""),
            (State.BACKOFF, "to retry", "yellow"),
            (State.SUCCEEDED, "succeeded", "green"),
            (State.FAILED, "failed", "bold red"),
            (State.CANCELLED, "cancelled or skipped", "yellow"),
            (State.UPSTREAM_FAILED, "not run", "red"),
        )
        always = (State.RUNNING, State.READY, State.WAITING, State.SUCCEEDED)
        shown = [(s, word, style) for s, word, style in words if counts[s] or s in always]
        text = Text()  # wraps: a count that is cut off would look like none
        for k, (state, word, style) in enumerate(shown):
            text.append(" · " if k else "", style="dim")
            text.append(f"{counts[state]:,} {word}", style=style if counts[state] else "dim")
        return text

    def _running(self, now_ns: int) -> RenderableType | None:
        timeline = self._timeline
        tasks = timeline.tasks_in(State.RUNNING)
        if not len(tasks):
            return None
        since, attempts = timeline.column("since_ns"), timeline.attempts()
        # Longest first: those are what a watcher asks about.
        longest = tasks[since[tasks].argsort(kind="stable")][:MOST_TASKS].tolist()
        table = Table.grid(padding=(0, 2))
        table.add_column(overflow="ellipsis", no_wrap=True, max_width=48)
        table.add_column(justify="right", min_width=7)
        table.add_column()
        for task in longest:
            attempt = int(attempts[task])
            again = Text(f"attempt {attempt}", style="yellow") if attempt > 1 else Text()
            if timeline.column("fell_back")[task]:
                again = Text("fallback", style="yellow")
            table.add_row(Text(f"▸ {self._view.names[task]}"), span_text((now_ns - int(since[task])) / NS), again)
        if len(tasks) > MOST_TASKS:
            table.add_row(Text(f"  and {len(tasks) - MOST_TASKS:,} more", style="dim"), "", "")
        return table

    def _why_nothing_starts(self, counts: dict[State, int], now_ns: int) -> str | None:
        """Return a sentence when nothing more will start, or nothing has run for a while although something is left."""
        if (until_ns := self._timeline.interrupted_until_ns) is not None:
            return interrupted_text(counts[State.RUNNING], (until_ns - now_ns) / NS)
        if self._timeline.paused:
            return "paused: nothing starts until the run is resumed"
        if counts[State.RUNNING] or not (counts[State.READY] or counts[State.BACKOFF]):
            self._stalled_since_ns = None
            return None
        if self._stalled_since_ns is None:
            self._stalled_since_ns = now_ns
        if (now_ns - self._stalled_since_ns) / NS < STALLED_S:
            return None
        state = State.READY if counts[State.READY] else State.BACKOFF
        task = int(self._timeline.tasks_in(state)[0])
        return f"nothing runs: {self._view.why(task)}"

    def _gauges(self) -> RenderableType | None:
        timeline = self._timeline
        gauges = timeline.gauges
        if not gauges:
            return None
        # Where room is short, the bar gives way first, then the end of the amounts, the name never.
        width = max(LEAST_BAR, min(BAR, self._console.width - ROOMY + BAR))
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(width=width)
        table.add_column()
        for number, name in enumerate(RESOURCES):
            gauge = gauges.get(number)
            if gauge is None:
                continue
            machine, limit = self._view.capacity.get(name), self._view.limits.get(name)
            bound = limit if limit is not None else machine
            used = amount_text(name, gauge.latest)
            bar: RenderableType = Text()
            if bound:
                full = gauge.latest >= 0.98 * bound
                bar = ProgressBar(
                    total=float(bound),
                    completed=float(min(gauge.latest, bound)),
                    width=width,
                    complete_style="yellow" if full else "cyan",
                    finished_style="yellow",
                )
                used = f"{used} of {amount_text(name, bound)}{' cores' if name == 'cpu' else ''}"
                free = timeline.capacity.get(number)
                if free is not None and free < 0.9 * bound and not name.startswith("gpu"):  # those are a GPU's, not all
                    used += f", {amount_text(name, free)} for tasks"
                if limit is not None and machine is not None and limit < machine:
                    used += f" (the machine has {amount_text(name, machine)})"
            table.add_row(name.replace("_", " "), bar, Text(used, overflow="ellipsis", no_wrap=True))
        workers = Text(plural(self._view.workers, "worker thread"), style="dim")
        return Group(table, workers) if self._view.workers else table

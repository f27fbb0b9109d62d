"""The progress display: live in a terminal, plain lines elsewhere. Chooses, and drives either from its own thread."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from penstock.observe.lines import Lines
from penstock.observe.subscription import Subscription

if TYPE_CHECKING:
    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["watch_progress"]

REFRESH_S = 0.1
QUIET_S = 30.0
"""Plain lines say how things stand after so long without an event."""


class _Display(Protocol):
    def feed(self, rows: Events) -> None: ...
    def quiet(self, now_ns: int) -> None: ...
    def close(self) -> None: ...


def watch_progress(view: RunView, choice: object, file: TextIO | None = None) -> Subscription | None:
    """Start showing the progress of a run, or nothing.

    Args:
        view: the run.
        choice: True for a live display in a terminal and plain lines elsewhere; "auto" for a live display in a
            terminal and nothing elsewhere; False or None for nothing.
        file: where to; standard output by default.

    Returns:
        The reader, or None when there is nothing to show.
    """
    if choice is None or choice is False:
        return None
    out = sys.stdout if file is None else file
    terminal = out is not None and out.isatty()
    if out is None or (choice == "auto" and not terminal):
        return None
    return _Progress(view, out, live=terminal).subscription


class _Progress:
    """Feeds one display; after its first error it shows nothing more, and the run goes on."""

    def __init__(self, view: RunView, file: TextIO, *, live: bool) -> None:
        self._broken = False
        self._display: _Display
        if live:
            from penstock.observe.live import LiveDisplay

            self._display = LiveDisplay(view, file)
        else:
            self._display = Lines(view, file)
        self.subscription = Subscription(
            view,
            self._feed,
            name="progress display",
            settle_s=REFRESH_S,
            tick_s=REFRESH_S if live else QUIET_S,
            on_end=self._end,
        ).start()

    def _feed(self, rows: Events) -> None:
        if self._broken:
            return
        try:
            if len(rows):
                self._display.feed(rows)
            else:
                self._display.quiet(time.monotonic_ns())
        except BrokenPipeError:  # as in `penstock run ... | head`: who read it has seen enough
            self._broken = True
        except BaseException:
            self._broken = True
            with contextlib.suppress(Exception):  # the first error is the one to report
                self._display.close()
            raise

    def _end(self) -> None:
        if not self._broken:
            self._display.close()

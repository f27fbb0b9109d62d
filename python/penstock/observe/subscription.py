"""One reader of the event log: a daemon thread with a cursor of its own.

The run never calls a reader and never waits for one, except at its very end and then only for a stated
time. A reader that raises is reported once through `logging` and goes on with the next rows.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING

from penstock.observe.events import one_each, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["Subscription"]

logger = logging.getLogger("penstock.observe")

BATCH_ROWS = 16384


class Subscription:
    """Delivers every row of a run's log, in order and exactly once, to one function.

    Not for synchronous work: by the time a row is delivered, the run is past it.

    Args:
        view: the run.
        deliver: called on the reader's thread with the next rows (1 to 16,384 of them).
        name: what the reader is, in messages and as the thread's name.
        settle_s: how long a burst may gather before it is delivered.
        tick_s: deliver an empty batch when no row came for so long; None never does.
        on_end: called on the reader's thread after the last row, also when `deliver` failed before.
    """

    def __init__(
        self,
        view: RunView,
        deliver: Callable[[Events], None],
        *,
        name: str,
        settle_s: float = 0.0,
        tick_s: float | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._view = view
        self._deliver = deliver
        self._on_end = on_end
        self._settle_s = settle_s
        self._tick_s = tick_s
        self._seen = 0
        self._abandoned = False
        self._complained = False
        cursors: weakref.WeakSet[Subscription] | None = getattr(view, "cursors", None)
        if cursors is not None:
            cursors.add(self)  # rows that it has not seen are kept
        self._thread = threading.Thread(target=self._run, name=f"penstock {name}", daemon=True)

    @property
    def seen(self) -> int:
        """How many rows have been delivered."""
        return self._seen

    @property
    def tick_s(self) -> float | None:
        """As the argument; what `deliver` sets it to holds from the next wait on."""
        return self._tick_s

    @tick_s.setter
    def tick_s(self, tick_s: float | None) -> None:
        self._tick_s = tick_s

    @property
    def abandoned(self) -> bool:
        """True when `close` gave up on the reader; it should return as soon as it can."""
        return self._abandoned

    def start(self) -> Subscription:
        """Start the reader's thread and return this subscription."""
        self._thread.start()
        return self

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait until the rest of a closed log is delivered, at most `timeout_s`; return whether it is.

        A reader that has not finished by then is left behind with a warning: its thread is a daemon, so it
        holds up neither the run nor the interpreter's exit. Call it after the log was closed.
        """
        if self._thread.ident is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        self._abandoned = True
        left = len(self._view.log) - self._seen
        logger.warning(
            "%s did not finish within %.3g s after the run and is left behind; %d events were not delivered to it",
            self.name,
            timeout_s or 0.0,
            left,
        )
        return False

    def shield(self, function: Callable[..., object], *args: object) -> None:
        """Call a reader's function. What it raises is reported, the first time only, and goes no further."""
        try:
            function(*args)
        except BaseException as error:  # also sys.exit() in a hook: it must end nothing here
            if not self._complained:
                self._complained = True
                logger.error(
                    "%s raised %s: %s; the run goes on, and further errors of it are not reported",
                    self.name,
                    type(error).__name__,
                    error,
                    exc_info=error,
                )

    def _run(self) -> None:
        self.shield(self._follow)
        if self._on_end is not None and not self._abandoned:
            self.shield(self._on_end)

    def _follow(self) -> None:
        log = self._view.log
        while not self._abandoned:
            # Looked at before the length: what a closed log holds now is all it will ever hold.
            closed = log.closed
            end = len(log)
            while self._seen < end and not self._abandoned:
                rows = read(log, self._seen, min(BATCH_ROWS, end - self._seen))
                for piece in one_each(rows, BATCH_ROWS):
                    self.shield(self._deliver, piece)
                self._seen += len(rows)
            if closed:
                return
            before = time.monotonic()
            if log.wait(self._seen, self._tick_s, self._settle_s) == self._seen and (
                self._tick_s is not None and time.monotonic() - before >= self._tick_s
            ):
                self.shield(self._deliver, read(log, self._seen, 0))

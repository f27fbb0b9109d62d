"""What a long-lived runtime lets go of while it goes on, so that it stays as small as it was.

Of tasks that ended long ago: their rows in the tables, the names that only numbers tell apart, the calls that nobody else
holds, what the core knows of them, and the oldest events. What a reader of the log has not seen is kept.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING

from penstock.options import make_spec

if TYPE_CHECKING:
    from penstock.engine import Engine

__all__ = ["Tidying"]

EVERY = 1 << 12  # tasks; a whole number of pages of the tables
BEHIND = 1 << 17  # the latest tasks are left as they are

_FORGOTTEN = make_spec(None, "a task that ended long ago", {})
"""What stands for a task that nobody will ask about, unless an attempt that was given up comes back at last."""


class Tidying:
    """Goes through the tables of one engine, a stretch at a time, behind those who submit. All with the engine's lock.

    Args:
        engine: whose tables.
        kept_events: how many rows of its log are kept beside those that a reader has not seen.
    """

    def __init__(self, engine: Engine, kept_events: int) -> None:
        self._engine: Engine = weakref.proxy(engine)  # which holds this
        self._kept_events = kept_events
        self._tidied = 0  # tasks below this are done with
        self._open_calls: list[int] = []  # tasks that had not ended when their calls were to be let go of
        self._batches: deque[range] = deque()

    def note_batch(self, tasks: range) -> None:
        """Pass over tasks that were added from arrays: their rows are shared already, and their batch releases them."""
        if len(tasks) > EVERY:
            self._batches.append(tasks)

    def when_due(self, latest: int) -> None:
        """Let go of what is far enough behind the task `latest`."""
        if latest - self._tidied < BEHIND + 2 * EVERY:
            return
        engine = self._engine
        seen = [cursor.seen for cursor in list(engine.cursors) if not cursor.abandoned]
        while latest - self._tidied >= BEHIND + 2 * EVERY:
            first, last = self._tidied, self._tidied + EVERY
            self._tidied = last
            while self._batches and self._batches[0].stop <= first:
                self._batches.popleft()
            # A stretch ahead: a call is gone once those that it was given to are, which came a little later.
            if not self._is_of_a_batch(last, last + EVERY):
                self._let_calls_go(range(last, last + EVERY))
            if not self._is_of_a_batch(first, last):
                self._share(first, last, is_read=bool(seen))
        engine.release_in_core()
        if len(engine.log) > self._kept_events:
            engine.log.trim(min([len(engine.log) - self._kept_events, *seen]))

    def _is_of_a_batch(self, first: int, last: int) -> bool:
        return any(batch.start <= first and last <= batch.stop for batch in self._batches)

    def _let_calls_go(self, tasks: range) -> None:
        engine = self._engine
        self._open_calls = engine.let_calls_go([*self._open_calls, *tasks])
        gone = engine.ids.gone
        for _ in range(len(gone)):
            engine.release(gone.popleft())

    def _share(self, first: int, last: int, *, is_read: bool) -> None:
        """Let the rows of released tasks be alike, and store them once."""
        functions, specs, names = self._engine.functions, self._engine.specs, self._engine.names
        for task in range(first, last):
            if functions[task] is None:
                # Who reads the log may be behind, and ask what they were.
                spec = specs[task] if is_read else _FORGOTTEN
                names[task], specs[task] = spec.name, spec
        for table in (functions, self._engine.arguments, self._engine.results, specs, names):
            table.share(first, last)

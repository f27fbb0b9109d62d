"""Writes one run's journal: follows the event log on a thread of its own and commits what is new, all of it together.

Durability: a commit is on the disk when it returns. Finished tasks are committed at most PERIOD_S after the first of
them, or, with durability="each", by whoever finished them, before anything that depends on them is told.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import message_of
from penstock.executors.failures import traceback_text
from penstock.journal.errors import StoreError
from penstock.journal.packs import START, PackKind, chained, packed, write_json
from penstock.journal.place import fsync_folder
from penstock.journal.recall import Known
from penstock.journal.results import EMPTY, Codec, Stored, encode, write_file
from penstock.journal.schema import FILE, sentence
from penstock.journal.traits import trait_text
from penstock.observe.events import ROW_BYTES, EventKind, as_array
from penstock.states import Cause

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.journal.cache import Cache
    from penstock.journal.recall import Recall
    from penstock.observe.events import Events

__all__ = ["PERIOD_S", "Writer"]

PERIOD_S = 0.05
"""At most so long after a task has finished its commit begins."""

MOST_ROWS = 32768
"""Rows of one commit at most; each is 32 bytes."""

LINES = 200
"""Lines of a traceback that are kept."""

_log = logging.getLogger("penstock.journal")
_UNKNOWN = Known(bytes(16), bytes(16), bytes(16))

Pack = tuple[PackKind, bytes]


class Writer:
    """The one who appends to a run's journal.

    Args:
        engine: whose log and tables are read.
        connection: the run's file, open for writing.
        folder: the run's folder.
        session: number of this process among those that worked on the run.
        seq, digest: where the chain of packs goes on.
        recall: has the digests of tasks, and says whose results are taken over.
        cache: makes the cache, on first use.
        failed: called once, on the writer's thread or a finisher's, when the journal cannot be written any more.
    """

    def __init__(
        self,
        engine: Engine,
        connection: sqlite3.Connection,
        folder: Path,
        *,
        session: int,
        seq: int,
        digest: bytes = START,
        recall: Recall,
        cache: Callable[[], Cache],
        failed: Callable[[StoreError], None],
    ) -> None:
        self.error: StoreError | None = None
        self.stored = 0
        self.unstored: dict[str, str] = {}
        self._engine = engine
        self._connection = connection
        self._folder = folder
        self._results = folder / "results"
        self._session, self._seq, self._digest = session, seq, digest
        self._recall = recall
        self._cache = cache
        self._failed = failed
        self._seen = 0
        self._committed: set[tuple[int, int]] = set()  # (task, attempt), by their finishers
        self._skips_seen = 0
        self._tasks_written = 0
        self._lock = threading.RLock()  # of the connection and the chain
        self._thread = threading.Thread(target=self._run, name="penstock journal", daemon=True)

    # ----------------------------------------------------------------------------------------------------- its life

    def begin(self, packs: Sequence[Pack]) -> None:
        """Commit the first packs, on the calling thread.

        Raises:
            sqlite3.Error, OSError: they cannot be written.
        """
        self._commit(list(packs))

    def start(self) -> None:
        self._thread.start()

    def close(self, ending: dict[str, Any] | None) -> None:
        """Commit the rest of a closed log and `ending`, if any, and close the file."""
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            if self.error is None and ending is not None:
                try:
                    self._commit([(PackKind.END, write_json({**ending, "at": time.time()}))])
                except (sqlite3.Error, OSError) as error:
                    self._give_up(error)
            try:
                self._connection.close()
            except sqlite3.Error as error:
                self._give_up(error)

    def _run(self) -> None:
        try:
            self._follow()
        except (sqlite3.Error, OSError, MemoryError, StoreError) as error:
            self._give_up(error)
        except BaseException as bug:  # noqa: BLE001  a bug of ours must not end the recording without a word
            _log.exception("the journal failed")
            self._give_up(bug)

    def _follow(self) -> None:
        log = self._engine.log
        while self.error is None:
            closed = log.closed  # before the length: a closed log grows no more
            end = len(log)
            while self._seen < end and self.error is None:
                self._take(log.read_bytes(self._seen, min(MOST_ROWS, end - self._seen)))
            if closed:
                return
            log.wait(self._seen, None, PERIOD_S)

    def _give_up(self, error: BaseException) -> None:
        """Write nothing more, and say so once."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error if isinstance(error, StoreError) else StoreError(sentence(self._folder / FILE, error))
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                pass
        _log.warning(
            "%s From here on the run is not recorded; the results of %d finished tasks are stored.",
            self.error,
            self.stored,
        )
        self._failed(self.error)

    # ------------------------------------------------------------------------------------------------ what it writes

    def finished(self, task: int, attempt: int, value: object) -> None:
        """Make one finished task durable; returns when it is. Called by its finisher, with durability="each"."""
        with self._lock:
            if self.error is not None or not self._engine.is_running(task, attempt):
                return
            call = self._engine.call_of(task)
            if call in self._recall.known and self._recall.known[call].row is not None:
                return
            try:
                while task >= self._tasks_written:  # its TASKS pack comes first, or nobody could say what it means
                    self._take(self._engine.log.read_bytes(self._seen, MOST_ROWS))
                self._commit_results([(task, attempt, value)], [])
                self._committed.add((task, attempt))
            except (sqlite3.Error, OSError, MemoryError, StoreError) as error:
                self._give_up(error)

    def _take(self, data: bytes) -> None:
        """Commit the next rows of the log and what belongs to them."""
        with self._lock:
            rows = as_array(data)
            packs: list[Pack] = []
            for first, count in self._submitted(rows):
                packs.append((PackKind.TASKS, self._tasks(first, count)))
            if (errors := self._errors(rows)) is not None:
                packs.append((PackKind.ERRORS, errors))
            skips = self._engine.skips[self._skips_seen :]
            if skips:
                packs.append((PackKind.SKIPS, write_json({"skips": skips})))
            packs.append((PackKind.EVENTS, data))
            self._commit_results(self._succeeded(rows), packs)
            self._skips_seen += len(skips)
            self._seen += len(data) // ROW_BYTES

    def _submitted(self, rows: Events) -> list[tuple[int, int]]:
        found = rows[rows["kind"] == EventKind.SUBMITTED]
        return [(int(row["task"]), int(row["value"])) for row in found]

    def _succeeded(self, rows: Events) -> list[tuple[int, int, object]]:
        engine, known = self._engine, self._recall.known
        found = rows[rows["kind"] == EventKind.SUCCEEDED]
        wanted = []
        results, taken_over, committed = engine.results, bool(self._recall.taken_over), self._committed
        for task, attempt in zip(found["task"].tolist(), found["attempt"].tolist(), strict=True):
            if committed and (task, attempt) in committed:
                committed.discard((task, attempt))
                continue
            if taken_over:
                call = engine.call_of(task)
                if call is not None and call in known and known[call].row is not None:
                    continue  # an earlier process has committed it
            wanted.append((task, attempt, results[task]))
        return wanted

    def _tasks(self, first: int, count: int) -> bytes:
        engine, known = self._engine, self._recall.known
        labels: dict[str, int] = {}
        traits: dict[str, int] = {}
        label, trait, degree, before, origin = array("I"), array("I"), array("I"), array("I"), array("I")
        lane, keys = bytearray(), list[Known]()
        names = engine.names[first : first + count]
        last_spec, last_label, last_lane, last_trait = None, 0, 0, 0
        for task, spec in enumerate(engine.specs[first : first + count], first):
            if spec is not last_spec:
                last_spec = spec
                last_label = labels.setdefault(self.label(spec), len(labels))
                last_lane = _LANES[spec.executor]
                last_trait = traits.setdefault(trait_text(spec), len(traits))
            label.append(last_label)
            trait.append(last_trait)
            lane.append(last_lane)
            call = engine.call_of(task)
            what = _UNKNOWN if call is None else known.get(call, _UNKNOWN)
            keys.append(what)
            origin.extend(what.row or (0, 0))
            if call is not None and not (call.inputs or call.follows):
                degree.append(0)
                continue
            needed = engine.predecessors(task)
            degree.append(len(needed))
            before.extend(needed)
        self._tasks_written = first + count
        head = {"first": first, "count": count, "labels": list(labels), "traits": list(traits)}
        return packed(
            {
                "head": write_json(head),
                "names": self.hidden("\n".join(names)).encode("utf-8", "backslashreplace"),
                "label": _bytes(label),
                "trait": _bytes(trait),
                "lane": lane,
                "keys": b"".join([what.key for what in keys]),
                "codes": b"".join([what.code for what in keys]),
                "args": b"".join([what.arguments for what in keys]),
                "degree": _bytes(degree),
                "before": _bytes(before),
                "origin": _bytes(origin),
            }
        )

    def label(self, spec: Any) -> str:
        """Return what the journal calls a spec's function: module and name, or the command line."""
        if spec.command is not None:
            if self._engine.mask is not None:
                self._engine.mask.learn(spec.command.env)
            return self.hidden(str(spec.command))
        function = spec.function
        if function is None:
            return str(spec.name)
        return f"{getattr(function, '__module__', None) or '?'}.{getattr(function, '__qualname__', type(function).__name__)}"

    def hidden(self, text: str) -> str:
        """Return a text with secrets masked."""
        return text if self._engine.mask is None else self._engine.mask.hides(text)

    def _errors(self, rows: Events) -> bytes | None:
        found = rows[(rows["kind"] == EventKind.FAILED) | (rows["kind"] == EventKind.RETRYING)]
        errors = []
        for row in found:
            task = int(row["task"])
            error = self._engine.errors.get(task)
            if error is None:
                continue
            text = "\n".join(traceback_text(error).splitlines()[-LINES:])
            errors.append(
                [
                    task,
                    int(row["attempt"]),
                    type(error).__name__,
                    self.hidden(message_of(error)),
                    self.hidden(text),
                    Cause(int(row["cause"])).name,
                ]
            )
        return write_json({"errors": errors}) if errors else None

    def _commit_results(self, finished: Sequence[tuple[int, int, object]], packs: list[Pack]) -> None:
        """Write large results as files, then all packs in one transaction; then what goes to the cache."""
        if not finished:
            self._commit(packs)
            return
        mask = self._engine.mask
        refused = () if mask is None else mask.as_bytes
        tasks, attempts, lengths = array("I"), array("I"), array("I")
        codecs, digests, bodies = bytearray(), bytearray(), []
        cached: list[tuple[int, Stored]] = []
        files = False
        cache_keys = self._recall.cache_keys
        for task, attempt, value in finished:
            if value is None and not cache_keys:  # most often there is nothing to keep but that it has finished
                tasks.append(task)
                attempts.append(attempt)
                codecs.append(0)
                lengths.append(0)
                digests += EMPTY
                continue
            stored = encode(value, f"{self._session}-{task}-{attempt}.bin", refused=refused)
            digest = stored.digest
            if stored.parts is not None:
                if not files:
                    self._results.mkdir(mode=0o700, exist_ok=True)
                    files = True
                digest = write_file(self._results, stored)
            elif stored.codec == Codec.UNSTORED:
                self._note_unstored(task, stored)
            tasks.append(task)
            attempts.append(attempt)
            codecs.append(stored.codec)
            lengths.append(len(stored.body))
            digests += digest
            bodies.append(stored.body)
            if task in cache_keys:
                cached.append((task, stored))
        if files:
            fsync_folder(self._results)
            fsync_folder(self._folder)
        body = packed(
            {
                "task": _bytes(tasks),
                "attempt": _bytes(attempts),
                "codec": codecs,
                "length": _bytes(lengths),
                "digest": digests,
                "body": b"".join(bodies),
            }
        )
        # Tasks before results: a reader meets them in this order.
        self._commit([*packs, (PackKind.RESULTS, body)])
        self.stored += len(finished)
        for task, stored in cached:
            key = cache_keys.pop(task, None)
            if key is not None:
                self._cache().put(key, stored)

    def _note_unstored(self, task: int, stored: Stored) -> None:
        name = self._engine.names[task]
        why = stored.body.decode()
        first = not self.unstored
        self.unstored[name] = why
        if first:
            _log.warning("task %r: %s; it is not stored, and the task runs again when the run is resumed.", name, why)

    def _commit(self, packs: list[Pack]) -> None:
        with self._lock:
            seq, digest, rows = self._seq, self._digest, []
            for kind, body in packs:
                digest = chained(digest, seq, self._session, kind, body)
                rows.append((seq, self._session, int(kind), digest, body))
                seq += 1
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT INTO packs VALUES (?, ?, ?, ?, ?)", rows)
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise
            self._seq, self._digest = seq, digest


_LANES = {"threads": 0, "processes": 1, "commands": 2}


def _bytes(numbers: array[int]) -> bytes:
    """Return 32-bit numbers as they are stored, the lowest byte first."""
    assert numbers.itemsize == 4
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers.tobytes()

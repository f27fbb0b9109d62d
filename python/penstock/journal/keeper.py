"""Opens, for one run, the store that its options ask for, and closes it at the end."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock import _core
from penstock._version import __version__
from penstock.journal.cache import Cache
from penstock.journal.durations import earlier, summary
from penstock.journal.errors import Damaged, StoreError
from penstock.journal.packs import START, PackKind, write_json
from penstock.journal.place import RunLock, make_private, new_run_folder, run_numbers
from penstock.journal.reading import RecordedRun, read_run
from penstock.journal.recall import Recall
from penstock.journal.recovery import is_sound, rebuild, remove_halves
from penstock.journal.schema import FILE, create, open_for_writing, sentence
from penstock.journal.writer import Writer

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.keeping import Keeping
    from penstock.pipeline import FrozenPipeline

__all__ = ["Journal", "open_journal", "run_to_resume"]

MOST_LINES = 50
"""Of what is said about tasks that run again."""

_log = logging.getLogger("penstock.journal")


def run_to_resume(store: Path, pipeline: str | None = None) -> int | None:
    """Return the number of the newest run that has not succeeded and is not running; None when there is none.

    Args:
        store: the store's folder.
        pipeline: only runs of a pipeline of that name.
    """
    for number in reversed(run_numbers(store)):
        try:
            run = read_run(store, number)
        except StoreError:
            continue
        if run.state not in ("running", "succeeded") and pipeline in (None, run.name):
            return number
    return None


def open_journal(engine: Engine, keeping: Keeping, name: str, options: dict[str, Any]) -> Journal | None:
    """Return the journal of a run that is about to begin; None when there is to be none, or it cannot be written.

    Args:
        engine: its engine.
        keeping: what the user wants.
        name: the pipeline's name.
        options: of the run, as JSON values, for whoever resumes it.

    Raises:
        StoreError: with on_store_error="stop", or when the run to be resumed cannot be.
    """
    folder = keeping.folder
    if folder is None:
        return None
    try:
        return _opened(engine, keeping, folder, name, options)
    except (StoreError, sqlite3.Error, OSError) as error:
        problem = error if isinstance(error, StoreError) else StoreError(sentence(folder, error))
        if keeping.on_store_error == "stop" or keeping.resume is not False:
            if problem is error:
                raise
            raise problem from error
        _log.warning("%s The run goes on without a journal, and cannot be resumed.", problem)
        return None


def _opened(engine: Engine, keeping: Keeping, folder: Path, name: str, options: dict[str, Any]) -> Journal:
    number: int | None = None
    if keeping.resume is True:
        number = run_to_resume(folder, name)
    elif keeping.resume is not False:
        number = int(keeping.resume)
    make_private(folder)
    past: RecordedRun | None = None
    if number is None:
        number, run_folder = new_run_folder(folder)
    else:
        past = read_run(folder, number)
        run_folder = past.folder
    lock = RunLock(run_folder)
    lock.acquire(f"run {number} of store {folder}")
    try:
        connection = create(run_folder) if past is None else _continued(past)
    except BaseException:
        lock.release()
        raise
    return Journal(engine, keeping, folder, number, run_folder, lock, connection, past, name, options)


def _continued(past: RecordedRun) -> sqlite3.Connection:
    remove_halves(past.folder)
    if past.problem is None and not is_sound(past.folder):
        past.problem = f"{past.folder / FILE}: SQLite finds it damaged"
    if past.problem is not None:
        _log.warning(
            "%s. The run goes on from what was committed before; the damaged file is kept beside it.",
            past.problem.rstrip("."),
        )
        return rebuild(past.folder, past.packs)
    try:
        return open_for_writing(past.folder)
    except sqlite3.DatabaseError as error:
        raise Damaged(sentence(past.folder / FILE, error)) from error


class Journal:
    """What a run has of its store.

    Attributes:
        number: the run's number.
        store: the store's folder.
        recall: says what need not run.
        past: the run as it was before this process, or None for a new run.
    """

    def __init__(
        self,
        engine: Engine,
        keeping: Keeping,
        store: Path,
        number: int,
        folder: Path,
        lock: RunLock,
        connection: sqlite3.Connection,
        past: RecordedRun | None,
        name: str,
        options: dict[str, Any],
    ) -> None:
        self.number, self.store, self.past = number, store, past
        self._engine = engine
        self._keeping = keeping
        self._lock = lock
        self._cache_lock = threading.Lock()
        self._made_cache: Cache | None = None
        self.recall = Recall(past, self._cache, keeping.force, keeping.start_from)
        self._session = 1 if past is None else len(past.sessions) + 1
        self._writer = Writer(
            engine,
            connection,
            folder,
            session=self._session,
            seq=0 if past is None else past.packs,
            digest=START if past is None else past.digest,
            recall=self.recall,
            cache=self._cache,
            failed=self._failed,
        )
        self._folder = folder
        self._begun = False
        self._about = {"name": name, "target": keeping.target, "cwd": os.getcwd(), "options": options}

    @property
    def error(self) -> StoreError | None:
        """Why the run is not recorded any more, or None."""
        return self._writer.error

    @property
    def commits_each(self) -> bool:
        """Whether whoever finishes a task calls `finished` before it tells anybody."""
        return self._keeping.durability == "each"

    @property
    def must_record(self) -> bool:
        """Whether a run that cannot be recorded is to stop."""
        return self._keeping.on_store_error == "stop"

    def begin(self) -> None:
        """Commit what is run, and follow the log from now on.

        Raises:
            StoreError: with on_store_error="stop".
        """
        now = time.time()
        self._begun = True
        packs = []
        if self.past is None:
            packs.append((PackKind.RUN, write_json({**self._about, "at": now, "penstock": __version__})))
        session = {
            "number": self._session,
            "pid": os.getpid(),
            "at": now,
            "origin_ns": time.monotonic_ns(),
            "python": sys.implementation.cache_tag,
            "force": list(self._keeping.force),
            "from": list(self._keeping.start_from),
        }
        packs.append((PackKind.SESSION, write_json(session)))
        try:
            self._writer.begin(packs)
        except (sqlite3.Error, OSError) as error:
            self._writer._give_up(error)
            if self._keeping.on_store_error == "stop":
                assert self._writer.error is not None
                raise self._writer.error from error
            return
        self._writer.start()

    def plan_lines(self, count: int) -> list[str]:
        """Say what is taken over, and what runs again and why: one line for each."""
        taken = len(self.recall.taken_over)
        lines = [f"run {self.number} goes on; {taken} of {count} tasks had finished and do not run again."]
        for name, reason in list(self.recall.again.items())[:MOST_LINES]:
            lines.append(f"{name!r} runs again: {reason}.")
        if len(self.recall.again) > MOST_LINES:
            lines.append(f"and {len(self.recall.again) - MOST_LINES} more.")
        return lines

    def finished(self, task: int, attempt: int, value: object) -> None:
        """Make one finished task durable before anybody is told of it."""
        self._writer.finished(task, attempt, value)

    def close(self, ending: str) -> None:
        """Commit the rest of the closed log and how the run ended; then it can be resumed, or removed."""
        try:
            self._writer.close(self._ending(ending) if self._begun else None)
            if not self._begun and self.past is None:
                shutil.rmtree(self._folder, ignore_errors=True)  # the run was refused before it began
        finally:
            if self._made_cache is not None:
                self._made_cache.close()
            self._lock.release()

    def earlier(self, frozen: FrozenPipeline) -> list[int]:
        """Return what the pipeline's tasks took in earlier runs of this store, in ns by position; 0: nobody knows."""
        labels = {id(call.spec): self._writer.label(call.spec) for call in frozen.calls}
        hidden = self._writer.hidden
        names = [(labels[id(call.spec)], hidden(name)) for name, call in zip(frozen.names, frozen.calls, strict=True)]
        return earlier(self.store, frozen.name, set(labels.values()), names)

    def _ending(self, ending: str) -> dict[str, Any]:
        """Return what the last pack says; called when the log is closed."""
        told: dict[str, Any] = {"ending": ending, "unstored": len(self._writer.unstored)}
        told["limits"] = dict(self._engine.limits.amounts)
        told["workers"] = self._engine.scheduler.capacity(_core.THREAD_SLOTS)
        if durations := summary(self._engine, self._writer.label, self._writer.hidden):
            told["durations"] = durations
        return told

    def _cache(self) -> Cache:
        with self._cache_lock:
            if self._made_cache is None:
                self._made_cache = Cache(self.store)
            return self._made_cache

    def _failed(self, error: StoreError) -> None:
        if self._keeping.on_store_error == "stop":
            self._engine.stop_starting()

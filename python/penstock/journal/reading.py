"""Reads what a store holds. Nothing is executed, imported or unpickled; a run that goes on may be read.

A journal is read as far as its packs verify: each against its own digest, its number, and the digest of the one before.
What follows the first that does not is not looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.journal.errors import Damaged, StoreError
from penstock.journal.packs import DIGEST_BYTES, START, PackKind, chained, columns, read_json
from penstock.journal.place import RunLock, run_folder, run_numbers
from penstock.journal.schema import FILE, open_for_reading, sentence
from penstock.journal.traits import Trait, read_trait
from penstock.observe.events import ROW_BYTES, EventKind, as_array, one_each
from penstock.states import Cause, State

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from penstock.observe.events import Events

__all__ = ["Pack", "RecordedRun", "Result", "Session", "list_runs", "read_packs", "read_run", "verified"]


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack that has been verified."""

    seq: int
    session: int
    kind: int
    digest: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """A committed result, still as bytes; see `results.Codec`."""

    attempt: int
    codec: int
    body: memoryview
    digest: bytes


@dataclass(slots=True)
class Session:
    """What one process did for a run. Tasks are numbered as the process numbered them, from 0.

    Attributes:
        number: from 1.
        about: when and where it ran: the SESSION pack.
        names, functions: by task; a function as module and name, or a command line.
        lanes: by task: 0 threads, 1 processes, 2 commands.
        traits: by task, what it asks for; none where the penstock that wrote it did not record that.
        keys, codes, arguments: by task, 16 bytes each; see `hashing`.
        predecessors: by task.
        origins: by task: (session, task) whose result was taken over, or None.
        results: the committed results by task.
        errors: of failed attempts, in order: task, attempt, type, message, traceback.
        skips: which task had which others skipped, by name.
        events: shape (n_rows,), `observe.events.dtype()`, one row for each task.
        ending: how it ended, the END pack, or None when it did not come to that.
    """

    number: int
    about: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    lanes: list[int] = field(default_factory=list)
    traits: list[Trait] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    codes: list[bytes] = field(default_factory=list)
    arguments: list[bytes] = field(default_factory=list)
    predecessors: list[tuple[int, ...]] = field(default_factory=list)
    origins: list[tuple[int, int] | None] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)
    errors: list[list[Any]] = field(default_factory=list)
    skips: list[tuple[int, list[str]]] = field(default_factory=list)
    ending: dict[str, Any] | None = None
    _rows: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> Events:
        import numpy as np

        (rows,) = one_each(np.concatenate([as_array(b""), *map(as_array, self._rows)]))
        return rows


@dataclass(slots=True)
class RecordedRun:
    """A run as its journal has it.

    The arrays are about the tasks of the newest process, in order of submission. Of a task whose result was taken over
    from an earlier process, times and attempts are those of the process in which it ran.

    Attributes:
        number: the run's number in its store.
        folder: the run's folder.
        name: the pipeline's name.
        target: the pipeline file that `penstock resume` loads, FILE or FILE:NAME, or None.
        cwd: the working folder in which it was started.
        options: those with which it was started.
        started_at: `time.time()` of its beginning.
        state: "running", "succeeded", "failed", "interrupted", or "unfinished": its process ended without a word.
        problem: what is damaged, in a sentence, or None. What is here is what was committed before.
        sessions: one for each process that worked on it.
    """

    number: int
    folder: Path
    name: str = ""
    target: str | None = None
    cwd: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    state: str = "unfinished"
    problem: str | None = None
    sessions: list[Session] = field(default_factory=list)
    packs: int = 0
    digest: bytes = START
    _tasks: Any = None

    @property
    def last(self) -> Session:
        return self.sessions[-1] if self.sessions else Session(1)

    @property
    def names(self) -> list[str]:
        """Of the tasks, unique."""
        return self.last.names

    @property
    def functions(self) -> list[str]:
        """By task: module and name of its function, or its command line."""
        return self.last.functions

    @property
    def dependencies(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """`indptr` and `indices`: task k waited for `indices[indptr[k]:indptr[k + 1]]`."""
        import numpy as np

        rows = self.last.predecessors
        indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return indptr, np.array([task for row in rows for task in row], dtype=np.int64)

    @property
    def start_ns(self) -> npt.NDArray[np.int64]:
        """By task: when its last attempt started, in ns from the start of its process's part of the run; -1: never."""
        return self._facts()["start"]

    @property
    def finish_ns(self) -> npt.NDArray[np.int64]:
        """By task: when it ended, as `start_ns`; -1: it has not."""
        return self._facts()["finish"]

    @property
    def states(self) -> npt.NDArray[np.int64]:
        """By task: its `State` when the journal ends."""
        return self._facts()["state"]

    @property
    def causes(self) -> npt.NDArray[np.int64]:
        """By task: its `Cause`."""
        return self._facts()["cause"]

    @property
    def attempts(self) -> npt.NDArray[np.int64]:
        """By task: how many attempts were started."""
        return self._facts()["attempt"]

    @property
    def cpu_ns(self) -> npt.NDArray[np.int64]:
        """By task: CPU time of its last attempt that was measured; -1: unknown."""
        return self._facts()["cpu"]

    @property
    def peak_memory(self) -> npt.NDArray[np.int64]:
        """By task: peak memory in bytes; -1: unknown."""
        return self._facts()["memory"]

    @property
    def taken_over(self) -> list[bool]:
        """By task: whether its result is an earlier process's."""
        return [origin is not None for origin in self.last.origins]

    def result_of(self, session: int, task: int) -> Result | None:
        """Return the committed result of a task, or None."""
        return self.sessions[session - 1].results.get(task) if 1 <= session <= len(self.sessions) else None

    def origin(self, session: int, task: int) -> tuple[int, int]:
        """Return in which process a task really ran: session and task there."""
        seen = 0
        while 1 <= session <= len(self.sessions) and task < len(self.sessions[session - 1].origins):
            before = self.sessions[session - 1].origins[task]
            seen += 1
            if before is None or seen > len(self.sessions):
                break
            session, task = before
        return session, task

    def _facts(self) -> dict[str, npt.NDArray[np.int64]]:
        if self._tasks is None:
            self._tasks = self._folded()
        facts: dict[str, npt.NDArray[np.int64]] = self._tasks
        return facts

    def _folded(self) -> dict[str, npt.NDArray[np.int64]]:
        sessions = {session.number: _fold(session) for session in self.sessions}
        last = self.last
        facts = sessions.get(last.number) or _fold(last)
        for task, origin in enumerate(last.origins):
            if origin is None:
                continue
            session, there = self.origin(last.number, task)
            earlier = sessions.get(session)
            if earlier is not None and there < len(earlier["start"]):
                for name, column in facts.items():
                    column[task] = earlier[name][there]
        return facts


_FINAL = {EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED, EventKind.UPSTREAM_FAILED}


def _fold(session: Session) -> dict[str, npt.NDArray[np.int64]]:
    """Return what the rows of a session say of each task: the last word counts."""
    import numpy as np

    from penstock.observe.events import STATE_AFTER

    size = len(session.names)
    rows = session.events
    facts = {name: np.full(size, -1, np.int64) for name in ("start", "finish", "cpu", "memory")}
    facts |= {name: np.zeros(size, np.int64) for name in ("state", "cause", "attempt")}
    origin = int(session.about.get("origin_ns", 0))
    rows = rows[rows["task"] < size]
    for kind in map(int, np.unique(rows["kind"])):
        these = rows[rows["kind"] == kind]
        tasks, times = these["task"], these["time"] - origin
        if kind == EventKind.STARTED:
            facts["start"][tasks] = times
            np.maximum.at(facts["attempt"], tasks, these["attempt"].astype(np.int64))
        elif kind == EventKind.CPU_USED:
            facts["cpu"][tasks] = these["value"]
        elif kind == EventKind.PEAK_MEMORY:
            facts["memory"][tasks] = these["value"]
    # In log order, so that of several changes of one task the last is kept.
    known = [int(kind) for kind in STATE_AFTER if kind != EventKind.SUBMITTED]
    changes = rows[np.isin(rows["kind"], known)]
    after = np.zeros(256, np.int64)
    for event, state in STATE_AFTER.items():
        after[int(event)] = int(state)
    facts["state"][changes["task"]] = after[changes["kind"]]
    facts["cause"][changes["task"]] = changes["cause"]
    ends = rows[np.isin(rows["kind"], [int(kind) for kind in _FINAL])]
    facts["finish"][ends["task"]] = ends["time"] - origin
    if session.results:  # committed is finished, whether or not its row was written
        done = np.fromiter((task for task in session.results if task < size), np.int64)
        facts["state"][done] = int(State.SUCCEEDED)
        facts["cause"][done] = int(Cause.NONE)
    return facts


def read_run(store: str | PathLike[str], number: int) -> RecordedRun:
    """Return a run of a store, as far as its journal can be trusted. Safe while the run goes on.

    Args:
        store: the store's folder, such as `.penstock`.
        number: the run.

    Raises:
        StoreError: there is no such run, its version is unknown here, or the system does not let it be read.
        Damaged: nothing of its journal can be trusted.
    """
    folder = run_folder(Path(store), number)
    run = RecordedRun(number, folder)
    is_held = RunLock(folder).is_held  # before reading: a run that ends meanwhile is then found to have its END
    for pack in _prefix(folder, run):
        try:
            _take(run, pack)
        except Damaged as error:
            run.problem = f"{folder / FILE}: pack {pack.seq}: {error}"
            break
        run.packs, run.digest = pack.seq + 1, pack.digest
    if not run.packs:
        raise Damaged(run.problem or f"{folder / FILE}: it is empty; the run ended before it began.")
    ending = run.last.ending
    run.state = "running" if is_held else "unfinished" if ending is None else str(ending.get("ending", "unfinished"))
    return run


def list_runs(store: str | PathLike[str]) -> Iterator[tuple[int, RecordedRun | StoreError]]:
    """Yield each run of a store by its number, oldest first, or the error that says why it cannot be read."""
    for number in run_numbers(Path(store)):
        yield number, _run_or_error(store, number)


def _run_or_error(store: str | PathLike[str], number: int) -> RecordedRun | StoreError:
    try:
        return read_run(store, number)
    except StoreError as error:
        return error


def _prefix(folder: Path, run: RecordedRun) -> Iterator[Pack]:
    """Yield the packs that verify; says in `run.problem` why there are no more, unless there are none."""
    try:
        yield from read_packs(folder)
    except Damaged as error:
        run.problem = str(error)


def read_packs(folder: Path) -> Iterator[Pack]:
    """Yield the packs of a run in order, each verified, as of one instant.

    Raises:
        Damaged: at the first that does not verify, or when SQLite finds its file damaged.
        StoreError: there is no journal, its version is unknown, or it cannot be read.
    """
    path = folder / FILE
    connection = open_for_reading(folder)
    try:
        before, seq = START, 0
        try:
            connection.execute("BEGIN")
            for row in connection.execute("SELECT seq, session, kind, digest, body FROM packs ORDER BY seq"):
                pack = verified(path, row, seq, before)
                yield pack
                before, seq = pack.digest, seq + 1
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise StoreError(sentence(path, error)) from error
            raise Damaged(sentence(path, error)) from error
        except (sqlite3.Error, OverflowError) as error:
            raise Damaged(sentence(path, error)) from error
    finally:
        connection.close()


def verified(path: Path, row: Sequence[Any], seq: int, before: bytes) -> Pack:
    """Return a row as a pack.

    Raises:
        Damaged: it is not number `seq`, or does not go on from the digest `before`.
    """
    number, session, kind, digest, body = row
    if number != seq:
        raise Damaged(f"{path}: pack {seq} is missing; what comes after it is not used.")
    whole = isinstance(digest, bytes) and isinstance(body, bytes) and type(session) is int and type(kind) is int
    if whole and 0 <= session < 2**32 and 0 <= kind < 256 and chained(before, seq, session, kind, body) == digest:
        return Pack(seq, session, kind, digest, body)
    raise Damaged(f"{path}: pack {seq} is not what was written; it and what comes after it are not used.")


# ------------------------------------------------------------------------------------------------ one pack at a time


def _take(run: RecordedRun, pack: Pack) -> None:
    try:
        _take_kind(run, pack)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Damaged(f"it does not hold what a pack of kind {pack.kind} does ({error})") from None


def _take_kind(run: RecordedRun, pack: Pack) -> None:
    if pack.kind == PackKind.RUN:
        about = read_json(pack.body)
        run.name, run.target = str(about.get("name", "")), about.get("target")
        run.cwd = about.get("cwd")
        run.options, run.started_at = dict(about.get("options", {})), float(about.get("at", 0.0))
        return
    if pack.kind == PackKind.SESSION:
        if pack.session != len(run.sessions) + 1:
            raise Damaged(f"process {pack.session} of the run comes after {len(run.sessions)}")
        run.sessions.append(Session(pack.session, read_json(pack.body)))
        return
    if pack.session != len(run.sessions):
        raise Damaged(f"it is of process {pack.session} of the run, after the beginning of {len(run.sessions)}")
    session = run.sessions[-1]
    if pack.kind == PackKind.TASKS:
        _take_tasks(session, pack.body)
    elif pack.kind == PackKind.EVENTS:
        if len(pack.body) % ROW_BYTES:
            raise Damaged("events end in the middle of a row")
        session._rows.append(pack.body)
    elif pack.kind == PackKind.RESULTS:
        _take_results(session, pack.body)
    elif pack.kind == PackKind.ERRORS:
        session.errors += read_json(pack.body)["errors"]
    elif pack.kind == PackKind.SKIPS:
        session.skips += [(int(task), list(names)) for task, names in read_json(pack.body)["skips"]]
    elif pack.kind == PackKind.END:
        session.ending = read_json(pack.body)


def _take_tasks(session: Session, body: bytes) -> None:
    found = columns(body, "head", "names", "label", "lane", "keys", "codes", "args", "degree", "before", "origin")
    head = read_json(found["head"])
    count, labels = int(head["count"]), list(head["labels"])
    if int(head["first"]) != len(session.names):
        raise Damaged(f"tasks begin at {head['first']} where {len(session.names)} are known")
    names = bytes(found["names"]).decode("utf-8", "replace").split("\n") if count else []
    label, degree = _numbers(found["label"]), _numbers(found["degree"])
    before, origin = _numbers(found["before"]), _numbers(found["origin"])
    lane = list(found["lane"])
    sizes = {len(names), len(label), len(degree), len(lane), len(origin) // 2, len(found["keys"]) // DIGEST_BYTES}
    if sizes != {count} or sum(degree) != len(before) or any(one >= len(labels) for one in label):
        raise Damaged("the columns of tasks are of different lengths")
    if "trait" in found:  # a column that version 1 did not have from the beginning
        kinds = [read_trait(str(text)) for text in head.get("traits", [])]
        trait = _numbers(found["trait"])
        if len(trait) != count or any(one >= len(kinds) for one in trait):
            raise Damaged("the columns of tasks are of different lengths")
        session.traits += [kinds[one] for one in trait]
    session.names += names
    session.functions += [str(labels[one]) for one in label]
    session.lanes += lane
    for known, column in ((session.keys, "keys"), (session.codes, "codes"), (session.arguments, "args")):
        data = bytes(found[column])
        known += [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]
    at = 0
    for row in degree:
        session.predecessors.append(tuple(before[at : at + row]))
        at += row
    session.origins += [
        None if origin[2 * k] == 0 else (int(origin[2 * k]), int(origin[2 * k + 1])) for k in range(count)
    ]


def _take_results(session: Session, body: bytes) -> None:
    found = columns(body, "task", "attempt", "codec", "length", "digest", "body")
    tasks, attempts, lengths = (_numbers(found[name]) for name in ("task", "attempt", "length"))
    if {len(attempts), len(lengths), len(found["codec"]), len(found["digest"]) // DIGEST_BYTES} != {len(tasks)}:
        raise Damaged("the columns of results are of different lengths")
    if sum(lengths) != len(found["body"]):
        raise Damaged("results are longer than their pack")
    at, digests, codecs = 0, bytes(found["digest"]), found["codec"]
    for k, task in enumerate(tasks):
        content = found["body"][at : at + lengths[k]]
        at += lengths[k]
        digest = digests[k * DIGEST_BYTES : (k + 1) * DIGEST_BYTES]
        session.results[task] = Result(attempts[k], codecs[k], content, digest)


def _numbers(column: memoryview) -> list[int]:
    import numpy as np

    if len(column) % 4:
        raise Damaged("a column of numbers ends in the middle of one")
    return np.frombuffer(column, "<u4").tolist()  # type: ignore[no-any-return]

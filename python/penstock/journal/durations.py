"""How long tasks took, from one run of a pipeline to the next.

The END pack of a run says it, by function and, of the first tasks, by name: so who begins the next run reads two rows of
a file, and no journal. Only runs that came to their end speak.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.journal.errors import StoreError
from penstock.journal.packs import PackKind, read_json
from penstock.journal.place import run_folder, run_numbers
from penstock.journal.reading import verified
from penstock.journal.schema import FILE, open_for_reading
from penstock.observe.events import EventKind, as_array

if TYPE_CHECKING:
    from penstock.engine import Engine

__all__ = ["earlier", "summary"]

MOST_TASKS = 50_000
"""Tasks of a run that are looked at: a larger one does without."""

MOST_NAMES = 10_000
"""Tasks of a run that are remembered by name."""

MOST_RUNS = 8
"""The newest runs of a store that are asked."""

ROWS = 1 << 16  # read at once

Known = dict[str, tuple[float, dict[str, float]]]
"""By function: the mean of its tasks in ns, and what tasks took by their name."""


def summary(engine: Engine, label: Callable[[Any], str], hidden: Callable[[str], str]) -> list[list[Any]]:
    """Return what a run that has ended says of run times: for each function, its label, how many of its tasks ended well,
    their mean in ns, and [name, ns] of tasks.

    What an earlier process or the cache answered did not run; what made tasks, or fell back, did something else.

    Args:
        engine: of the run; its log is closed.
        label: names the function or command line of a spec.
        hidden: masks a name.
    """
    if len(engine.names) > MOST_TASKS:
        return []
    took: dict[int, int] = {}
    odd = set(engine.fell_back) | (set() if engine.recall is None else engine.recall.answered)
    for first in range(0, len(engine.log), ROWS):
        rows = as_array(engine.log.read_bytes(first, ROWS))
        odd.update(rows["task"][rows["kind"] == EventKind.DEFERRED].tolist())
        ended = rows[rows["kind"] == EventKind.SUCCEEDED]
        took.update(zip(ended["task"].tolist(), ended["value"].tolist(), strict=True))
    by_label: dict[str, list[tuple[int, int]]] = {}
    labels: dict[int, str] = {}
    for task, ns in took.items():
        if task in odd:
            continue
        spec = engine.specs[task]
        if id(spec) not in labels:
            labels[id(spec)] = label(spec)
        by_label.setdefault(labels[id(spec)], []).append((task, ns))
    return [
        [
            function,
            len(tasks),
            round(sum(ns for _, ns in tasks) / len(tasks)),
            [[hidden(engine.names[task]), ns] for task, ns in tasks if task < MOST_NAMES],
        ]
        for function, tasks in by_label.items()
    ]


def earlier(store: Path, pipeline: str, functions: Collection[str], names: Sequence[tuple[str, str]]) -> list[int]:
    """Return what tasks took in earlier runs of a pipeline, in ns; 0: nobody knows.

    Of each function, the newest run in which it ended well counts: there, what the task of the same name took, else the
    mean of all its tasks.

    Args:
        store: the store's folder.
        pipeline: its name.
        functions: the labels that are asked for.
        names: of each task, the label of its function and its own name.
    """
    known: Known = {}
    wanted = set(functions)
    try:
        numbers = run_numbers(store)
    except StoreError:
        numbers = []
    for number in reversed(numbers[-MOST_RUNS:]):
        if not wanted:
            break
        try:
            found = _told(store, number, pipeline)
        except (StoreError, sqlite3.Error, OSError, LookupError, TypeError, ValueError, OverflowError):
            continue  # what cannot be read teaches nothing, and `penstock runs` says what is wrong with it
        for function in wanted & found.keys():
            known[function] = found[function]
        wanted -= found.keys()
    times = []
    for function, name in names:
        mean, by_name = known.get(function, (0.0, {}))
        times.append(round(by_name.get(name, mean)))
    return times


def _told(store: Path, number: int, pipeline: str) -> Known:
    """Return what the last END pack of a run says.

    Raises:
        StoreError, sqlite3.Error, OSError, LookupError, TypeError, ValueError: it says nothing that can be trusted.
    """
    connection = open_for_reading(run_folder(store, number))
    try:
        connection.execute("BEGIN")
        first = connection.execute("SELECT body FROM packs WHERE seq = 0 AND kind = ?", (int(PackKind.RUN),)).fetchone()
        if first is None or read_json(first[0]).get("name") != pipeline:
            return {}
        rows = connection.execute(
            "SELECT seq, session, kind, digest, body FROM packs ORDER BY seq DESC LIMIT 2"
        ).fetchall()
    finally:
        connection.close()
    pack = verified(run_folder(store, number) / FILE, rows[0], rows[0][0], rows[-1][3])
    if pack.kind != PackKind.END:
        return {}
    known: Known = {}
    for function, _, mean, tasks in read_json(pack.body).get("durations", []):
        known[str(function)] = (_positive(mean), {str(name): _positive(ns) for name, ns in tasks})
    return known


def _positive(value: object) -> float:
    if isinstance(value, (int, float)) and 0 <= value < 2**62:
        return max(1.0, float(value))
    raise ValueError(f"{value!r} is no run time in ns")

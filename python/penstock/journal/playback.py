"""A run of a store as a workload: what `penstock simulate .penstock#7` plays."""

from __future__ import annotations

import re
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penstock.journal.errors import StoreError
from penstock.journal.reading import RecordedRun, Session, read_run
from penstock.observe.events import EventKind
from penstock.workloads import Workload, read
from penstock.workloads.recording import demand_of, of_events, with_worker_threads

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["read_source", "read_stored"]

_RUN = re.compile(r"(.+)#([0-9]+)", re.ASCII | re.DOTALL)
_LANE_OF_THREADS = 0


def read_source(file: str | PathLike[str]) -> Workload:
    """Return the workload in a file, or with `STORE#RUN`, as `.penstock#7`, that of a run of a store.

    Raises:
        StoreError: as `read_stored`.
        PipelineFileError, CycleError: as `workloads.read`.
    """
    text = fspath(file)
    found = _RUN.fullmatch(text)
    return read(file) if found is None or Path(text).exists() else read_stored(found[1], int(found[2]))


def read_stored(store: str | PathLike[str], number: int) -> Workload:
    """Return a run of a store as a workload: its tasks with the run times that they had, its limits and its workers.

    Of a task whose result was taken over from an earlier process of the run, the run time is the one that it had there.

    Args:
        store: the store's folder.
        number: the run.

    Raises:
        StoreError: there is no such run, it has not come to its end, or its penstock did not record what tasks ask for.
        PipelineFileError: its tasks made tasks while they ran: what they would do in another order is not known.
    """
    shown = f"{fspath(store)}#{number}"
    run = read_run(store, number)
    last = run.last
    if run.problem is not None or last.ending is None:
        why = run.problem or f"it is {run.state}, so nobody knows how it would have gone on"
        raise StoreError(f"{shown}: it cannot be simulated: {why}.")
    if len(last.traits) != len(last.names) or "workers" not in last.ending:
        raise StoreError(
            f"{shown}: it cannot be simulated: the penstock that ran it did not record what tasks ask for; run it again."
        )
    indptr, indices = run.dependencies
    demands: dict[str, int] = {}
    kinds = [demands.setdefault(trait.demand, len(demands)) for trait in last.traits]
    recorded = of_events(
        last.events,
        Workload(
            name=run.name,
            names=last.names,
            indptr=indptr,
            indices=indices,
            duration_ns=np.zeros(len(last.names), np.int64),
            demands=tuple(demand_of(text) for text in demands),
            demand_of=np.array(kinds, np.int32),
            groups=np.unique(np.array(last.functions, np.str_), return_inverse=True)[1].astype(np.uint32),
            expected_ns=np.array([round(1e9 * trait.duration_s) for trait in last.traits], np.int64),
            priority=np.array([trait.priority for trait in last.traits], np.float64),
            capacity={str(name): int(amount) for name, amount in last.ending["limits"].items()},
        ),
        shown,
    )
    recorded = recorded.with_changes(duration_ns=_taken_over(run, recorded.duration_ns))
    on_thread = np.array(last.lanes, np.int64) == _LANE_OF_THREADS
    return with_worker_threads(recorded, on_thread, int(last.ending["workers"]))


def _taken_over(run: RecordedRun, duration_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the run times with those of results that were taken over as they were in the process that made them."""
    known: dict[int, dict[int, int]] = {}
    mended = duration_ns.copy()
    for task, origin in enumerate(run.last.origins):
        if origin is None:
            continue
        session, there = run.origin(run.last.number, task)
        if session not in known:
            known[session] = _took(run.sessions[session - 1])
        mended[task] = known[session].get(there, int(mended[task]))
    return mended


def _took(session: Session) -> dict[int, int]:
    events = session.events
    ended = events[events["kind"] == EventKind.SUCCEEDED]
    return dict(zip(ended["task"].tolist(), ended["value"].tolist(), strict=True))

"""Recorded runs: what a run's log and tables say, kept in a file, and read back as a workload.

The file is an npz archive of version 1: `version`, `name`, `events` (rows of 32 bytes as the core writes them), `names`
and `kinds` of the tasks, `indptr` and `indices`, `demands` (JSON: one object of amounts for each different demand),
`demand_of`, `expected` (ns, 0: unknown), `priority`, `executors`, `limits` (JSON) and `workers`. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import zlib
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from penstock.errors import PenstockError, PipelineFileError
from penstock.observe.events import EventKind, as_array, one_each
from penstock.resources import RESOURCES, Demand
from penstock.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy.typing as npt

    from penstock.observe.events import Events
    from penstock.observe.protocol import RunView

__all__ = ["VERSION", "demand_of", "of_events", "read_recording", "save_recording", "with_worker_threads"]

VERSION = 1
UNLIMITED = 2**62
"""A capacity above this is none."""

WORKER = "worker"
"""The resource that stands for a worker thread, where only some tasks take one."""

THREADS = 0
"""The lane of tasks that run in worker threads."""


def save_recording(view: RunView, path: str | PathLike[str], *, workers: int) -> None:
    """Write a run to a file that `read_recording` reads.

    Args:
        view: a run that has ended.
        path: of the file; ".npz" is added where it is missing.
        workers: threads that ran its tasks; 0 when none did.
    """
    specs, names = list(view.specs), list(view.names)
    demands: dict[Demand, int] = {}
    demand_of = [demands.setdefault(spec.demand, len(demands)) for spec in specs]
    rows = [list(view.predecessors(task)) for task in range(len(names))]
    np.savez_compressed(
        Path(path),
        version=np.array(VERSION),
        name=np.array(view.name),
        events=np.frombuffer(view.log.read_bytes(0), np.uint8),
        names=np.array(names, dtype=np.str_),
        kinds=np.array([spec.name for spec in specs], dtype=np.str_),
        indptr=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        indices=np.array([task for row in rows for task in row], np.int64),
        demands=np.array(json.dumps([dict(demand) for demand in demands])),
        demand_of=np.array(demand_of, np.int32),
        expected=np.array([round(1e9 * (spec.duration_s or 0.0)) for spec in specs], np.int64),
        priority=np.array([float(spec.priority) for spec in specs]),
        limits=np.array(json.dumps(dict(view.limits))),
        executors=np.array([spec.executor for spec in specs], dtype=np.str_),
        workers=np.array(workers),
    )


def read_recording(path: str | PathLike[str]) -> Workload:
    """Return a recorded run as a workload: its tasks with the run times that they had, its limits and its workers.

    Raises:
        PipelineFileError: it is no recorded run of this version, or one whose tasks made tasks while they ran.
    """
    shown = fspath(path)
    try:
        return _read(path, shown)
    except PenstockError:
        raise
    except (*_BROKEN, BadZipFile, zlib.error) as error:
        raise PipelineFileError(f"it is no recorded run, or is damaged: {error}.", shown) from None


_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)
"""What the libraries that take a file of arrays apart raise when its bytes are not what they were."""


def _read(path: str | PathLike[str], shown: str) -> Workload:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        parts: dict[str, Any] = {key: file[key] for key in file.files}
    version = int(parts["version"]) if "version" in parts else None
    if version != VERSION:
        raise PipelineFileError(f"it is a recording of version {version}; {VERSION} can be read.", shown)
    missing = sorted(_PARTS - set(parts))
    if missing:
        raise PipelineFileError(f"it lacks {', '.join(missing)}; record the run again.", shown)
    demands = tuple(_demand(amounts) for amounts in json.loads(str(parts["demands"])))
    (events,) = one_each(as_array(parts["events"].tobytes()))
    on_thread, workers = parts["executors"] == "threads", int(parts["workers"])
    recorded = of_events(
        events,
        Workload(
            name=str(parts["name"]),
            names=[str(name) for name in parts["names"]],
            indptr=parts["indptr"],
            indices=parts["indices"],
            duration_ns=np.zeros(len(parts["names"]), np.int64),
            demands=demands,
            demand_of=parts["demand_of"],
            groups=np.unique(parts["kinds"], return_inverse=True)[1].astype(np.uint32),
            expected_ns=parts["expected"],
            priority=parts["priority"],
            capacity=json.loads(str(parts["limits"])),
        ),
        shown,
    )
    return with_worker_threads(recorded, on_thread, workers)


def with_worker_threads(recorded: Workload, on_thread: npt.NDArray[np.bool_], workers: int) -> Workload:
    """Return a workload with the worker threads that some of its tasks took.

    Args:
        recorded: the workload.
        on_thread: shape (n_tasks,): whether a task ran in a worker thread.
        workers: how many of these there were; 0 when none did.
    """
    demands = recorded.demands
    if np.all(on_thread):
        return recorded.with_changes(workers=workers or None)
    # Processes and commands take no worker, so a worker is one more thing that some tasks ask for.
    asking = [
        Demand(**_own(demand), custom=(*demand.custom, (WORKER, 1000))) if thread else demand
        for thread in (False, True)
        for demand in demands
    ]
    return recorded.with_changes(
        demands=tuple(asking),
        demand_of=(recorded.demand_of + len(demands) * on_thread).astype(np.int32),
        capacity={**recorded.capacity, WORKER: 1000 * workers},
    )


def of_events(events: Events, workload: Workload, shown: str) -> Workload:
    """Return the workload with what a log says of it: run times, arrivals, failures and outside load.

    Args:
        events: shape (n_rows,), one row for each task and event, in order; see `observe.events.one_each`.
        workload: the tasks of the log, by id.
        shown: how an error names the log.

    Raises:
        PipelineFileError: a task made tasks while it ran: what it would do in another order is not known.
    """
    count = len(workload)
    if np.any(events["kind"] == EventKind.DEFERRED):
        task = int(events["task"][events["kind"] == EventKind.DEFERRED][0])
        raise PipelineFileError(
            f"task {workload.names[task]!r} made tasks while it ran; such a run cannot be simulated.", shown
        )
    submitted = events["time"][events["kind"] == EventKind.SUBMITTED]
    origin = int(submitted[0]) if len(submitted) else 0
    duration, began, lane = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    arrival = np.zeros(count, np.int64)
    failures, retries = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
    capacity, changes, waits = dict(workload.capacity), [], []
    started = False
    for row in events:
        kind, task, time, value = int(row["kind"]), int(row["task"]), int(row["time"]), int(row["value"])
        if kind == EventKind.SUBMITTED:
            arrival[task : task + value] = time - origin
        elif kind == EventKind.STARTED:
            began[task], lane[task] = time, value
            started = True
        elif kind == EventKind.SUCCEEDED:
            # A worker thread is handed several small tasks at once, so its start says little; elsewhere the start of a
            # process is part of what a task holds.
            duration[task] = value if lane[task] == THREADS else time - began[task]
        elif kind in (EventKind.RETRYING, EventKind.FAILED):
            duration[task] = max(duration[task], time - began[task])
            failures[task] += 1
            if kind == EventKind.RETRYING:
                retries[task] += 1
                waits.append(value - time)
        elif kind == EventKind.CAPACITY_CHANGED and int(row["attempt"]) == 0 and int(row["worker"]) < len(RESOURCES):
            resource = RESOURCES[int(row["worker"])]
            if not started and value < UNLIMITED:
                capacity[resource] = value
            elif started and resource in capacity:
                changes.append((time - origin, resource, min(value, UNLIMITED)))
    return workload.with_changes(
        duration_ns=duration,
        arrival_ns=arrival,
        failures=failures,
        retries=retries,
        retry_wait_ns=max(0, round(sum(waits) / len(waits))) if waits else 0,
        capacity=capacity,
        changes=tuple(changes),
    )


def _own(demand: Demand) -> dict[str, int]:
    return {name: amount for name, amount in demand.items() if name in RESOURCES}


def demand_of(text: str) -> Demand:
    """Return the demand that a JSON object of amounts stands for."""
    return _demand({str(name): int(amount) for name, amount in json.loads(text).items()})


def _demand(amounts: dict[str, int]) -> Demand:
    own = {name: amount for name, amount in amounts.items() if name in RESOURCES}
    return Demand(**own, custom=tuple(sorted((name, a) for name, a in amounts.items() if name not in RESOURCES)))


_PARTS = {
    "name",
    "events",
    "names",
    "kinds",
    "indptr",
    "indices",
    "demands",
    "demand_of",
    "priority",
    "executors",
    "limits",
    "workers",
}

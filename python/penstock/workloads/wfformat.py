"""Reads WfCommons WfFormat 1.5: execution traces of scientific workflows, JSON, also gzipped.

A task's run time is `runtimeInSeconds`. Its cores are max(coreCount, ceil(avgCPU / 100 - 0.25), 1), where avgCPU is
percent of one core: a quarter of a core above a whole number is taken for noise. Its memory is memoryInBytes. Both count
as the machine's where they are more. Source: Coleman et al., WfCommons, FGCS 128 (2022) 16-27; the schema at
https://github.com/wfcommons/WfFormat.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import PipelineFileError
from penstock.resources import Demand
from penstock.workloads.workload import Workload

__all__ = ["read_wfformat"]

VERSIONS = ("1.5",)

MEMORY_STEP = 2**20
"""Bytes. Memory is rounded up to whole MiB, so that tasks that were measured to the byte still share demands."""

MOST_SECONDS = 9e9
"""Nanoseconds in 64 bits end a little later, after 290 years."""

MOST_CORES = 1e9
MOST = 1e18
"""Bytes, and whatever else is counted."""

_NUMBER = re.compile(r"[_.-]?(?:ID)?\d+$", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")


def read_wfformat(path: str | PathLike[str]) -> Workload:
    """Return the workflow in a file.

    Raises:
        PipelineFileError: it cannot be read, is no JSON (with the line), or lacks what the format asks for.
    """
    shown = fspath(path)
    document = _document(Path(path), shown)
    version = str(_get(document, "schemaVersion", str, shown, "the file"))
    if version not in VERSIONS:
        raise PipelineFileError(f"it is WfFormat {version}; {' and '.join(VERSIONS)} can be read.", shown)
    workflow = _get(document, "workflow", dict, shown, "the file")
    tasks = _get(_get(workflow, "specification", dict, shown, "workflow"), "tasks", list, shown, "specification")
    runs = {
        _get(run, "id", str, shown, "an execution task"): run
        for run in _get(_get(workflow, "execution", dict, shown, "workflow"), "tasks", list, shown, "execution")
    }
    ids = [_get(task, "id", str, shown, "a task") for task in tasks]
    position = {task: k for k, task in enumerate(ids)}
    if len(position) != len(ids):
        twice = next(task for k, task in enumerate(ids) if position[task] != k)
        raise PipelineFileError(f"task id {twice!r} is there twice; ids are unique.", shown)
    indptr, indices = [0], []
    durations, demand_of = np.empty(len(ids), np.int64), np.empty(len(ids), np.int32)
    demands: dict[Demand, int] = {}
    sizes = _file_sizes(workflow)
    read_bytes = np.empty(len(ids))
    for k, task in enumerate(tasks):
        read_bytes[k] = _input_bytes(task, sizes, shown, ids[k])
        for before in _get(task, "parents", list, shown, f"task {ids[k]!r}"):
            if not isinstance(before, str) or before not in position:
                raise PipelineFileError(f"task {ids[k]!r} has the parent {before!r}, which is no task.", shown)
            indices.append(position[before])
        indptr.append(len(indices))
        run = runs.get(ids[k])
        if run is None:
            raise PipelineFileError(f"task {ids[k]!r} has no entry under execution, so its run time is unknown.", shown)
        durations[k] = round(_number(run, "runtimeInSeconds", shown, ids[k], most=MOST_SECONDS) * 1e9)
        demand_of[k] = demands.setdefault(_demand(run, shown, ids[k]), len(demands))
    workload = Workload(
        name=Path(path).name.split(".json")[0],
        names=ids,
        indptr=np.array(indptr, np.int64),
        indices=np.array(indices, np.int64),
        duration_ns=durations,
        demands=tuple(demands),
        demand_of=demand_of,
        groups=_kinds(tasks, ids),
        sizes=np.stack([read_bytes, np.array([demand.memory for demand in demands], float)[demand_of]], axis=1),
        capped=True,
    )
    workload.critical_path_ns()  # names a cycle
    return workload


def _document(path: Path, shown: str) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PipelineFileError(f"it is no whole gzip file: {error}.", shown) from None
    except UnicodeDecodeError as error:
        raise PipelineFileError(f"it is not UTF-8 text (byte {error.start} does not fit).", shown) from None
    except OSError as error:
        raise PipelineFileError(f"it cannot be read: {error.strerror}.", shown) from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise PipelineFileError(f"it is no JSON: {error.msg}.", shown, error.lineno, error.colno) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        raise PipelineFileError(f"it is no JSON that can be read: {error}.", shown) from None
    if not isinstance(document, dict):
        raise PipelineFileError(f"it holds {_kind(document)}; expected an object with a 'workflow'.", shown)
    return document


def _get(holder: Any, key: str, kind: type, shown: str, where: str) -> Any:
    value = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(value, kind):
        said = f"has {key!r} = {_kind(value)}" if value is not None else f"has no {key!r}"
        raise PipelineFileError(f"{where} {said}; expected {_WORDS[kind]}.", shown)
    return value


def _number(
    run: dict[str, Any], key: str, shown: str, task: str, default: float | None = None, most: float = MOST
) -> float:
    value = run.get(key, default)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        said = f"has {key!r} = {value!r}" if value is not None else f"has no {key!r}"
        raise PipelineFileError(f"task {task!r} {said}; expected a number from 0 to {most:g}.", shown)
    return float(value)


def _kinds(tasks: list[dict[str, Any]], ids: list[str]) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Number the tasks by kind: their category, else their name without the number at its end, else without any digit.

    The last holds where names tell almost every task apart, because they name samples and chunks too.
    """
    names = [str(task.get("category") or task.get("name") or name) for task, name in zip(tasks, ids, strict=True)]
    kinds = [_NUMBER.sub("", name) for name in names]
    if len(set(kinds)) > len(kinds) / 2:
        kinds = [_DIGITS.sub("", name) for name in names]
    return np.unique(kinds, return_inverse=True)[1].astype(np.uint32) if kinds else np.zeros(0, np.uint32)


def _file_sizes(workflow: dict[str, Any]) -> dict[str, float]:
    files = workflow["specification"].get("files")
    return {
        str(file.get("id")): float(file["sizeInBytes"])
        for file in (files if isinstance(files, list) else [])
        if isinstance(file, dict) and isinstance(file.get("sizeInBytes"), (int, float))
        if 0 <= file["sizeInBytes"] <= MOST
    }


def _input_bytes(task: dict[str, Any], sizes: dict[str, float], shown: str, name: str) -> float:
    """Return how much a task reads: the sum over its files, or the total that some traces have in their place; else 0."""
    files = task.get("inputFiles")
    if isinstance(files, list):
        return sum(sizes.get(str(file), 0.0) for file in files)
    return _number(task, "inputBytes", shown, name, 0.0)


def _demand(run: dict[str, Any], shown: str, task: str) -> Demand:
    count = _number(run, "coreCount", shown, task, 0.0, MOST_CORES)
    used = _number(run, "avgCPU", shown, task, 0.0, 100 * MOST_CORES)
    cores = max(math.ceil(count), math.ceil(used / 100 - 0.25), 1)
    memory = math.ceil(_number(run, "memoryInBytes", shown, task, 0.0))
    return Demand(cpu=1000 * cores, memory=-(-memory // MEMORY_STEP) * MEMORY_STEP)


_WORDS: dict[type, str] = {dict: "an object", list: "an array", str: "text"}


def _kind(value: object) -> str:
    word = _WORDS.get(type(value))
    return repr(value) if word is None else word

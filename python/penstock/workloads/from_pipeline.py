"""Makes a workload of a pipeline whose tasks say how long they are expected to run."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import OptionError
from penstock.pipeline_file import load_pipeline
from penstock.resources import Demand
from penstock.retry import Retry
from penstock.workloads.workload import Workload

if TYPE_CHECKING:
    from penstock.pipeline import Pipeline

__all__ = ["of_pipeline", "read_pipeline"]


def read_pipeline(file: str | PathLike[str]) -> Workload:
    """Return the pipeline in `FILE` or `FILE:NAME` as a workload.

    Raises:
        PipelineFileError: there is no pipeline, or not just one.
        OptionError: no task has a `duration=`.
    """
    return of_pipeline(load_pipeline(file), fspath(file))


def of_pipeline(pipeline: Pipeline, shown: str | None = None) -> Workload:
    """Return a pipeline as a workload: `duration=` is how long a task runs; one without it runs as long as the mean.

    Args:
        pipeline: is frozen, not run.
        shown: how an error names it.

    Raises:
        OptionError: no task has a `duration=`.
        CycleError, DuplicateNameError: as `Pipeline.freeze`.
    """
    frozen = pipeline.freeze()
    specs = [call.spec for call in frozen.calls]
    known = [spec.duration_s for spec in specs if spec.duration_s is not None]
    if specs and not known:
        raise OptionError(
            f"{shown or frozen.name}: no task has a duration=, so there is nothing to simulate; say how many seconds they "
            "are expected to run, or record a run with result.save_events('run.npz') and simulate that."
        )
    typical = sum(known) / len(known) if known else 0.0
    demands: dict[Demand, int] = {}
    demand_of = [demands.setdefault(spec.demand, len(demands)) for spec in specs]
    kinds: dict[str, int] = {}
    return Workload(
        name=frozen.name,
        names=frozen.names,
        indptr=np.array(frozen.indptr, np.int64),
        indices=np.array(frozen.indices, np.int64),
        duration_ns=np.array(
            [round(1e9 * (typical if spec.duration_s is None else spec.duration_s)) for spec in specs], np.int64
        ),
        demands=tuple(demands),
        demand_of=np.array(demand_of, np.int32),
        groups=np.array([kinds.setdefault(spec.name, len(kinds)) for spec in specs], np.uint32),
        priority=np.array([float(spec.priority) for spec in specs]),
        retries=np.array(
            [spec.retry.attempts - 1 if isinstance(spec.retry, Retry) else 0 for spec in specs], np.uint32
        ),
        workers=pipeline.workers,
    )

"""The shared instances, where there are any, and workloads drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from penstock.resources import Demand
from penstock.workloads import Workload


def shared(folder: str) -> Path:
    """A folder of the shared data; the test is skipped where it is absent."""
    for above in Path(__file__).resolve().parents:
        found = above / "shared" / "data" / folder
        if found.is_dir():
            return found
    pytest.skip(f"the folder of public instances, shared/data/{folder}, is not here")


@st.composite
def workloads(draw: st.DrawFn, most: int = 12) -> Workload:
    """Small workloads with every feature that changes what may start when."""
    count = draw(st.integers(1, most))
    rows = [sorted(draw(st.sets(st.integers(0, k - 1), max_size=3))) if k else [] for k in range(count)]
    whole = st.integers(0, 5)
    demands = tuple(
        Demand(
            cpu=1000 * draw(st.integers(0, 3)),
            memory=draw(whole),
            custom=(("licence", 1000),) if draw(st.booleans()) else (),
        )
        for _ in range(3)
    )
    arrivals = sorted(draw(st.lists(st.integers(0, 20), min_size=count, max_size=count)))
    return Workload(
        name="drawn",
        names=[f"t{k}" for k in range(count)],
        indptr=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        indices=np.array([before for row in rows for before in row], np.int64),
        duration_ns=np.array(draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)), np.int64),
        demands=demands,
        demand_of=np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), np.int32),
        arrival_ns=np.array(arrivals, np.int64) if draw(st.booleans()) else np.zeros(count, np.int64),
        changes=((5, "cpu", 3000), (15, "cpu", 4000)) if draw(st.booleans()) else (),
        workers=draw(st.one_of(st.none(), st.integers(1, 3))),
    )


def chain(durations: list[int], **columns: object) -> Workload:
    """Tasks that wait for each other in a row, of one core each."""
    count = len(durations)
    return Workload(
        name="chain",
        names=[f"t{k}" for k in range(count)],
        indptr=np.array([0, *range(count)], np.int64),
        indices=np.arange(count - 1, dtype=np.int64),
        duration_ns=np.array(durations, np.int64),
        demands=(Demand(cpu=1000),),
        demand_of=np.zeros(count, np.int32),
        **columns,  # type: ignore[arg-type]
    )


def apart(durations: list[int], **columns: object) -> Workload:
    """Tasks that wait for nothing, of one core each."""
    count = len(durations)
    return Workload(
        name="apart",
        names=[f"t{k}" for k in range(count)],
        indptr=np.zeros(count + 1, np.int64),
        indices=np.zeros(0, np.int64),
        duration_ns=np.array(durations, np.int64),
        demands=(Demand(cpu=1000),),
        demand_of=np.zeros(count, np.int32),
        **columns,  # type: ignore[arg-type]
    )

"""The pipeline whose journal is stored in tests/data/journal_v1: one of every kind of pack and result.

A stored sample is never made anew. It was made by running `made(fails=True)` and resuming with `made(fails=False)`, with
results of 1,500 bytes and more as files.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

import penstock
from penstock import Pipeline, task

__all__ = ["made"]


@task
def nothing() -> None: ...


@task
def plain() -> dict[str, int]:
    return {"a": 1}


@task
def array(n: int) -> Any:
    return np.arange(n)


@task
def lock() -> Any:
    return threading.Lock()


@task
def skips() -> int:
    penstock.skip("skipped")
    return 1


@task
def skipped(x: int) -> int:
    return x


@task
def fails(wanted: bool) -> str:
    if wanted:
        raise ValueError("as wanted")
    return "not wanted"


@task
def last(x: Any) -> int:
    return int(x["a"])


def made(*, fails: bool) -> Pipeline:
    """Return the pipeline."""
    failing = globals()["fails"]
    with Pipeline("sample") as p:
        nothing()
        array(10)
        array(500)
        lock()
        skipped(skips())
        penstock.command("said", ["printf", "hello"])
        last.with_options(after=[failing(fails)])(plain())
    return p

"""Reads single-mode PSPLIB projects (.sm): jobs, precedence, renewable resources.

A time unit is taken as one second. Renewable resource R1 becomes the custom resource "R1", whose capacity the file
gives. Dummy jobs at the beginning and the end are kept: they take no time and nothing else.
Source: Kolisch and Sprecher, PSPLIB - a project scheduling problem library, EJOR 96 (1996) 205-216.
"""

from __future__ import annotations

import re
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from penstock.errors import PipelineFileError
from penstock.resources import Demand
from penstock.workloads.workload import Workload

__all__ = ["read_psplib"]

SECOND = 1_000_000_000
MOST = 1_000_000_000
"""Of any number in a file; time units are seconds, and nanoseconds in 64 bits end after nine times as many."""


class _Lines:
    """The lines of a file, with the number of the one that is looked at."""

    def __init__(self, text: str, shown: str) -> None:
        self._lines = text.splitlines()
        self.shown = shown
        self.number = 0

    def __len__(self) -> int:
        return len(self._lines)

    def next(self, expected: str) -> str:
        if self.number >= len(self._lines):
            raise PipelineFileError(f"it ends here; expected {expected}.", self.shown, self.number)
        self.number += 1
        return self._lines[self.number - 1]

    def skip_to(self, start: str) -> str:
        while True:
            line = self.next(f"a line that begins with {start!r}")
            if line.lstrip().startswith(start):
                return line

    def wrong(self, expected: str, found: str) -> PipelineFileError:
        return PipelineFileError(f"expected {expected}, found {found.strip()!r}.", self.shown, self.number)

    def numbers(self, expected: str, at_least: int) -> list[int]:
        line = self.next(expected)
        try:
            values = [int(word) for word in line.split()]
        except ValueError:
            raise self.wrong(expected, line) from None
        if len(values) < at_least or min(values, default=0) < 0:
            raise self.wrong(expected, line)
        if max(values, default=0) > MOST:
            raise self.wrong(f"numbers up to {MOST}", line)
        return values


def read_psplib(path: str | PathLike[str]) -> Workload:
    """Return the project in a file.

    Raises:
        PipelineFileError: it is no single-mode project; with the line and what was expected there.
    """
    shown = fspath(path)
    try:
        text = Path(path).read_text(encoding="latin-1")
    except OSError as error:
        raise PipelineFileError(f"it cannot be read: {error.strerror}.", shown) from None
    lines = _Lines(text, shown)
    jobs = _count(lines, "jobs")
    if jobs > len(lines):  # each has two; a number that is wrong must not cost memory
        raise lines.wrong(f"at most {len(lines)} jobs in a file of as many lines", str(jobs))
    renewable = _count(lines, "- renewable")
    if not 1 <= renewable <= 10:
        raise lines.wrong("1 to 10 renewable resources", str(renewable))
    lines.skip_to("PRECEDENCE RELATIONS")
    lines.next("the heading of the precedence relations")
    before: list[list[int]] = [[] for _ in range(jobs)]
    for job in range(1, jobs + 1):
        row = lines.numbers(f"job {job}: its number, modes, number of successors, successors", 3)
        number, modes, count, successors = row[0], row[1], row[2], row[3:]
        if number != job or len(successors) != count:
            raise lines.wrong(f"job {job} with as many successors as it says", " ".join(map(str, row)))
        if modes != 1:
            raise lines.wrong(f"one mode for job {job}", f"{modes} modes")
        for successor in successors:
            if not 1 <= successor <= jobs:
                raise lines.wrong(f"successors from 1 to {jobs}", str(successor))
            before[successor - 1].append(job - 1)
    lines.skip_to("REQUESTS/DURATIONS")
    lines.next("the heading of the requests")
    lines.next("a line of dashes")
    durations, asks = np.zeros(jobs, np.int64), []
    for job in range(1, jobs + 1):
        row = lines.numbers(f"job {job}: its number, mode, duration and {renewable} requests", 3 + renewable)
        if row[0] != job or len(row) != 3 + renewable:
            raise lines.wrong(f"job {job} with {renewable} requests", " ".join(map(str, row)))
        durations[job - 1] = row[2] * SECOND
        asks.append(tuple(row[3:]))
    lines.skip_to("RESOURCEAVAILABILITIES")
    lines.next("the heading of the availabilities")
    there = lines.numbers(f"{renewable} availabilities", renewable)
    names = [f"R{k + 1}" for k in range(renewable)]
    demands: dict[Demand, int] = {}
    demand_of = [
        demands.setdefault(
            Demand(custom=tuple((name, 1000 * amount) for name, amount in zip(names, row, strict=True) if amount)),
            len(demands),
        )
        for row in asks
    ]
    return Workload(
        name=Path(path).stem,
        names=[str(job + 1) for job in range(jobs)],
        indptr=np.concatenate([[0], np.cumsum([len(row) for row in before])]).astype(np.int64),
        indices=np.array([job for row in before for job in row], np.int64),
        duration_ns=durations,
        demands=tuple(demands),
        demand_of=np.array(demand_of, np.int32),
        groups=np.arange(jobs, dtype=np.uint32),  # each job is its own kind
        capacity={name: 1000 * amount for name, amount in zip(names, there, strict=False)},
    )


def _count(lines: _Lines, what: str) -> int:
    line = lines.skip_to(what)
    found = re.search(r":\s*(\d{1,9})(?!\d)", line)
    if found is None:
        raise lines.wrong(f"{what!r}, a colon and a number", line)
    return int(found[1])

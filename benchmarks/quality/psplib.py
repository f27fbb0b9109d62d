"""PSPLIB's single-mode instances and their best known makespans, as arrays for the planner."""

from __future__ import annotations

import csv
from array import array
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Instance", "read_set", "read_sm"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One project. Durations and demands are in the file's own whole units.

    Attributes:
        name: the file's, without its ending.
        durations: shape (n,), int64.
        demands: shape (n * n_resources,), int64, task by task.
        capacity: shape (n_resources,), int64.
        indptr, indices: shapes (n + 1,) and (n_edges,), int64: predecessors by position.
        best: the best known makespan, or 0.
    """

    name: str
    durations: array[int]
    demands: array[int]
    capacity: array[int]
    indptr: array[int]
    indices: array[int]
    best: int = 0

    def __len__(self) -> int:
        return len(self.durations)

    def predecessors(self, task: int) -> array[int]:
        """Return the tasks that a task waits for."""
        return self.indices[self.indptr[task] : self.indptr[task + 1]]


def read_sm(path: Path, best: int = 0) -> Instance:
    """Read one `.sm` file.

    Raises:
        ValueError: a section is missing, or a job has more than one mode; names the file.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()

    def rows(title: str, skip: int) -> list[list[int]]:
        begin = next((k for k, line in enumerate(lines) if line.startswith(title)), None)
        if begin is None:
            raise ValueError(f"{path}: there is no section {title!r}; is it a single-mode PSPLIB file?")
        found = []
        for line in lines[begin + 1 + skip :]:
            if not line.strip() or not line.split()[0].isdigit():
                break
            found.append([int(word) for word in line.split()])
        return found

    successors = rows("PRECEDENCE RELATIONS", 1)
    requests = rows("REQUESTS/DURATIONS", 2)
    if any(row[1] != 1 for row in successors):
        raise ValueError(f"{path}: a job has more than one mode; only single-mode instances are read.")
    before: list[list[int]] = [[] for _ in successors]
    for job, _, count, *after in successors:
        for other in after[:count]:
            before[other - 1].append(job - 1)
    indptr, indices = array("q", [0]), array("q")
    for row in before:
        indices.extend(row)
        indptr.append(len(indices))
    return Instance(
        path.stem,
        array("q", [row[2] for row in requests]),
        array("q", [amount for row in requests for amount in row[3:]]),
        array("q", rows("RESOURCEAVAILABILITIES", 1)[0]),
        indptr,
        indices,
        best,
    )


def read_set(folder: Path) -> list[Instance]:
    """Read a folder of `.sm` files with its `best_known.csv` (columns `instance` and `best_known`), in the order of that."""
    with (folder / "best_known.csv").open(newline="") as file:
        return [read_sm(folder / f"{row['instance']}.sm", int(row["best_known"])) for row in csv.DictReader(file)]

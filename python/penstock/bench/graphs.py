"""The graphs of the benchmarks: layered and random, the same at every run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LayeredGraph"]


@dataclass(frozen=True)
class LayeredGraph:
    """Layers of equal width; each task waits for `degree` different tasks of the layer before.

    The predecessors are drawn at random, one from each of `degree` equal parts of that layer.

    Args:
        layers: how many; a result that counts layers ends at layers - 1.
        width: tasks in a layer, a multiple of `degree`.
        degree: predecessors of each task outside the first layer.
        seed: of the random numbers.
    """

    layers: int
    width: int
    degree: int = 4
    seed: int = 1

    def __post_init__(self) -> None:
        if self.width % self.degree:
            raise ValueError(f"width={self.width} is no multiple of degree={self.degree}")

    @property
    def tasks(self) -> int:
        return self.layers * self.width

    @property
    def edges(self) -> int:
        return (self.layers - 1) * self.width * self.degree

    @cached_property
    def indptr(self) -> NDArray[np.int64]:
        """Shape (tasks + 1,): task k waits for indices[indptr[k]:indptr[k + 1]]."""
        counts = np.full(self.tasks, self.degree, dtype=np.int64)
        counts[: self.width] = 0
        return np.concatenate(([0], np.cumsum(counts)))

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """Shape (edges,): numbers of tasks."""
        part = self.width // self.degree
        drawn = np.random.default_rng(self.seed).integers(part, size=(self.layers - 1, self.width, self.degree))
        starts = np.arange(self.degree) * part
        layer_starts = np.arange(self.layers - 1) * self.width
        return (drawn + starts + layer_starts[:, None, None]).ravel().astype(np.int64)

    @cached_property
    def in_batch(self) -> NDArray[np.int64]:
        """`indices` as the core wants those of one batch: ~j for its j-th task."""
        return ~self.indices

    @cached_property
    def lists(self) -> tuple[list[int], list[int]]:
        """indptr and indices as lists, which pure Python reads faster than arrays."""
        return self.indptr.tolist(), self.indices.tolist()

    @cached_property
    def rows(self) -> dict[int, list[int]]:
        """The predecessors of each task, as graphlib takes them."""
        indptr, indices = self.lists
        return {k: indices[indptr[k] : indptr[k + 1]] for k in range(self.tasks)}

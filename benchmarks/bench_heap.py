"""The ready heap alone, filled and emptied in batches, against heapq."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = "heap"
SIDES = ["native", "heapq"]


def test_heap(measure_side: Callable[[str], None], side: str) -> None:
    measure_side(side)

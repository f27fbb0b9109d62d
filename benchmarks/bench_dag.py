"""A layered random graph of 400,000 tasks and about 1.6 million edges, results passed along them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = "dag"
SIDES = ["native", "live", "baseline"]


def test_dag(measure_side: Callable[[str], None], side: str) -> None:
    measure_side(side)

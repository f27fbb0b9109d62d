"""From submit to the result, one task at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = "latency"
SIDES = ["native", "baseline"]


def test_latency(measure_side: Callable[[str], None], side: str) -> None:
    measure_side(side)

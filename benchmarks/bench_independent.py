"""No-op tasks that wait for nothing, in order of submission."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = "independent"
SIDES = ["native", "live", "baseline"]


def test_independent(measure_side: Callable[[str], None], side: str) -> None:
    measure_side(side)

"""No-op tasks that wait for nothing, of ten priorities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = "priorities"
SIDES = ["native", "live", "baseline"]


def test_priorities(measure_side: Callable[[str], None], side: str) -> None:
    measure_side(side)

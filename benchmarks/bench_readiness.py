"""Dependency counting alone: a million tasks and four million edges, against dicts and graphlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CASE = "readiness"
SIDES = ["native", "baseline", "graphlib"]


def test_readiness(measure_side: Callable[[str], None], side: str) -> None:
    measure_side(side)

"""The measured figures as a file, and what is read from it: medians and ratios of one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["FORMAT", "Record", "load", "save"]

FORMAT = 1


class Record:
    """The figures of one case.

    Args:
        data: as `take_turns` returns it, with `scale`, `measured` (a date) and `environment`.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.left_out: dict[str, str] = data["left_out"]
        self.sides: list[str] = [side for side, rounds in data["rounds"].items() if rounds]

    def median(self, side: str, figure: str) -> float | None:
        """The median over the rounds of one figure of a side; None where there is none."""
        found = [figures[figure] for figures in self.data["rounds"].get(side, ()) if figure in figures]
        return median(found) if found else None

    def each_s(self, side: str, figure: str = "seconds") -> float | None:
        """Median seconds for one unit."""
        rounds = self.data["rounds"].get(side, ())
        found = [figures[figure] / figures["amount"] for figures in rounds if figure in figures]
        return median(found) if found else None

    def spread(self, side: str) -> float:
        """The slowest round over the fastest."""
        found = [figures["seconds"] for figures in self.data["rounds"][side]]
        return max(found) / min(found) if min(found) > 0 else 1.0

    def faster(self, side: str, than: str) -> float | None:
        """How many times as fast `side` is per unit, by the medians."""
        one, other = self.each_s(side), self.each_s(than)
        return None if one is None or other is None else other / one

    def rows(self, side: str) -> dict[str, float]:
        """Medians by row, of a program that repeats by itself."""
        rounds = self.data["rounds"].get(side, ())
        return {row: median(values) for row, values in rounds[0]["rows"].items()} if rounds else {}


def load(file: Path) -> dict[str, Record]:
    """Read the cases of a file; empty where there is none.

    Raises:
        ValueError: it has another format.
    """
    if not file.exists():
        return {}
    data = json.loads(file.read_text())
    if data.get("format") != FORMAT:
        raise ValueError(f"{file.name} has format {data.get('format')}; this version reads {FORMAT}. Measure again.")
    return {name: Record(case) for name, case in data["cases"].items()}


def save(file: Path, cases: Mapping[str, Record]) -> None:
    """Write the cases, readable and the same for the same figures."""
    data = {"format": FORMAT, "cases": {name: record.data for name, record in cases.items()}}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(_rounded(data), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    """Six digits are more than any of this is worth."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value

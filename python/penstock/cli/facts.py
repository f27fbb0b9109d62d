"""A reading as plain data, ready for JSON: {value, text, source, why, age_s}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.probes.reading import Reading
from penstock.resources import format_amount

__all__ = ["Facts", "amount_of", "facts_of", "share_of"]

Facts = dict[str, Any]


def facts_of(reading: Reading, written: Callable[[int], str]) -> Facts:
    """Return a reading as facts, its value as `written` gives it, or 'unknown'."""
    return {
        "value": reading.value,
        "text": "unknown" if reading.value is None else written(reading.value),
        "source": reading.source,
        "why": reading.why,
        "age_s": round(reading.age_s(), 3),
    }


def amount_of(name: str, reading: Reading) -> Facts:
    """Return a reading of the resource `name`, written as a user would."""
    return facts_of(reading, lambda value: format_amount(name, value))


def share_of(reading: Reading) -> Facts:
    """Return a reading in thousandths, written in percent."""
    return facts_of(reading, lambda value: f"{value / 10:g} %")

"""The one quantile that admission uses."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil

__all__ = ["quantile"]


def quantile(values: Collection[int], share: float) -> int:
    """Return the smallest of the values that at least `share` of them do not exceed.

    Args:
        values: at least one.
        share: in (0, 1]; 1.0 is the largest value.
    """
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]

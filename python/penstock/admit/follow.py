"""Follows a value that jitters without jittering itself."""

from __future__ import annotations

__all__ = ["Follower"]

FORGET = 4
"""After so many unknown values in a row, what was known says nothing any more."""


class Follower:
    """What the core is told of one capacity, sample by sample.

    It stays where it is while values lie within `band` of it. Beyond that it moves when two values in a row lie on the
    same side, to the nearer of the two: one odd window moves nothing, and a step is followed with the second sample, at
    the latest the third. So it does not change on any input that jitters within a band. A value at the ceiling is
    taken as such however near it was, or what asks for all of it would never start.

    Args:
        band: >= 0, in the resource's unit.
        quick: fall at once. For memory, of which too much is worse than too little.
    """

    __slots__ = ("_band", "_pending", "_quick", "_told", "_unknown")

    def __init__(self, band: int, *, quick: bool = False) -> None:
        self._band = band
        self._quick = quick
        self._told: int | None = None
        self._pending: int | None = None
        self._unknown = 0

    def step(self, value: int | None, ceiling: int) -> int:
        """Return the capacity to tell after one more sample.

        Args:
            value: what the sample says; None: unknown. It never blocks: at first, and when it has lasted, the ceiling is
                returned, meanwhile what was known.
            ceiling: the capacity when nothing speaks against it.
        """
        if value is None:
            self._unknown += 1
            self._pending = None
            if self._unknown >= FORGET:
                self._told = None
            return ceiling if self._told is None else self._told
        self._unknown = 0
        told, pending = self._told, self._pending
        self._pending = None
        if told is None:
            self._told = value
        elif abs(value - told) > self._band or (value == ceiling != told):
            if value < told and self._quick:
                self._told = value
            elif pending is not None and (pending > told) == (value > told):
                self._told = min(pending, value) if value > told else max(pending, value)
                self._pending = value
            else:
                self._pending = value
        assert self._told is not None
        return self._told

"""What a running attempt is counted with, beside what it reserved when it started."""

from __future__ import annotations

from collections import deque

from penstock.admit.quantile import quantile

__all__ = ["LEND_AFTER", "Claim"]

LEND_AFTER = 4
"""Samples after which the use of an attempt has settled, so that what it does not use can be lent; two seconds."""

REMEMBERED = 20
"""Samples that a claim looks back on."""

MARGIN = 1.25
"""What is lent leaves an attempt so much more than it was seen to use."""


class Claim:
    """One resource of one running attempt.

    Args:
        reserved: what it holds in the ledger.
        guessed: the amount was penstock's own guess and not the user's word. It is given up for what is measured once that
            has settled, also where overcommit is off.
    """

    __slots__ = ("_guessed", "_seen", "reserved")

    def __init__(self, reserved: int, *, guessed: bool = False) -> None:
        self.reserved = reserved
        self._guessed = guessed
        self._seen: deque[int] = deque(maxlen=REMEMBERED)

    def add(self, used: int | None) -> None:
        """Note one sample; an unknown one says nothing."""
        if used is not None:
            self._seen.append(used)

    def beyond(self, overcommit: float | None, expected: int = 0) -> int:
        """Return what the attempt is counted with, less what it reserved: above 0 it has outgrown that, below 0 it lends.

        Args:
            overcommit: the share of its samples that what it is left with must cover; None: what was declared is not
                lent.
            expected: what attempts of the same function are known to come to; it is not lent.
        """
        if not self._seen:
            return 0
        latest = self._seen[-1]
        if len(self._seen) < LEND_AFTER or (overcommit is None and not self._guessed):
            return max(0, latest - self.reserved)
        kept = int(quantile(self._seen, 1.0 if overcommit is None else overcommit) * MARGIN)
        counted = max(latest, min(self.reserved, max(kept, expected)))
        return counted - self.reserved

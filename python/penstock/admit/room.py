"""What is left of one resource for our tasks at one instant.

free     = limit - outside load - max(reserved, measured) of our own
capacity = free + held, which is what the core's ledger is told, since it subtracts what is held itself
"""

from __future__ import annotations

__all__ = ["burden", "capacity", "outside_load"]


def outside_load(
    total: int | None, own: int | None, *, stands_in: int = 0, before: int | None = None, settling: bool = False
) -> int | None:
    """Return how much others use, >= 0, or None when what is used is unknown.

    Args:
        total: what everyone uses.
        own: what we use of it; None where that cannot be measured.
        stands_in: what our running tasks reserved, in the place of an unknown `own`.
        before: the result for the instant before.
        settling: tasks of ours have started lately, and what they reserved need not be in use yet. What others used
            before then still counts, as far as `total` has room for it: otherwise the reservation of a task that has
            only begun would be taken for the explanation of what others do, and several tasks would be sent to the
            one device that looks free.
    """
    if total is None:
        return None
    if own is not None:
        return max(0, total - own)
    rest = max(0, total - stands_in)
    return max(rest, min(before, total)) if settling and before is not None else rest


def burden(*, outside: int | None, own: int | None, held: int, claims: int = 0) -> int:
    """Return how much is in use beside what running tasks reserved, >= 0; the parameters are those of `capacity`."""
    return (outside or 0) + max(0, _beyond(own, held, claims))


def capacity(
    limit: int, *, outside: int | None, own: int | None, held: int, claims: int = 0, noise: int = 0, least: int = 0
) -> int:
    """Return how much all our tasks together may hold, >= 0.

    Args:
        limit: how much may be in use by everyone.
        outside: what others use; None, unknown, limits nothing.
        own: what our processes use; None where that is unknown, and then what is held stands for it.
        held: what running tasks reserved. When that is nothing, `own` counts for nothing either.
        claims: what the running attempts are counted with, less what they reserved: above 0 where some have outgrown
            their demand, below 0 where the difference is lent to others.
        noise: what others, and our own beyond what is held, may use together without counting.
        least: the result is not less than this.
    """
    taken = burden(outside=outside, own=own, held=held, claims=claims)
    if taken < noise:
        taken = 0
    lent = min(max(0, -_beyond(own, held, claims)), held)
    return max(0, limit - taken, least) + lent


def _beyond(own: int | None, held: int, claims: int) -> int:
    if held == 0:  # this process by itself: nobody would free that by ending, so it keeps no task from running alone
        return 0
    return claims if own is None else max(claims, own - held)

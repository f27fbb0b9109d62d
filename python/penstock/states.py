"""The states of a task and the causes of an ending, with the numbers that the core uses.

This is the lowest layer: it imports nothing of penstock. The numbers are part of the on-disk formats
and are never reused.
"""

from __future__ import annotations

from enum import IntEnum, unique

__all__ = ["Cause", "State"]


@unique
class State(IntEnum):
    """Where a task is in its life. `allowed` moves between states are the core's transition table.

    A skipped task is CANCELLED with cause SKIPPED.
    """

    WAITING = 0
    """Some predecessor has not completed."""
    READY = 1
    """Nothing is left to wait for but room on the machine."""
    RUNNING = 2
    """An attempt is running."""
    BACKOFF = 3
    """An attempt failed and the next one waits for its instant; no worker is held."""
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6
    UPSTREAM_FAILED = 7
    """It never ran, because a task that it needs failed or was cancelled."""

    @property
    def is_final(self) -> bool:
        """True when no further move is possible."""
        return self >= State.SUCCEEDED


@unique
class Cause(IntEnum):
    """Why an attempt or a task ended as it did; kept apart from the state."""

    NONE = 0
    """It succeeded, or has not ended."""
    EXCEPTION = 1
    """The function raised, or the command exited with a status other than 0."""
    TIMEOUT = 2
    OOM = 3
    """It was stopped for the memory it used."""
    LOST = 4
    """Its process went away: killed by a signal, crashed, or exited without a report."""
    CANCELLED = 5
    UPSTREAM = 6
    SKIPPED = 7

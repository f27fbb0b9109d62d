"""What can be wrong with a store."""

from __future__ import annotations

from penstock.errors import PenstockError

__all__ = ["Damaged", "StoreError"]


class StoreError(PenstockError):
    """A store cannot be used: its folder cannot be written, it is locked, damaged, or of an unknown version.

    Raised when a run is resumed, listed or removed, and when one is started with on_store_error="stop".
    """


class Damaged(StoreError):
    """Bytes of a store are not what was written there."""

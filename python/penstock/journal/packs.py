"""Packs: the unit in which a journal grows. Each carries the digest of its content and of all packs before it.

A body is columns of bytes under short names. Decoding checks every length against what is there, so that no bytes,
however damaged, lead to anything but `Damaged`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from enum import IntEnum, unique
from hashlib import blake2b
from typing import Any, cast

from penstock.journal.errors import Damaged

__all__ = ["DIGEST_BYTES", "START", "PackKind", "chained", "columns", "packed", "read_json", "write_json"]

DIGEST_BYTES = 16
START = bytes(DIGEST_BYTES)
"""What the first pack is chained to."""

_HEAD = struct.Struct("<QIB")
_COLUMN = struct.Struct("<BQ")


@unique
class PackKind(IntEnum):
    """What a pack holds. The numbers are part of the format and never reused."""

    RUN = 1
    """What is run: JSON. The first pack, once."""
    SESSION = 2
    """A process began, or went on with, the run: JSON."""
    TASKS = 3
    """Tasks were submitted."""
    EVENTS = 4
    """Rows of the event log, as they are."""
    RESULTS = 5
    """Tasks finished: their results, or where these lie. This is what makes a task finished for a later resume."""
    ERRORS = 6
    """Attempts failed: JSON."""
    SKIPS = 7
    """Tasks had others skipped: JSON."""
    END = 8
    """The process came to the end of the run: JSON."""


def chained(before: bytes, seq: int, session: int, kind: int, body: bytes) -> bytes:
    """Return the digest of a pack, 16 bytes.

    Args:
        before: the digest of the pack before it; `START` for the first.
        seq: its number, from 0, without gaps.
        session: which process wrote it, from 1.
        kind: a `PackKind`.
        body: its content.
    """
    digest = blake2b(before, digest_size=DIGEST_BYTES)
    digest.update(_HEAD.pack(seq, session, kind))
    digest.update(body)
    return digest.digest()


def packed(given: Mapping[str, bytes | bytearray | memoryview]) -> bytes:
    """Return columns as one body."""
    parts: list[bytes | bytearray | memoryview] = []
    for name, data in given.items():
        label = name.encode()
        parts += [_COLUMN.pack(len(label), len(data)), label, data]
    return b"".join(parts)


def columns(body: bytes, *needed: str) -> dict[str, memoryview]:
    """Return the columns of a body.

    Raises:
        Damaged: lengths do not add up, or one of `needed` is not there.
    """
    view, at, found = memoryview(body), 0, dict[str, memoryview]()
    while at < len(view):
        if at + _COLUMN.size > len(view):
            raise Damaged("a pack ends in the middle of a column")
        label, length = _COLUMN.unpack_from(view, at)
        at += _COLUMN.size
        if at + label + length > len(view):
            raise Damaged("a column is longer than its pack")
        found[bytes(view[at : at + label]).decode("ascii", "replace")] = view[at + label : at + label + length]
        at += label + length
    for name in needed:
        if name not in found:
            raise Damaged(f"a pack has no column {name!r}")
    return found


def write_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def read_json(body: bytes | memoryview) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Damaged: it is none.
    """
    try:
        value = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"a pack is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise Damaged("a pack is JSON, but no object")
    return cast("dict[str, Any]", value)

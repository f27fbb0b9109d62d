"""Results as bytes: small ones inside a pack, large ones as files that are there whole or not at all.

The buffers of arrays are not copied through a pickle (protocol 5, out of band); a file is written from the array's own
memory. Plain pickle comes first, because what it writes by reference is the pipeline file's own class when it is loaded
again; cloudpickle takes what has no name to refer to.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from hashlib import blake2b
from pathlib import Path
from typing import Any

from penstock.errors import message_of
from penstock.executors.pickling import dump
from penstock.journal.errors import Damaged
from penstock.journal.packs import DIGEST_BYTES

__all__ = [
    "EMPTY",
    "LARGE",
    "Codec",
    "Stored",
    "decode",
    "encode",
    "pieces_digest",
    "read_file",
    "unstored",
    "write_file",
]

LARGE = 64 * 1024
"""Bytes from which on a result is a file of its own."""

MAGIC = b"PENSTOCK RESULT\x01"
_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")
_ALIGN = 64  # a buffer in a file begins as aligned as numpy wants it
_PIECE = 1 << 20

Parts = list["bytes | memoryview"]


@unique
class Codec(IntEnum):
    """How a result is kept. The numbers are part of the format and never reused."""

    NONE = 0
    """It is None; no bytes."""
    PICKLE = 1
    PARTS = 2
    """A pickle and its buffers, as in a file but for the magic."""
    FILE = 3
    """In a file; the bytes are its name."""
    UNSTORED = 4
    """It could not be stored; the bytes say why, in UTF-8. The task runs again on resume."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A result as bytes.

    Attributes:
        codec: how.
        body: the bytes in the pack.
        digest: of the result's content; equal for equal bytes, wherever they are.
        parts: with codec FILE, what `write_file` has to write.
    """

    codec: Codec
    body: bytes
    digest: bytes
    parts: Parts | None = None


EMPTY = blake2b(b"", digest_size=DIGEST_BYTES).digest()
"""The digest of a result that has no bytes."""
_NONE = Stored(Codec.NONE, b"", EMPTY)


def encode(value: object, name: str, large: int = LARGE, refused: tuple[bytes, ...] = ()) -> Stored:
    """Return a result as bytes.

    Args:
        value: the result.
        name: of the file, if it becomes one.
        large: bytes from which on it does.
        refused: byte strings that must not be written, secrets; a result that holds one is not stored.
    """
    if value is None:
        return _NONE
    parts: Parts
    try:
        buffers: list[pickle.PickleBuffer] = []
        parts = [pickle.dumps(value, 5, buffer_callback=buffers.append), *[buffer.raw() for buffer in buffers]]
    except Exception:  # noqa: BLE001  a lambda, a class inside a function, or anything that a user's method raises
        try:
            parts = list(dump(value))
        except BaseException as error:  # noqa: BLE001  a user's method may even call sys.exit()
            return unstored(f"its result, a {type(value).__qualname__}, cannot be pickled: {message_of(error)}")
    for secret in refused:
        if any(secret in part for part in map(bytes, parts)):
            return unstored("its result holds a secret")
    size = sum(map(len, parts))
    if size >= large:
        return Stored(Codec.FILE, name.encode(), b"", parts)
    if len(parts) == 1:
        body = bytes(parts[0])
        return Stored(Codec.PICKLE, body, blake2b(body, digest_size=DIGEST_BYTES).digest())
    body = _head(parts) + b"".join(_padded(part) for part in parts)
    return Stored(Codec.PARTS, body, blake2b(body, digest_size=DIGEST_BYTES).digest())


def unstored(why: str) -> Stored:
    """Return what stands for a result that is not kept, and why."""
    body = why.encode("utf-8", "backslashreplace")
    return Stored(Codec.UNSTORED, body, bytes(DIGEST_BYTES))


def decode(codec: int, body: bytes | memoryview, digest: bytes, folder: Path) -> Any:
    """Return a result.

    Args:
        codec, body, digest: as they were stored.
        folder: where files of results lie.

    Raises:
        Damaged: the bytes are not those that were stored.
        Exception: whatever its classes raise when they are made again.
    """
    if codec == Codec.NONE:
        return None
    if codec == Codec.FILE:
        return read_file(folder / _file_name(body), digest)
    if codec not in (Codec.PICKLE, Codec.PARTS):
        raise Damaged(f"a result of kind {codec} is none")
    if blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
        raise Damaged("a result is not what was stored")
    if codec == Codec.PICKLE:
        return pickle.loads(body)
    return _loaded(memoryview(bytearray(body)))


def write_file(folder: Path, stored: Stored) -> bytes:
    """Write a large result whole: to another name first, which becomes its own only when all of it is on the disk.

    The caller makes the folder durable, once for all files of a commit, before the row that names them.

    Returns:
        The digest of the content: of the very bytes that were written, whatever changes the arrays meanwhile.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    assert stored.parts is not None
    path = folder / _file_name(stored.body)
    temporary = path.with_name(f".{path.name}.part")
    digest = blake2b(digest_size=DIGEST_BYTES)
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(number, "wb", buffering=0) as file:
            for piece in _pieces(stored.parts):
                digest.update(piece)
                _write(file.fileno(), piece)
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return digest.digest()


def pieces_digest(stored: Stored) -> bytes:
    """Return the digest that a result has, or would have, once it is written."""
    if stored.parts is None:
        return stored.digest
    digest = blake2b(digest_size=DIGEST_BYTES)
    for piece in _pieces(stored.parts):
        digest.update(piece)
    return digest.digest()


def read_file(path: Path, digest: bytes) -> Any:
    """Return the result in a file; arrays use the memory that it was read into, and can be written to.

    Raises:
        Damaged: it is not there, or not what was written.
    """
    try:
        content = bytearray(path.stat().st_size)
        with path.open("rb", buffering=0) as file:
            at, view = 0, memoryview(content)
            while at < len(content) and (got := file.readinto(view[at:])):
                at += got
    except OSError as error:
        raise Damaged(f"{path}: a result cannot be read ({error.strerror})") from None
    if at < len(content) or blake2b(content, digest_size=DIGEST_BYTES).digest() != digest:
        raise Damaged(f"{path}: a result is not what was stored")
    if not content.startswith(MAGIC):
        raise Damaged(f"{path}: this is no file of a result")
    return _loaded(memoryview(content), len(MAGIC))


def _file_name(body: bytes | memoryview) -> str:
    name = bytes(body).decode("ascii", "replace")
    if not name or "/" in name or "\0" in name or name.startswith("."):
        raise Damaged(f"a result names {name!r} as its file")
    return name


def _head(parts: Parts, before: int = 0) -> bytes:
    head = _COUNT.pack(len(parts)) + b"".join(_LENGTH.pack(len(part)) for part in parts)
    return head + bytes(-(before + len(head)) % _ALIGN)


def _padded(part: bytes | memoryview) -> bytes:
    return bytes(part) + bytes(-len(part) % _ALIGN)


def _pieces(parts: Parts) -> Any:
    """Yield a file's content. Each piece of a buffer is copied once, so that what is hashed is what is written."""
    yield MAGIC + _head(parts, len(MAGIC))
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(view), _PIECE):
            yield bytes(view[at : at + _PIECE])
        if len(view) % _ALIGN:
            yield bytes(-len(view) % _ALIGN)


def _write(number: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(number, view) :]


def _loaded(view: memoryview, at: int = 0) -> Any:
    start = at
    if len(view) < at + _COUNT.size:
        raise Damaged("a result is too short")
    (count,) = _COUNT.unpack_from(view, at)
    at += _COUNT.size
    if count < 1 or len(view) < at + count * _LENGTH.size:
        raise Damaged("a result is too short")
    lengths = [_LENGTH.unpack_from(view, at + k * _LENGTH.size)[0] for k in range(count)]
    at += count * _LENGTH.size
    at += -(at) % _ALIGN if start else -(at - start) % _ALIGN
    parts = []
    for length in lengths:
        if at + length > len(view):
            raise Damaged("a result is too short")
        parts.append(view[at : at + length])
        at += length + -length % _ALIGN
    return pickle.loads(parts[0], buffers=parts[1:])

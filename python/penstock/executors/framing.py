"""Frames on a stream socket: a few byte strings at a time, whole, in order, of any length.

A frame is `count` (u32), `count` lengths (u64 each), then the parts themselves, all in native byte order, since both
ends are on one machine. Parts are received into a bytearray each, so an array made on one of them is writable and was
copied once on either side.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Generator, Sequence

__all__ = ["Frame", "FrameReader", "FrameWriter", "Parts", "receive", "send"]

Frame = list[bytearray]
Parts = Sequence["bytes | bytearray | memoryview"]

_COUNT = struct.Struct("=I")
_VIEWS_AT_ONCE = 64  # well under the least IOV_MAX of any system


def _head(parts: Parts) -> bytes:
    return _COUNT.pack(len(parts)) + struct.pack(f"={len(parts)}Q", *[len(part) for part in parts])


def _frame() -> Generator[memoryview, None, Frame]:
    """Yield the places that the next bytes of the stream belong in, and return the frame."""
    count = bytearray(_COUNT.size)
    yield memoryview(count)
    lengths = bytearray(8 * _COUNT.unpack(count)[0])
    if lengths:
        yield memoryview(lengths)
    parts = [bytearray(length) for length in struct.unpack(f"={len(lengths) // 8}Q", lengths)]
    for part in parts:
        if part:
            yield memoryview(part)
    return parts


class FrameReader:
    """Collects frames from a socket that does not block."""

    def __init__(self) -> None:
        self._frame = _frame()
        self._rest = next(self._frame)
        self.ended = False
        """True when the other end has closed the stream."""

    def read(self, stream: socket.socket) -> list[Frame]:
        """Return the frames that are complete now, and keep the beginning of the next.

        Raises:
            MemoryError: there is no room for a part; the stream cannot be used any more.
        """
        frames: list[Frame] = []
        while not self.ended:
            try:
                received = stream.recv_into(self._rest)
            except BlockingIOError:
                break
            except ConnectionError:
                received = 0
            if received == 0:
                self.ended = True
            self._rest = self._rest[received:]
            if not self._rest and not self.ended:
                try:
                    self._rest = next(self._frame)
                except StopIteration as complete:
                    frames.append(complete.value)
                    self._frame = _frame()
                    self._rest = next(self._frame)
        return frames


class FrameWriter:
    """Keeps frames until a socket that does not block has taken them."""

    def __init__(self) -> None:
        self._views: deque[memoryview] = deque()

    def put(self, parts: Parts) -> None:
        """Add a frame. Its parts must not change until they are written."""
        self._views.append(memoryview(_head(parts)))
        self._views.extend(memoryview(part).cast("B") for part in parts if len(part))

    def write(self, stream: socket.socket) -> bool:
        """Write what the socket takes now; True when nothing is left.

        Raises:
            ConnectionError: the other end is closed.
        """
        while self._views:
            some = [self._views[place] for place in range(min(len(self._views), _VIEWS_AT_ONCE))]
            try:
                sent = stream.sendmsg(some)
            except BlockingIOError:
                return False
            while sent > 0:
                view = self._views.popleft()
                if sent < len(view):
                    self._views.appendleft(view[sent:])
                sent -= len(view)
        return True


def receive(stream: socket.socket) -> Frame | None:
    """Return the next frame of a socket that blocks; None when the other end has closed it."""
    frame = _frame()
    rest = next(frame)
    while True:
        received = stream.recv_into(rest)
        if received == 0:
            return None
        rest = rest[received:]
        if not rest:
            try:
                rest = next(frame)
            except StopIteration as complete:
                parts: Frame = complete.value
                return parts


def send(stream: socket.socket, parts: Parts) -> None:
    """Write a frame to a socket that blocks.

    Raises:
        ConnectionError: the other end is closed.
    """
    stream.sendall(_head(parts))
    for part in parts:
        if len(part):
            stream.sendall(part)

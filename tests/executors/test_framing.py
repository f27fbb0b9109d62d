"""Frames on real sockets, in pieces of every size."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.executors.framing import FrameReader, FrameWriter, receive, send

pytestmark = pytest.mark.timeout(30)

PARTS = st.lists(st.binary(max_size=300), max_size=70)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(PARTS, min_size=1, max_size=4), step=st.integers(1, 64))
def test_frames_arrive_whole_and_in_order_however_the_bytes_come(frames: list[list[bytes]], step: int) -> None:
    one, other = socket.socketpair()
    with one, other:
        for frame in frames:
            send(one, frame)
        one.shutdown(socket.SHUT_WR)
        stream = b"".join(iter(lambda: other.recv(65536), b""))
    one, other = socket.socketpair()
    with one, other:
        other.setblocking(False)
        reader = FrameReader()
        found = []
        for begin in range(0, len(stream), step):
            one.sendall(stream[begin : begin + step])
            found += reader.read(other)
        assert found == frames
        assert not reader.ended
        one.close()
        assert reader.read(other) == []
        assert reader.ended


def test_large_frame_is_written_as_the_socket_takes_it(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    one.setblocking(False)
    parts: list[bytes | bytearray | memoryview] = [
        b"head",
        bytes(range(256)) * 20_000,
        b"",
        bytearray(b"x" * 3_000_000),
    ]
    writer = FrameWriter()
    writer.put(parts)
    writer.put([b"second"])
    assert not writer.write(one)  # nobody has read yet, so it cannot have taken everything
    found: list[object] = []
    reading = threading.Thread(target=lambda: found.extend([receive(other), receive(other)]))
    reading.start()
    one.setblocking(True)
    assert writer.write(one)
    reading.join(20)
    assert found == [parts, [b"second"]]


def test_end_of_the_stream_is_none_and_a_closed_reader_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    one.close()
    assert receive(other) is None
    other.setblocking(False)
    writer = FrameWriter()
    writer.put([b"x"])
    with pytest.raises(ConnectionError):
        writer.write(other)


def test_end_in_the_middle_of_a_frame_gives_no_frame(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    one.sendall(b"\2\0\0\0\1")
    one.close()
    assert receive(other) is None

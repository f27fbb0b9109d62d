"""Ctrl-C while a run is waited for: a message to the one who waits, instead of an exception at any point of its work."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["IDLE", "INTERRUPT", "Mailbox", "heed_interrupts"]

_LONGEST_MS = 2**31 - 1  # 24 days; poll takes no more

INTERRUPT = "interrupt"
IDLE = "idle"


class Mailbox:
    """Words for one thread, which sleeps on a pipe until there is one.

    A pipe and no lock, because of signals: Python runs a handler only when its main thread next executes bytecode. A
    signal that arrives in the instant before that thread blocks in a lock is noticed when something else wakes it,
    perhaps never. The interpreter writes to a wake-up descriptor at once, and a pipe that has a byte in it does not
    let `poll` sleep, whenever the byte came.

    `put` may be called from any thread and from a signal handler, whatever the interrupted code is doing.
    """

    def __init__(self) -> None:
        self._words: deque[str] = deque()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)

    @property
    def wakeup_fd(self) -> int:
        """A non-blocking descriptor; any byte written there makes `get` look again."""
        return self._write

    def put(self, word: str) -> None:
        self._words.append(word)
        with suppress(BlockingIOError):  # the pipe is full of reasons to look, which is as good
            os.write(self._write, b"\0")

    def get(self, timeout: float | None = None) -> str | None:
        """Return the next word, in the order of `put`; None when there is none within `timeout` seconds."""
        while True:
            if self._words:
                return self._words.popleft()
            if not self._poll.poll(None if timeout is None else min(timeout * 1000, _LONGEST_MS)):
                return None
            # Emptied before the words are looked at, so that none is left behind without a byte.
            with suppress(BlockingIOError):
                os.read(self._read, 4096)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at the program's end, `os` may be gone by now
        # Only here: whoever can still call `put` holds a reference, so the descriptors cannot be somebody else's by then.
        close(self._read)
        close(self._write)


@contextmanager
def heed_interrupts(news: Mailbox) -> Iterator[None]:
    """Put INTERRUPT into `news` at each Ctrl-C, for as long as the block runs.

    Does nothing off the main thread, where Python delivers no signals, and leaves a handler alone that the program has
    set itself.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return

    def pressed(_number: int, _frame: FrameType | None) -> None:
        news.put(INTERRUPT)

    before = signal.set_wakeup_fd(news.wakeup_fd, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)  # an event loop's, which relies on it
    signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if before == -1:
            signal.set_wakeup_fd(-1)

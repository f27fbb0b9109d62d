"""What a run may leave behind in its process and on the machine, counted before and after."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator

import psutil

__all__ = ["long_form", "marked", "nothing_left", "until"]


def long_form() -> bool:
    """Whether PENSTOCK_LONG=1 asks for the long forms."""
    return os.environ.get("PENSTOCK_LONG", "0") not in ("", "0")


def until(what: Callable[[], object], *, within_s: float = 30.0) -> None:
    """Wait until something outside this process is so."""
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, f"{what} is not so after {within_s} s"
        time.sleep(0.02)


def marked(mark: str) -> list[int]:
    """Return the processes whose environment has `mark`, given as NAME=VALUE."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.append(int(name))
    return found


@contextlib.contextmanager
def nothing_left(mark: str) -> Iterator[None]:
    """Fail when the block leaves a process, a zombie, a thread, a descriptor or shared memory.

    Args:
        mark: an entry of the environment that everything it starts has, as NAME=VALUE.
    """
    gc.collect()
    before = _descriptors(), set(threading.enumerate()), set(os.listdir("/dev/shm"))
    yield
    gc.collect()
    children = psutil.Process().children(recursive=True)
    assert not children, f"processes are left: {children}"
    until(lambda: [pid for pid in marked(mark) if pid != os.getpid()] == [])
    descriptors, threads, shared = before
    assert set(threading.enumerate()) - threads == set()
    left = {fd: to for fd, to in _descriptors().items() if descriptors.get(fd) != to}
    assert not left, f"descriptors are left: {left}"
    assert set(os.listdir("/dev/shm")) - shared == set()


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that reads this very folder
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found

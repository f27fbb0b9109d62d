"""What a worker process knows of itself and does to itself: its use of CPU and memory, its memory cap, its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterator

from penstock.executors.rusage import cpu_s, io_bytes, peak_bytes

__all__ = ["Meter", "Outlets", "Pin", "die_with_parent", "memory_capped", "within_group"]

_PR_SET_PDEATHSIG = 1


class Meter:
    """Measures one attempt: made before it, read after it."""

    def __init__(self) -> None:
        self._resettable = _reset_peak()
        self._peak_before = peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
        self._io_before = io_bytes()
        self._cpu_before_s = cpu_s()

    def read_io(self) -> tuple[int | None, int | None]:
        """Return the bytes moved from and to devices since, and since the process began; None if unknown."""
        now = io_bytes()
        return (None if now is None or self._io_before is None else now - self._io_before), now

    def read(self) -> tuple[float, int | None]:
        """Return the seconds of CPU time since, and the peak resident memory in bytes since, None if unknown.

        Where the system's peak cannot be set back it is this attempt's only when it has grown.
        """
        used_s = cpu_s() - self._cpu_before_s
        if self._resettable:
            return used_s, _status("VmHWM")
        peak = peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
        return used_s, peak if peak > self._peak_before else None


class Pin:
    """The CPUs that this process runs on, all its threads; without effect where the system cannot say."""

    def __init__(self) -> None:
        self._all = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset[int]()
        self._now = self._all

    def to(self, cpus: frozenset[int] | None) -> None:
        """Run on these CPUs from now on; None for those that it began with."""
        wanted = self._all if cpus is None else cpus
        if wanted == self._now or not self._all:
            return
        self._now = wanted
        for thread in os.listdir("/proc/self/task"):  # those of numeric libraries too; later ones inherit it
            with contextlib.suppress(OSError):  # it has just ended, or the CPUs were taken away
                os.sched_setaffinity(int(thread), wanted)


def _reset_peak() -> bool:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return _status("VmHWM") is not None


def _status(field: str) -> int | None:
    """Return a line of /proc/self/status in bytes."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


@contextlib.contextmanager
def memory_capped(limit: int | None) -> Iterator[None]:
    """Let this process's resident memory grow to about `limit` bytes and no further; beyond it is MemoryError.

    On Linux the cap is on private writable memory (RLIMIT_DATA): what is only reserved, as by the stacks of threads and
    by numeric libraries, was counted when the attempt began and is not held against it. Elsewhere the whole address
    space is capped, where the system does that at all.
    """
    if limit is None:
        yield
        return
    which = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    data, resident = _status("VmData"), _status("RssAnon")
    reserved = 0 if data is None or resident is None else max(0, data - resident)
    soft, hard = resource.getrlimit(which)
    cap = reserved + limit
    if hard != resource.RLIM_INFINITY:
        cap = min(cap, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (cap, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (soft, hard))


@contextlib.contextmanager
def within_group(directory: str | None, home: str | None) -> Iterator[None]:
    """Be in another control group of memory meanwhile; None for none. What is started there stays there."""
    if directory is None or home is None:
        yield
        return
    with contextlib.suppress(OSError):  # it has just been removed; the other caps hold
        _join(directory)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            _join(home)


def _join(directory: str) -> None:
    with open(f"{directory}/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))


class Outlets:
    """Standard input, output and error as they were: a task that closes them must not take them from the next one."""

    def __init__(self) -> None:
        self._kept: dict[int, int] = {}
        for fd in range(3):
            with contextlib.suppress(OSError):  # it was started without
                kept = os.dup(fd)
                os.set_inheritable(kept, False)
                self._kept[fd] = kept
        self._streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}

    def restore(self) -> None:
        """Open again what has been closed since."""
        for fd, kept in self._kept.items():
            if not _is_open(fd) and _is_open(kept):
                os.dup2(kept, fd)
        for name, stream in self._streams.items():
            current = getattr(sys, name)
            if current is None or getattr(current, "closed", False):
                setattr(sys, name, stream)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent dies, where it can (Linux).

    Args:
        parent: its process id; when it is gone already, this process ends here.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

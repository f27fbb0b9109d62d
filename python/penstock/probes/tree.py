"""Our own process tree: what it uses, children and grandchildren included.

What the machine does less what our tree does is the outside load. Counters are summed over the tree: when a
child ends and is waited for, the kernel adds its CPU time and I/O to its parent's, so the sum loses nothing.
A process that leaves the tree (it daemonised) takes its counters with it; the sum then falls, and the rate
made from it is unknown for one window.

Source: proc_pid_stat(5), proc_pid_statm(5), proc_pid_io(5), proc_tid_children(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessTree", "TreeUse"]


@dataclass(frozen=True, slots=True)
class TreeUse:
    """What a process tree uses; None where that cannot be read.

    Attributes:
        cpu_ns: CPU time used so far by the tree, ended children included.
        memory: bytes that only its processes hold: resident, without file pages and shared segments.
        io_bytes: bytes read from and written to devices so far.
        pids: the processes of the tree, the root first.
    """

    cpu_ns: int | None
    memory: int | None
    io_bytes: int | None
    pids: tuple[int, ...]


class ProcessTree:
    """The tree of processes below and with `pid`.

    Args:
        pid: its root; our own process by default.
        root: the directory that stands for `/`.
    """

    def __init__(self, pid: int | None = None, root: Path = Path("/")) -> None:
        self.pid = os.getpid() if pid is None else pid
        self._proc = f"{root}/proc".replace("//", "/")
        self._linux = os.path.exists(f"{self._proc}/self/stat") or os.path.exists(f"{self._proc}/{self.pid}/stat")
        self.source = "/proc" if self._linux else "psutil"
        self._has_children_files = os.path.exists(f"{self._proc}/{self.pid}/task/{self.pid}/children")

    def measure(self) -> TreeUse:
        """Return what the tree uses now. A process that ends meanwhile is left out."""
        if not self._linux:
            return self._measure_psutil()
        ticks, pages, io_bytes, io_known, pids = 0, 0, 0, True, []
        for pid in self._pids():
            try:
                own_ticks = _ticks(f"{self._proc}/{pid}/stat")
                own_pages = _private_pages(f"{self._proc}/{pid}/statm")
            except (FileNotFoundError, ProcessLookupError):
                continue
            ticks, pages = ticks + own_ticks, pages + own_pages
            pids.append(pid)
            try:
                io_bytes += _io_bytes(f"{self._proc}/{pid}/io")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                io_known = False  # another user's process, or a kernel without I/O accounting
        if not pids:
            return TreeUse(None, None, None, ())
        return TreeUse(
            cpu_ns=ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK")),
            memory=pages * os.sysconf("SC_PAGE_SIZE"),
            io_bytes=io_bytes if io_known else None,
            pids=tuple(pids),
        )

    def _pids(self) -> Iterator[int]:
        if not self._has_children_files:
            yield from self._pids_by_parent()
            return
        pending = [self.pid]
        while pending:
            pid = pending.pop()
            yield pid
            try:
                for thread in os.listdir(f"{self._proc}/{pid}/task"):
                    with open(f"{self._proc}/{pid}/task/{thread}/children", encoding="ascii") as file:
                        pending += map(int, file.read().split())
            except (FileNotFoundError, ProcessLookupError):
                continue

    def _pids_by_parent(self) -> Iterator[int]:
        """Return the tree from a look at every process; for kernels that do not list children."""
        below: dict[int, list[int]] = {}
        for name in os.listdir(self._proc):
            if name.isdigit():
                try:
                    with open(f"{self._proc}/{name}/stat", encoding="utf-8", errors="replace") as file:
                        parent = int(file.read().rpartition(")")[2].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
                below.setdefault(parent, []).append(int(name))
        pending = [self.pid]
        while pending:
            pid = pending.pop()
            yield pid
            pending += below.get(pid, [])

    def _measure_psutil(self) -> TreeUse:
        import psutil

        cpu_s, memory, pids = 0.0, 0, []
        own = psutil.Process(self.pid)
        for process in (own, *own.children(recursive=True)):
            try:
                times = process.cpu_times()
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            cpu_s += times.user + times.system
            cpu_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            pids.append(process.pid)
        return TreeUse(int(cpu_s * 1e9), memory, None, tuple(pids))


def _ticks(path: str) -> int:
    """Return user and system time of a process and of its children that were waited for, in clock ticks."""
    with open(path, encoding="utf-8", errors="replace") as file:
        words = file.read().rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return sum(map(int, words[11:15]))


def _private_pages(path: str) -> int:
    with open(path, encoding="ascii") as file:
        words = file.read().split()
    return max(0, int(words[1]) - int(words[2]))


def _io_bytes(path: str) -> int:
    with open(path, encoding="ascii") as file:
        pairs = dict(line.split(":") for line in file.read().splitlines())
    return int(pairs["read_bytes"]) + int(pairs["write_bytes"])

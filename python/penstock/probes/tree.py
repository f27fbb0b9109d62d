"""Our own process tree: what it uses, children and grandchildren included.

What the machine does less what our tree does is the outside load. Counters are summed over the tree: when a
child ends and is waited for, the kernel adds its CPU time and I/O to its parent's, so the sum loses nothing.
A process that leaves the tree (it daemonised) takes its counters with it; the sum then falls, and the rate
made from it is unknown for one window.

Source: proc_pid_stat(5), proc_pid_statm(5), proc_pid_io(5), proc_tid_children(5).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from penstock.probes.files import numbers_of, read

__all__ = ["ProcessTree", "TreeUse"]


@dataclass(frozen=True, slots=True)
class TreeUse:
    """What a process tree uses; None where that cannot be read.

    Attributes:
        cpu_ns: CPU time used so far by the tree, ended children included.
        memory: bytes that only its processes hold: resident, without file pages and shared segments.
        io_bytes: bytes read from and written to devices so far.
        pids: the processes of the tree, the root first.
        parts: the same for trees within it, by their roots; see `ProcessTree.measure`. A root that is gone is not there.
    """

    cpu_ns: int | None
    memory: int | None
    io_bytes: int | None
    pids: tuple[int, ...]
    parts: Mapping[int, TreeUse] = field(default_factory=lambda: MappingProxyType({}))


class _Sum:
    """Adds up what processes use."""

    def __init__(self) -> None:
        self.ticks, self.pages, self.io_bytes, self.io_known = 0, 0, 0, True
        self.pids: list[int] = []

    def add(self, pid: int, ticks: int, pages: int, io_bytes: int | None) -> None:
        self.pids.append(pid)
        self.ticks += ticks
        self.pages += pages
        if io_bytes is None:
            self.io_known = False
        else:
            self.io_bytes += io_bytes

    def use(self, parts: Mapping[int, TreeUse] | None = None) -> TreeUse:
        if not self.pids:
            return TreeUse(None, None, None, ())
        return TreeUse(
            cpu_ns=self.ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK")),
            memory=self.pages * os.sysconf("SC_PAGE_SIZE"),
            io_bytes=self.io_bytes if self.io_known else None,
            pids=tuple(self.pids),
            parts=MappingProxyType(dict(parts or {})),
        )


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

    def measure(self, roots: Collection[int] = ()) -> TreeUse:
        """Return what the tree uses now. A process that ends meanwhile is left out.

        Args:
            roots: processes of the tree whose own trees are to be told apart, in `parts`. None of them is within another's.
        """
        if not self._linux:
            return self._measure_psutil(roots)
        whole, parts = _Sum(), {root: _Sum() for root in roots}
        for pid, root in self._pids(parts):
            try:
                ticks = _ticks(f"{self._proc}/{pid}/stat")
                pages = _private_pages(f"{self._proc}/{pid}/statm")
            except (FileNotFoundError, ProcessLookupError):
                continue
            io_bytes: int | None = None
            # Without it: another user's process, or a kernel without I/O accounting.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                io_bytes = _io_bytes(f"{self._proc}/{pid}/io")
            whole.add(pid, ticks, pages, io_bytes)
            if root is not None:
                parts[root].add(pid, ticks, pages, io_bytes)
        return whole.use({root: part.use() for root, part in parts.items() if part.pids})

    def _pids(self, roots: Collection[int]) -> Iterator[tuple[int, int | None]]:
        """Yield each process with the root, of `roots`, in whose tree it is."""
        below = None if self._has_children_files else self._by_parent()
        pending: list[tuple[int, int | None]] = [(self.pid, self.pid if self.pid in roots else None)]
        while pending:
            pid, root = pending.pop()
            yield pid, root
            children = self._children(pid) if below is None else below.get(pid, [])
            pending += [(child, child if child in roots else root) for child in children]

    def _children(self, pid: int) -> list[int]:
        found: list[int] = []
        try:
            for thread in os.listdir(f"{self._proc}/{pid}/task"):
                if children := read(f"{self._proc}/{pid}/task/{thread}/children"):
                    found += map(int, children.split())
        except (FileNotFoundError, ProcessLookupError):
            pass
        return found

    def _by_parent(self) -> dict[int, list[int]]:
        """Return the children of each process from a look at every process; for kernels that do not list children."""
        below: dict[int, list[int]] = {}
        for name in os.listdir(self._proc):
            if name.isdigit():
                try:
                    with open(f"{self._proc}/{name}/stat", encoding="utf-8", errors="replace") as file:
                        parent = int(file.read().rpartition(")")[2].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
                below.setdefault(parent, []).append(int(name))
        return below

    def _measure_psutil(self, roots: Collection[int]) -> TreeUse:
        parts: dict[int, TreeUse] = {}
        for root in roots:
            part = self._psutil_tree(root)
            if part.pids:
                parts[root] = part
        whole = self._psutil_tree(self.pid)
        return TreeUse(whole.cpu_ns, whole.memory, whole.io_bytes, whole.pids, MappingProxyType(parts))

    def _psutil_tree(self, root: int) -> TreeUse:
        import psutil

        cpu_s, memory, pids = 0.0, 0, []
        try:
            own = psutil.Process(root)
        except psutil.Error:
            return TreeUse(None, None, None, ())
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
    words = read(path).rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return int(words[11]) + int(words[12]) + int(words[13]) + int(words[14])


def _private_pages(path: str) -> int:
    words = read(path).split()
    return max(0, int(words[1]) - int(words[2]))


def _io_bytes(path: str) -> int:
    found = numbers_of(read(path), "read_bytes", "write_bytes")
    return found["read_bytes"] + found["write_bytes"]

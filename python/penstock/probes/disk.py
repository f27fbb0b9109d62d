"""Disks: bytes a second over all of them, and for each one its bytes a second, queue and latency.

A partition's traffic is also its disk's, and a mapped or RAID device's is also that of the disks below it, so
only whole devices with nothing below them are counted. How much a disk could do is not to be had from the
kernel: the capacity is unknown unless the user gives it. The share of time in which a disk was busy is not told at
all: a disk that works on many requests at once is busy for all of it long before it is full.

Source: Linux Documentation/admin-guide/iostats.rst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from penstock.probes.files import read
from penstock.probes.reading import Rate, Reading

__all__ = ["DiskProbe", "DiskUse"]

_SECTOR = 512
"""Bytes of a sector in /proc/diskstats, whatever the device's own sectors are."""

_NOT_DISKS = ("loop", "ram", "zram", "fd", "sr")


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What one disk does.

    Attributes:
        name: as in /sys/block.
        bytes: read and written, bytes per second.
        queue: requests in flight, in thousandths, averaged over the window.
        latency: microseconds from a request's start to its end, averaged over those that ended in the window; unknown
            when none did.
    """

    name: str
    bytes: Reading
    queue: Reading
    latency: Reading


class _Disk:
    """The counters of one disk, as they were when last read."""

    def __init__(self) -> None:
        self._bytes, self._queue = Rate(), Rate()
        self._ended: tuple[int, int] | None = None  # requests, and the ms that they took

    def use(self, name: str, words: list[str], now_ns: int, source: str) -> DiskUse:
        """Return what the disk did since the last call, from its line in /proc/diskstats."""
        read = self._bytes.reading(_moved(words), now_ns, source)
        # Weighted ms: one for each request in flight and ms. A second of it in a second is one request at a time.
        queue = self._queue.reading(int(words[13]), now_ns, source)
        before, self._ended = self._ended, (int(words[3]) + int(words[7]), int(words[6]) + int(words[10]))
        ended, took_ms = (0, 0) if before is None else (self._ended[0] - before[0], self._ended[1] - before[1])
        if not read.known or ended <= 0 or took_ms < 0:
            why = "no request ended in the window" if read.known else read.why
            return DiskUse(name, read, queue, Reading.unknown(why, source, now_ns))
        return DiskUse(name, read, queue, Reading.of(took_ms * 1000 // ended, source, now_ns))


def _moved(words: list[str]) -> int:
    return (int(words[5]) + int(words[9])) * _SECTOR


class DiskProbe:
    """Measures reading and writing of all disks together, and of each.

    Args:
        root: the directory that stands for `/`.
    """

    name = "disk"

    def __init__(self, root: Path = Path("/")) -> None:
        self._stats = f"{root}/proc/diskstats"
        self._block = root / "sys/block"
        self._rate = Rate()
        self._devices: frozenset[str] = frozenset()
        self._disks: dict[str, _Disk] = {}
        self._each: tuple[DiskUse, ...] = ()

    @property
    def each(self) -> tuple[DiskUse, ...]:
        """What each disk did, as of the last reading; empty where the system does not tell disks apart."""
        return self._each

    @property
    def devices(self) -> frozenset[str]:
        """Names of the disks that the last reading counted."""
        return self._devices

    def capacity(self) -> Reading:
        """Return unknown: only the user can say how much the disks can do."""
        return Reading.unknown("no system says how fast a disk is; give limits={'disk': '500MB/s'}", "none")

    def read(self, now_ns: int) -> Reading:
        """Return bytes per second read and written since the last call."""
        if not os.path.exists(self._stats):
            return self._read_psutil(now_ns)
        whole = frozenset(name for name in os.listdir(self._block) if self._counts(name))
        total, each, source = 0, [], "/proc/diskstats"
        for line in read(self._stats).splitlines():
            words = line.split()
            name = words[2]
            if name in whole:
                total += _moved(words)
                each.append(self._disks.setdefault(name, _Disk()).use(name, words, now_ns, source))
        self._disks = {use.name: self._disks[use.name] for use in each}  # one that goes and comes back is a new one
        self._each = tuple(each)
        return self._finish(whole, total, now_ns, source)

    def _counts(self, name: str) -> bool:
        if name.rstrip("0123456789") in _NOT_DISKS:
            return False
        try:
            return not os.listdir(f"{self._block}/{name}/slaves")
        except FileNotFoundError:
            return True

    def _read_psutil(self, now_ns: int) -> Reading:
        import psutil

        disks = psutil.disk_io_counters(perdisk=True)
        if not disks:
            return Reading.unknown("the system gives no disk counters", "psutil", now_ns)
        total = sum(disk.read_bytes + disk.write_bytes for disk in disks.values())
        return self._finish(frozenset(disks), total, now_ns, "psutil")

    def _finish(self, devices: frozenset[str], total: int, now_ns: int, source: str) -> Reading:
        if devices != self._devices:  # a disk came or went: its whole history would look like one burst
            self._devices, self._rate = devices, Rate()
        if not devices:
            return Reading.unknown("there is no disk to be seen", source, now_ns)
        return self._rate.reading(total, now_ns, source)

"""Disks: bytes a second, over whole devices.

A partition's traffic is also its disk's, and a mapped or RAID device's is also that of the disks below it, so
only whole devices with nothing below them are counted. How much a disk could do is not to be had from the
kernel: the capacity is unknown unless the user gives it.
"""

from __future__ import annotations

import os
from pathlib import Path

from penstock.probes.reading import Rate, Reading

__all__ = ["DiskProbe"]

_SECTOR = 512
"""Bytes of a sector in /proc/diskstats, whatever the device's own sectors are."""

_NOT_DISKS = ("loop", "ram", "zram", "fd", "sr")


class DiskProbe:
    """Measures reading and writing of all disks together.

    Args:
        root: the directory that stands for `/`.
    """

    name = "disk"

    def __init__(self, root: Path = Path("/")) -> None:
        self._stats = root / "proc/diskstats"
        self._block = root / "sys/block"
        self._rate = Rate()
        self._devices: frozenset[str] = frozenset()

    @property
    def devices(self) -> frozenset[str]:
        """Names of the disks that the last reading counted."""
        return self._devices

    def capacity(self) -> Reading:
        """Return unknown: only the user can say how much the disks can do."""
        return Reading.unknown("no system says how fast a disk is; give limits={'disk': '500MB/s'}", "none")

    def read(self, now_ns: int) -> Reading:
        """Return bytes per second read and written since the last call."""
        if not self._stats.exists():
            return self._read_psutil(now_ns)
        whole = frozenset(name for name in os.listdir(self._block) if self._counts(name))
        total = 0
        for line in self._stats.read_text().splitlines():
            words = line.split()
            if words[2] in whole:
                total += (int(words[5]) + int(words[9])) * _SECTOR
        return self._finish(whole, total, now_ns, "/proc/diskstats")

    def _counts(self, name: str) -> bool:
        if name.rstrip("0123456789") in _NOT_DISKS:
            return False
        slaves = self._block / name / "slaves"
        return not (slaves.is_dir() and os.listdir(slaves))

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

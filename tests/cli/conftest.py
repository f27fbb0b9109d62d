"""The command line as a user has it: a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.conftest import Record, RecordedGpu, RecordedNvml

from penstock.probes.machine import Machine
from penstock.probes.plugins import GROUP
from penstock.probes.reading import Reading

PATIENCE_S = 60

Penstock = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the process runs and pipeline files are written."""
    return tmp_path


@pytest.fixture
def penstock(folder: Path) -> Penstock:
    """Runs `penstock` with the given arguments and returns the ended process."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "penstock", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run


DEVICES = {
    "proc/stat": "cpu  1 0 1 7 0 0 0 0 0 0\ncpu0 1 0 1 7 0 0 0 0 0 0\n",
    "proc/self/cgroup": "0::/a.slice\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/a.slice/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/a.slice/cpu.stat": "usage_usec 5\nnr_throttled 3\n",
    "sys/block/sda/size": "1000\n",
    "sys/block/sdb/size": "1000\n",
    "proc/diskstats": "".join(
        f"   8  0 {disk} 100 5 1000 3185 200 7 1000 772 0 1986 3966\n" for disk in ("sda", "sdb")
    ),
    "sys/class/net/eth0/device/vendor": "0x8086\n",
    "sys/class/net/eth0/speed": "1000\n",
    "sys/class/net/eth1/device/vendor": "0x8086\n",
    "sys/class/net/eth1/speed": "-1\n",
    "proc/net/dev": "head\nhead\n  eth0: 0 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0\n  eth1: 0 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n",
    "proc/4242/comm": "trainer\n",
}
GIB = 1024**3


class Licences:
    """Someone's plug-in: three licences are in use."""

    name = "licence"

    def read(self, now_ns: int) -> Reading:
        return Reading.of(3000, "the licence server", now_ns)


@pytest.fixture
def devices(record: Record, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A recorded machine: a quota, two disks and two links at rest, two GPUs; a plug-in that works and one that does not."""
    root = record(DEVICES)
    (root / "proc/self/ns").mkdir()
    os.symlink("pid:[4026531836]", root / "proc/self/ns/pid")
    busy = RecordedGpu("GPU-a", total=80 * GIB, used=40 * GIB, gpu=37, processes=[(4242, 30 * GIB), (4243, None)])
    monkeypatch.setitem(sys.modules, "pynvml", RecordedNvml(busy, RecordedGpu("GPU-b", processes=None)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("penstock.cli.checkup.WINDOW_S", 0.01)  # nothing recorded moves meanwhile
    monkeypatch.setattr(EntryPoint, "load", lambda point: Licences if point.name == "licence" else int("broken"))
    points = [
        EntryPoint(name, value, GROUP)
        for name, value in (("licence", "somewhere:Licences"), ("broken", "somewhere:nothing"))
    ]
    monkeypatch.setattr("penstock.probes.plugins._installed", lambda path: points)
    return Machine.detect(root)

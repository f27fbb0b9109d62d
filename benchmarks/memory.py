"""Memory of this process as the kernel counts it. Linux only; elsewhere the measure is left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.measures import Absent

__all__ = ["peak_from_now", "resident_bytes"]

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    return _kib("VmRSS") * 1024


def peak_from_now() -> Callable[[], int]:
    """Return a function that says the most that was resident since this call, in bytes.

    Raises:
        Absent: the kernel does not let a process reset its peak.
    """
    try:
        CLEAR.write_text("5")  # 5: set the peak to what is resident now
    except OSError as error:
        raise Absent(f"memory is not measured: this kernel does not let a process reset its peak ({error})") from error
    start = _kib("VmHWM")
    if start > _kib("VmRSS") * 1.05 + 1024:
        raise Absent("memory is not measured: this kernel ignored the reset of the process's peak")
    return lambda: _kib("VmHWM") * 1024


def _kib(field: str) -> int:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError as error:
        raise Absent(f"memory is not measured: there is no {STATUS}") from error
    if found is None:
        raise Absent(f"memory is not measured: {STATUS} has no {field}")
    return int(found.group(1))

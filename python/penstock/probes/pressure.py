"""Pressure: the share of time in which some task stood still for want of CPU, memory or I/O.

Linux counts the stalled time (PSI). The files of our own control group come first; /proc/pressure is the
whole host's, which in a container says little about us. The kernel's averages lag, so the counter `total`
is read over windows of our own. The files may be absent, hidden, or refuse to be read (EOPNOTSUPP when PSI
is compiled in and switched off): then the signal is unknown and is not tried again.

Source: Linux Documentation/accounting/psi.rst.
"""

from __future__ import annotations

from pathlib import Path

from penstock.probes.cgroup import Groups
from penstock.probes.files import read
from penstock.probes.reading import Rate, Reading

__all__ = ["KINDS", "PressureProbe"]

KINDS = ("cpu", "memory", "io")


class PressureProbe:
    """Measures one kind of pressure.

    Args:
        kind: 'cpu', 'memory' or 'io'.
        root: the directory that stands for `/`.
        groups: our control groups.
    """

    def __init__(self, kind: str, root: Path = Path("/"), groups: Groups | None = None) -> None:
        self.name = f"pressure.{kind}"
        self._rate = Rate()
        self._why = "this kernel or container has no pressure files"
        self._path: str | None = None
        self._source = "none"
        own = (groups or Groups()).unified[:1]
        places = [(f"{group.directory}/{kind}.pressure", f"cgroup {group.path}") for group in own]
        for path, source in [*places, (f"{root}/proc/pressure/{kind}", "/proc/pressure (the whole host)")]:
            try:
                _stalled_us(path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self._why = f"{source} refuses to be read: {getattr(error, 'strerror', None) or error}"
                continue
            self._path, self._source = path, source
            break

    def read(self, now_ns: int) -> Reading:
        """Return thousandths of the time since the last call in which some task stalled."""
        if self._path is None:
            return Reading.unknown(self._why, self._source, now_ns)
        rate = self._rate.step(_stalled_us(self._path), now_ns)
        if rate is None:
            return Reading.unknown("a rate needs a second sample", self._source, now_ns)
        return Reading.of(min(1000, rate // 1000), self._source, now_ns)


def _stalled_us(path: str) -> int:
    """Return the total of the `some` line in microseconds."""
    for line in read(path).splitlines():
        if line.startswith("some "):
            return int(line.rpartition("total=")[2])
    raise ValueError("it has no line 'some'")

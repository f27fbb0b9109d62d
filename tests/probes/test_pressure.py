"""Pressure, on recorded files and on the machine that runs the tests."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from penstock.probes.cgroup import find_groups
from penstock.probes.pressure import KINDS, PressureProbe

Record = Callable[[Mapping[str, str]], Path]

S = 1_000_000_000


def psi(total_us: int, *, full: bool = True) -> str:
    some = f"some avg10=0.05 avg60=0.08 avg300=0.16 total={total_us}\n"
    return some + ("full avg10=99.00 avg60=99.00 avg300=99.00 total=999999999\n" if full else "")


def own_group(kind: str, total_us: int) -> dict[str, str]:
    return {
        "proc/self/cgroup": "0::/a.slice\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        f"sys/fs/cgroup/a.slice/{kind}.pressure": psi(total_us),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_stalled_time_over_our_own_window_is_the_pressure(record: Record, kind: str) -> None:
    root = record({f"proc/pressure/{kind}": psi(1_000_000)})
    probe = PressureProbe(kind, root)
    assert probe.read(S).value is None
    record({f"proc/pressure/{kind}": psi(1_500_000)})
    reading = probe.read(3 * S)
    assert reading.value == 250  # half a second of two
    assert reading.source == "/proc/pressure (the whole host)"


def test_our_own_group_comes_before_the_host(record: Record) -> None:
    root = record({"proc/pressure/cpu": psi(0), **own_group("cpu", 0)})
    probe = PressureProbe("cpu", root, find_groups(root))
    probe.read(S)
    record({"proc/pressure/cpu": psi(900_000), **own_group("cpu", 100_000)})
    reading = probe.read(2 * S)
    assert reading.value == 100
    assert reading.source == "cgroup /a.slice"


def test_old_kernels_without_a_line_for_full_are_read(record: Record) -> None:
    root = record({"proc/pressure/cpu": psi(0, full=False)})
    probe = PressureProbe("cpu", root)
    probe.read(S)
    record({"proc/pressure/cpu": psi(10_000, full=False)})
    assert probe.read(2 * S).value == 10


def test_a_stall_counted_a_little_late_is_never_more_than_all_the_time(record: Record) -> None:
    root = record({"proc/pressure/io": psi(0)})
    probe = PressureProbe("io", root)
    probe.read(S)
    record({"proc/pressure/io": psi(1_100_000)})
    assert probe.read(2 * S).value == 1000


def test_a_machine_without_pressure_files_is_unknown(tmp_path: Path) -> None:
    reading = PressureProbe("cpu", tmp_path).read(S)
    assert reading.value is None
    assert reading.why == "this kernel or container has no pressure files"


def test_pressure_that_is_switched_off_refuses_once_and_is_not_tried_again(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = record({"proc/pressure/cpu": psi(0)})
    reads: list[str] = []

    def refuse(path: str) -> str:
        reads.append(path)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported", path)

    monkeypatch.setattr("penstock.probes.pressure.read", refuse)
    probe = PressureProbe("cpu", root)
    assert "refuses to be read: Operation not supported" in probe.read(S).why
    assert probe.read(2 * S).value is None
    assert len(reads) == 1


def test_a_file_of_another_shape_is_unknown(record: Record) -> None:
    probe = PressureProbe("cpu", record({"proc/pressure/cpu": "nothing here\n"}))
    assert "it has no line 'some'" in probe.read(S).why


@pytest.mark.parametrize("kind", KINDS)
def test_on_this_machine_it_is_a_share_of_the_time_or_unknown_with_a_reason(kind: str) -> None:
    probe = PressureProbe(kind, groups=find_groups())
    first = probe.read(S)
    assert first.value is None
    second = probe.read(2 * S)
    assert second.why if second.value is None else 0 <= second.value <= 1000

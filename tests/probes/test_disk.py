"""Disk traffic, on recorded counters and on the machine that runs the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.probes.disk import DiskProbe

Record = Callable[[Mapping[str, str]], Path]

S = 1_000_000_000


def diskstats(**sectors: tuple[int, int]) -> dict[str, str]:
    """/proc/diskstats with so many sectors (read, written) by device."""
    line = "   8       0 {name} 100 5 {read} 31852 200 7 {written} 7728 0 19860 39661 228 0 22248 73 127 7\n"
    text = "".join(line.format(name=name, read=read, written=written) for name, (read, written) in sectors.items())
    return {"proc/diskstats": text}


def machine(record: Record, *disks: str) -> Path:
    return record({f"sys/block/{name}/size": "1000\n" for name in disks})


def test_bytes_read_and_written_over_the_window_are_summed_over_disks(record: Record) -> None:
    root = machine(record, "sda", "nvme0n1")
    record(diskstats(sda=(1000, 0), nvme0n1=(0, 1000)))
    probe = DiskProbe(root)
    assert probe.read(S).value is None
    record(diskstats(sda=(3000, 0), nvme0n1=(0, 5000)))
    reading = probe.read(3 * S)
    assert reading.value == (2000 + 4000) * 512 // 2
    assert probe.devices == {"sda", "nvme0n1"}


def test_partitions_mapped_devices_and_memory_are_not_counted_again(record: Record) -> None:
    root = machine(record, "nvme0n1", "dm-0", "md127", "loop0", "zram0", "ram1", "sr0")
    for mapped in ("dm-0", "md127"):
        (root / f"sys/block/{mapped}/slaves/nvme0n1").mkdir(parents=True)
    devices = ("nvme0n1", "nvme0n1p1", "nvme0n1p2", "dm-0", "md127", "loop0", "zram0", "ram1", "sr0")
    record(diskstats(**dict.fromkeys(devices, (0, 0))))
    probe = DiskProbe(root)
    probe.read(S)
    record(diskstats(**dict.fromkeys(devices, (2, 2))))
    assert probe.read(2 * S).value == 4 * 512
    assert probe.devices == {"nvme0n1"}


def test_a_device_with_an_empty_list_of_slaves_is_a_disk(record: Record) -> None:
    root = machine(record, "vda")
    (root / "sys/block/vda/slaves").mkdir()
    record(diskstats(vda=(0, 0)))
    probe = DiskProbe(root)
    probe.read(S)
    assert probe.devices == {"vda"}


def test_a_disk_that_appears_is_no_burst(record: Record) -> None:
    root = machine(record, "sda")
    record(diskstats(sda=(0, 0)))
    probe = DiskProbe(root)
    probe.read(S)
    machine(record, "sdb")
    record(diskstats(sda=(1, 0), sdb=(10**9, 0)))
    assert probe.read(2 * S).value is None
    record(diskstats(sda=(1, 0), sdb=(10**9 + 2, 0)))
    assert probe.read(3 * S).value == 1024


def test_a_machine_without_disks_is_unknown(record: Record) -> None:
    root = machine(record, "loop0")
    record(diskstats(loop0=(0, 0)))
    probe = DiskProbe(root)
    assert probe.read(S).why == "there is no disk to be seen"
    assert probe.read(2 * S).value is None


def test_how_much_a_disk_can_do_is_unknown_and_says_what_to_do() -> None:
    capacity = DiskProbe().capacity()
    assert capacity.value is None
    assert "limits=" in capacity.why


def test_where_there_is_no_proc_psutil_counts_or_it_is_unknown(tmp_path: Path) -> None:
    probe = DiskProbe(tmp_path)
    probe.read(S)
    reading = probe.read(2 * S)
    assert reading.source == "psutil"
    assert (reading.value is not None) == bool(probe.devices)


def iostats(name: str, *, ended: int, took_ms: int, weighted_ms: int) -> dict[str, str]:
    """/proc/diskstats of one disk with so many requests ended, half of them writes."""
    half, half_ms = ended // 2, took_ms // 2
    rest = f"{ended - half} 0 0 {took_ms - half_ms} {half} 0 0 {half_ms} 3 999 {weighted_ms}"
    return {"proc/diskstats": f"   8       0 {name} {rest}\n"}


def test_each_disk_tells_its_bytes_its_queue_and_its_latency(record: Record) -> None:
    root = machine(record, "sda")
    record(iostats("sda", ended=100, took_ms=1000, weighted_ms=5000))
    probe = DiskProbe(root)
    probe.read(S)
    (first,) = probe.each
    assert (first.name, first.bytes.value, first.queue.value, first.latency.value) == ("sda", None, None, None)
    record(iostats("sda", ended=110, took_ms=1045, weighted_ms=8000))
    probe.read(3 * S)
    (use,) = probe.each
    assert use.queue.value == 1500  # 3 s of waiting in 2 s
    assert use.latency.value == 4500
    assert use.bytes.value == 0
    probe.read(4 * S)
    (idle,) = probe.each
    assert idle.queue.value == 0
    assert idle.latency.value is None
    assert idle.latency.why == "no request ended in the window"


def test_disks_are_told_apart_and_one_that_goes_is_not_there_any_more(record: Record) -> None:
    root = machine(record, "sda", "sdb")
    record(diskstats(sda=(0, 0), sdb=(0, 0)))
    probe = DiskProbe(root)
    probe.read(S)
    record(diskstats(sda=(2, 0), sdb=(0, 8)))
    probe.read(2 * S)
    assert [(use.name, use.bytes.value) for use in probe.each] == [("sda", 1024), ("sdb", 4096)]
    record(diskstats(sda=(2, 0)))
    probe.read(3 * S)
    assert [use.name for use in probe.each] == ["sda"]
    record(diskstats(sda=(2, 0), sdb=(0, 9)))
    probe.read(4 * S)
    assert [(use.name, use.bytes.value) for use in probe.each] == [("sda", 0), ("sdb", None)]

"""Network traffic and link speeds, on recorded files and on the machine that runs the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from penstock.probes.network import NetworkProbe

Record = Callable[[Mapping[str, str]], Path]

S = 1_000_000_000
HEADER = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
"""


def dev(**links: tuple[int, int]) -> dict[str, str]:
    """/proc/net/dev with so many bytes (received, sent) by link."""
    rows = "".join(f"{name:>6}: {got} 9 0 0 0 0 0 0 {sent} 9 0 0 0 0 0 0\n" for name, (got, sent) in links.items())
    return {"proc/net/dev": HEADER + rows}


def link(name: str, speed: str | None = None, *, state: str = "up", physical: bool = True) -> dict[str, str]:
    files = {f"sys/class/net/{name}/operstate": f"{state}\n"}
    if speed is not None:
        files[f"sys/class/net/{name}/speed"] = f"{speed}\n"
    if physical:
        files[f"sys/class/net/{name}/device/vendor"] = "0x8086\n"
    return files


def test_the_busier_direction_of_each_link_counts_and_loopback_does_not(record: Record) -> None:
    root = record(link("eth0") | link("eth1") | dev(lo=(0, 0), eth0=(0, 0), eth1=(0, 0)))
    probe = NetworkProbe(root)
    assert probe.read(S).value is None
    record(dev(lo=(10**9, 10**9), eth0=(2000, 500), eth1=(10, 4000)))
    assert probe.read(3 * S).value == (2000 + 4000) // 2
    assert probe.links == ("eth0", "eth1")


def test_bridges_bonds_and_virtual_pairs_do_not_count_beside_physical_links(record: Record) -> None:
    names = ("docker0", "veth1a2b", "bond0", "wg0")
    files = link("eth0") | dev(eth0=(0, 0), **dict.fromkeys(names, (0, 0)))
    for name in names:
        files |= link(name, physical=False)
    probe = NetworkProbe(record(files))
    probe.read(S)
    record(dev(eth0=(7, 0), **dict.fromkeys(names, (1000, 1000))))
    assert probe.read(2 * S).value == 7


def test_in_a_container_the_virtual_link_counts_but_not_members_of_another(record: Record) -> None:
    files = link("eth0", physical=False) | link("port0", physical=False) | dev(lo=(0, 0), eth0=(0, 0), port0=(0, 0))
    files["sys/class/net/port0/master/name"] = "br0\n"
    probe = NetworkProbe(record(files))
    probe.read(S)
    assert probe.links == ("eth0",)


def test_a_link_that_appears_is_no_burst(record: Record) -> None:
    root = record(link("eth0") | dev(eth0=(0, 0)))
    probe = NetworkProbe(root)
    probe.read(S)
    record(link("eth1") | dev(eth0=(5, 0), eth1=(10**12, 0)))
    assert probe.read(2 * S).value == 5


def test_without_a_link_traffic_and_speed_are_unknown(record: Record) -> None:
    probe = NetworkProbe(record(link("lo", physical=False) | dev(lo=(0, 0))))
    assert probe.read(S).why == "no link leaves the machine"
    assert probe.capacity().why == "no link leaves the machine"


def test_speeds_of_the_links_that_are_up_add_up_in_bytes(record: Record) -> None:
    probe = NetworkProbe(record(link("eth0", "1000") | link("eth1", "100000") | link("eth2", "-1", state="down")))
    assert probe.capacity().value == 101_000 * 125_000


@pytest.mark.parametrize("speed", ["-1", "0", "65535", "4294967295", "", None])
def test_a_drivers_word_for_unknown_is_unknown(record: Record, speed: str | None) -> None:
    capacity = NetworkProbe(record(link("eth0", speed))).capacity()
    assert capacity.value is None
    assert capacity.why == "the driver of eth0 does not give its speed"


def test_the_speed_of_a_virtual_link_is_not_that_of_the_link_behind_it(record: Record) -> None:
    capacity = NetworkProbe(record(link("eth0", "10000", physical=False))).capacity()
    assert capacity.value is None
    assert "eth0 is virtual" in capacity.why


def test_where_there_is_no_proc_psutil_counts(tmp_path: Path) -> None:
    probe = NetworkProbe(tmp_path)
    probe.read(S)
    reading = probe.read(2 * S)
    assert reading.source == "psutil"
    assert (reading.value is not None) == bool(probe.links)
    assert probe.capacity().value is None


def test_each_link_tells_both_directions_against_its_speed(record: Record) -> None:
    root = record(link("eth0", "1000") | link("eth1", "-1") | dev(lo=(0, 0), eth0=(0, 0), eth1=(0, 0)))
    probe = NetworkProbe(root)
    probe.read(S)
    record(dev(lo=(9, 9), eth0=(2000, 500), eth1=(10, 4000)))
    probe.read(2 * S)
    first, second = probe.each
    assert (first.name, first.received.value, first.sent.value, first.speed.value) == ("eth0", 2000, 500, 125_000_000)
    assert (second.name, second.received.value, second.sent.value) == ("eth1", 10, 4000)
    assert second.speed.value is None
    assert second.speed.why == "the driver of eth1 does not give its speed"
    record({"sys/class/net/eth2/speed": "10000\n", "sys/class/net/eth2/device/vendor": "0x8086\n"})
    record(dev(eth0=(2000, 500), eth1=(10, 4000), eth2=(10**9, 0)))
    probe.read(3 * S)
    assert probe.each[2].received.value is None  # it appears, and is no burst
    assert probe.each[2].speed.value == 1_250_000_000

"""Network: bytes a second over the links that leave the machine, in the busier direction of each, and each by itself.

Loopback does not leave it. Where there are physical interfaces only those count, since bridges, bonds and
virtual pairs carry the same bytes again; in a container, which has none, all others count. A link's speed
of 0, -1, 65535 or 4294967295 is the driver's word for unknown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from penstock.probes.files import read
from penstock.probes.reading import Rate, Reading

__all__ = ["LinkUse", "NetworkProbe"]

_UNKNOWN_SPEEDS = (0, -1, 65535, 4294967295)
_BYTES_PER_MBIT = 125_000


@dataclass(frozen=True, slots=True)
class LinkUse:
    """What one link does.

    Attributes:
        name: the interface.
        received, sent: bytes per second.
        speed: what the link can do one way, bytes per second; unknown where the driver or the system does not say.
    """

    name: str
    received: Reading
    sent: Reading
    speed: Reading


class NetworkProbe:
    """Measures all links together, and each.

    Args:
        root: the directory that stands for `/`.
    """

    name = "network"

    def __init__(self, root: Path = Path("/")) -> None:
        self._dev = f"{root}/proc/net/dev"
        self._class = root / "sys/class/net"
        self._rates: dict[str, tuple[Rate, Rate]] = {}
        self._speeds: dict[str, Reading] = {}
        self._each: tuple[LinkUse, ...] = ()

    @property
    def each(self) -> tuple[LinkUse, ...]:
        """What each link that counts did, as of the last reading."""
        return self._each

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links that the last reading counted."""
        return tuple(self._rates)

    def capacity(self) -> Reading:
        """Return the speed of the physical links that are up, in bytes per second one way."""
        if not self._class.is_dir():
            return Reading.unknown("the speed of the links cannot be read here", "psutil")
        source, total = "/sys/class/net", 0
        up = [link for link in self._chosen(self._all_links()) if self._text(link, "operstate") != "down"]
        if not up:
            return Reading.unknown("no link leaves the machine", source)
        for link in up:
            speed = self.speed(link)
            if speed.value is None:
                return speed
            total += speed.value
        return Reading.of(total, source)

    def speed(self, link: str) -> Reading:
        """Return how much a link can do one way, in bytes per second."""
        source = "/sys/class/net"
        if not self._class.is_dir():
            return Reading.unknown("the speed of the links cannot be read here", "psutil")
        if not (self._class / link / "device").exists():
            return Reading.unknown(f"{link} is virtual and says nothing about the link behind it", source)
        try:
            speed = int(self._text(link, "speed"))
        except ValueError:
            speed = -1
        if speed < 0 or speed in _UNKNOWN_SPEEDS:
            return Reading.unknown(f"the driver of {link} does not give its speed", source)
        return Reading.of(speed * _BYTES_PER_MBIT, source)

    def read(self, now_ns: int) -> Reading:
        """Return bytes per second since the last call, in the busier direction of each link, summed."""
        if os.path.exists(self._dev):
            source, counters = "/proc/net/dev", self._from_proc()
        else:
            source, counters = "psutil", self._from_psutil()
        chosen = self._chosen(list(counters))
        if chosen != list(self._rates):  # speeds are asked for when links come and go: a driver may take its time
            self._speeds = {link: self.speed(link) for link in chosen}
        self._rates = {link: self._rates.get(link) or (Rate(), Rate()) for link in chosen}
        each: list[LinkUse] = []
        self._each = ()
        if not chosen:
            return Reading.unknown("no link leaves the machine", source, now_ns)
        total, known = 0, False
        for link in chosen:
            ways = zip(self._rates[link], counters[link], strict=True)
            received, sent = (rate.reading(counter, now_ns, source) for rate, counter in ways)
            each.append(LinkUse(link, received, sent, self._speeds[link]))
            rates = [reading.value for reading in (received, sent) if reading.value is not None]
            if rates:
                total, known = total + max(rates), True
        self._each = tuple(each)
        if not known:
            return Reading.unknown("a rate needs a second sample", source, now_ns)
        return Reading.of(total, source, now_ns)

    def _all_links(self) -> list[str]:
        return sorted(path.name for path in self._class.iterdir() if path.is_dir())

    def _chosen(self, links: list[str]) -> list[str]:
        """Return the links that count; see the top of this file."""
        links = [link for link in links if link != "lo" and not link.startswith("lo0")]
        physical = [link for link in links if os.path.exists(f"{self._class}/{link}/device")]
        if physical:
            return physical
        return [link for link in links if not os.path.exists(f"{self._class}/{link}/master")]

    def _text(self, link: str, name: str) -> str:
        try:
            return (self._class / link / name).read_text().strip()
        except OSError:  # reading the speed of a link that is down is EINVAL
            return ""

    def _from_proc(self) -> dict[str, tuple[int, int]]:
        counters: dict[str, tuple[int, int]] = {}
        for line in read(self._dev).splitlines()[2:]:
            link, _, rest = line.partition(":")
            words = rest.split()
            counters[link.strip()] = (int(words[0]), int(words[8]))
        return counters

    def _from_psutil(self) -> dict[str, tuple[int, int]]:
        import psutil

        links = psutil.net_io_counters(pernic=True)
        return {link: (count.bytes_recv, count.bytes_sent) for link, count in links.items()}

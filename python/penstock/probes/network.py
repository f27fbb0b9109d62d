"""Network: bytes a second over the links that leave the machine, in the busier direction of each.

Loopback does not leave it. Where there are physical interfaces only those count, since bridges, bonds and
virtual pairs carry the same bytes again; in a container, which has none, all others count. A link's speed
of 0, -1, 65535 or 4294967295 is the driver's word for unknown.
"""

from __future__ import annotations

from pathlib import Path

from penstock.probes.reading import Rate, Reading

__all__ = ["NetworkProbe"]

_UNKNOWN_SPEEDS = (0, -1, 65535, 4294967295)
_BYTES_PER_MBIT = 125_000


class NetworkProbe:
    """Measures all links together.

    Args:
        root: the directory that stands for `/`.
    """

    name = "network"

    def __init__(self, root: Path = Path("/")) -> None:
        self._dev = root / "proc/net/dev"
        self._class = root / "sys/class/net"
        self._rates: dict[str, tuple[Rate, Rate]] = {}

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
            if not (self._class / link / "device").exists():
                return Reading.unknown(f"{link} is virtual and says nothing about the link behind it", source)
            try:
                speed = int(self._text(link, "speed"))
            except ValueError:
                speed = -1
            if speed < 0 or speed in _UNKNOWN_SPEEDS:
                return Reading.unknown(f"the driver of {link} does not give its speed", source)
            total += speed * _BYTES_PER_MBIT
        return Reading.of(total, source)

    def read(self, now_ns: int) -> Reading:
        """Return bytes per second since the last call, in the busier direction of each link, summed."""
        if self._dev.exists():
            source, counters = "/proc/net/dev", self._from_proc()
        else:
            source, counters = "psutil", self._from_psutil()
        chosen = self._chosen(list(counters))
        self._rates = {link: self._rates.get(link) or (Rate(), Rate()) for link in chosen}
        if not chosen:
            return Reading.unknown("no link leaves the machine", source, now_ns)
        total, known = 0, False
        for link in chosen:
            ways = zip(self._rates[link], counters[link], strict=True)
            rates = [rate.step(counter, now_ns) for rate, counter in ways]
            if (busier := max((rate for rate in rates if rate is not None), default=None)) is not None:
                total, known = total + busier, True
        if not known:
            return Reading.unknown("a rate needs a second sample", source, now_ns)
        return Reading.of(total, source, now_ns)

    def _all_links(self) -> list[str]:
        return sorted(path.name for path in self._class.iterdir() if path.is_dir())

    def _chosen(self, links: list[str]) -> list[str]:
        """Return the links that count; see the top of this file."""
        links = [link for link in links if link != "lo" and not link.startswith("lo0")]
        physical = [link for link in links if (self._class / link / "device").exists()]
        if physical:
            return physical
        return [link for link in links if not (self._class / link / "master").exists()]

    def _text(self, link: str, name: str) -> str:
        try:
            return (self._class / link / name).read_text().strip()
        except OSError:  # reading the speed of a link that is down is EINVAL
            return ""

    def _from_proc(self) -> dict[str, tuple[int, int]]:
        counters: dict[str, tuple[int, int]] = {}
        for line in self._dev.read_text().splitlines()[2:]:
            link, _, rest = line.partition(":")
            words = rest.split()
            counters[link.strip()] = (int(words[0]), int(words[8]))
        return counters

    def _from_psutil(self) -> dict[str, tuple[int, int]]:
        import psutil

        links = psutil.net_io_counters(pernic=True)
        return {link: (count.bytes_recv, count.bytes_sent) for link, count in links.items()}

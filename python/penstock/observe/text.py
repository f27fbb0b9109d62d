"""How readers write spans of time, amounts and names for people: short, three digits, the unit attached."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from penstock.resources import RESOURCES

__all__ = ["amount_text", "chain_text", "interrupted_text", "plural", "resource_name", "size_text", "span_text"]

UNKNOWN = "-"


def span_text(seconds: float | None) -> str:
    """Return a span as `412µs`, `12.3ms`, `1.23s`, `2m05s` or `3h07m`; None as `-`."""
    if seconds is None:
        return UNKNOWN
    seconds = max(seconds, 0.0)
    # The thresholds are where three digits would round up into the next form.
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 0.09995:
        return f"{_three(seconds * 1e3)}ms"
    if seconds < 99.95:
        return f"{_three(seconds)}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"


def size_text(amount: float | None) -> str:
    """Return bytes as `812B`, `1.50KiB`, `12.3MiB`, `7.81GiB`; None as `-`."""
    if amount is None:
        return UNKNOWN
    return _scaled(amount, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def amount_text(resource: str, amount: float | None) -> str:
    """Return a measured amount of a resource, rounded to three digits; None as `-`."""
    if amount is None:
        return UNKNOWN
    if resource in ("memory", "gpu_memory"):
        return size_text(amount)
    if resource in ("disk", "network"):
        return _scaled(amount, 1000, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s"))
    return f"{amount / 1000:.2f}".rstrip("0").rstrip(".")


def resource_name(number: int) -> str:
    """Return the name of the core's resource `number`; custom ones by their number."""
    return RESOURCES[number] if number < len(RESOURCES) else f"custom {number - len(RESOURCES) + 1}"


def chain_text(names: Sequence[str], most: int = 9) -> str:
    """Return `load -> split -> train`; of a long chain the two ends and how many are between them."""
    if len(names) > most:
        head, tail = names[: most // 2], names[-(most // 2) :]
        between = len(names) - len(head) - len(tail)
        return " -> ".join((*head, f"({between} more)", *tail))
    return " -> ".join(names)


def interrupted_text(running: int, left_s: float) -> str:
    """Return what the one who pressed Ctrl-C should know.

    Args:
        running: how many tasks still run.
        left_s: seconds that they are waited for; 0 or less when they are being killed.
    """
    if not running:
        return "interrupted: nothing more starts"
    tasks = plural(running, "running task")
    if left_s <= 0:
        return f"interrupted: killing {tasks}"
    # Whole seconds, rounded up: a display counts down with it.
    return f"interrupted: nothing more starts; {tasks} may end within {ceil(left_s)} s, Ctrl-C again kills {'it' if running == 1 else 'them'}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Return `1 task`, `2 tasks`, `1,200 tasks`; `many` is the plural when it takes more than an s."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def _three(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _scaled(amount: float, step: int, units: Sequence[str]) -> str:
    value, place = float(amount), 0
    while abs(value) >= step * 0.9995 and place < len(units) - 1:
        value /= step
        place += 1
    return f"{value:.0f}{units[0]}" if place == 0 else f"{_three(value)}{units[place]}"

"""Reading and writing amounts: bytes, bytes per second, cores, shares of a GPU, seconds.

The scheduler counts in whole numbers: milli-cores, bytes, bytes per second, thousandths of a GPU. What a
user writes is turned into those here, exactly where text is given (`1.5GiB` is 1,610,612,736 bytes), and a
part of a unit that is left over is rounded up, so a demand is never understated.
"""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import SupportsIndex

from penstock.errors import OptionError, PenstockError, ResourceError

__all__ = [
    "MAX_AMOUNT",
    "MILLI",
    "format_bytes",
    "format_milli",
    "format_rate",
    "parse_bytes",
    "parse_duration",
    "parse_milli",
    "parse_rate",
]

MILLI = 1000
"""Thousandths in one: cores, GPUs and custom resources are counted in thousandths."""

MAX_AMOUNT = 2**62
"""The largest amount of anything; sums of two still fit the core's 64-bit integers."""

_BYTES = {"B": 1}
_BYTES |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGTP", start=1)}
_BYTES |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGTP", start=1)}
_BYTES |= {f"{prefix}I": 1024**power for power, prefix in enumerate("KMGTP", start=1)}
_BITS = {"BIT": 1} | {f"{prefix}BIT": 1000**power for power, prefix in enumerate("KMGT", start=1)}

_SIZE = re.compile(r"(\d{1,18})(?:\.(\d{1,18}))?\s*([A-Za-z]+)(/s)?", re.ASCII)
_PLAIN = re.compile(r"(\d{1,18})(?:\.(\d{1,18}))?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(ms|s|m|h|d)\s*", re.ASCII)

_BYTES_HELP = "write bytes as an int or text such as '2GiB' or '500MB'"
_RATE_HELP = "write bytes per second as an int or text such as '200MB/s' or '1Gbit/s'"
_DURATION_HELP = "write seconds as a number or text such as '30s', '5m' or '1h30m'"


def parse_bytes(value: object, what: str = "memory") -> int:
    """Return an amount of memory in bytes.

    Args:
        value: bytes as an int, or text with a unit: B, kB to PB (powers of 1000) or KiB to PiB (powers of
            1024; `Ki` to `Pi` are the same). Upper and lower case are one, but `Mb` (megabits) is refused.
        what: the option's name, for the message.

    Raises:
        ResourceError: the value is no amount of bytes, is negative, or is 2**62 or more.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None or match[4]:
            raise _refused(what, value, "is no amount of bytes", _BYTES_HELP)
        return _in_range(what, value, _exact(match[1], match[2], _byte_unit(what, value, match[3], _BYTES_HELP)))
    return _whole(what, value, "bytes", _BYTES_HELP)


def parse_rate(value: object, what: str = "disk") -> int:
    """Return a rate in bytes per second.

    Args:
        value: bytes per second as an int, or text with a unit of bytes and `/s`; `Mbit/s` and its kin
            are understood for network links.
        what: the option's name, for the message.

    Raises:
        ResourceError: the value is no rate, is negative, or is 2**62 or more.
    """
    if not isinstance(value, str):
        return _whole(what, value, "bytes per second", _RATE_HELP)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise _refused(what, value, "is no rate", _RATE_HELP)
    if not match[4]:
        raise _refused(what, value, "is an amount, not a rate", f"write '{value.strip()}/s'")
    bits = _BITS.get(match[3].upper())
    if bits is not None:
        return _in_range(what, value, -(-_exact(match[1], match[2], bits) // 8))
    return _in_range(what, value, _exact(match[1], match[2], _byte_unit(what, value, match[3], _RATE_HELP)))


def parse_milli(value: object, what: str = "cpu", noun: str = "cores") -> int:
    """Return a count that may be fractional in thousandths: 1.5 cores are 1500.

    Args:
        value: a number, or text that holds one.
        what: the option's name, for the message.
        noun: what is counted, for the message.

    Returns:
        The nearest whole number of thousandths, but 1 for anything above 0 that would round to 0.

    Raises:
        ResourceError: the value is no finite number, is negative, or is too large.
    """
    help_ = f"write a number of {noun} such as 1, 2 or 0.5"
    if isinstance(value, str):
        match = _PLAIN.fullmatch(value.strip())
        if match is None:
            raise _refused(what, value, f"is no number of {noun}", help_)
        return _in_range(what, value, _exact(match[1], match[2], MILLI))
    number = _number(what, value, f"is no number of {noun}", help_)
    if number >= MAX_AMOUNT / MILLI:
        raise _refused(what, value, "is too large", help_)
    return max(round(number * MILLI), 1 if number > 0 else 0)


def parse_duration(value: object, what: str = "timeout", *, allow_zero: bool = False) -> float:
    """Return a duration in seconds.

    Args:
        value: seconds as a number, or text: parts with the units d, h, m, s, ms from large to small, each at
            most once (`1h30m`, `250ms`, `1.5h`), or text that holds only a number of seconds.
        what: the option's name, for the message.
        allow_zero: whether 0 is a sensible value of this option.

    Raises:
        OptionError: the value is no duration, is negative or not finite, or is 0 where that is not allowed.
    """
    seconds = _text_seconds(what, value) if isinstance(value, str) else None
    if seconds is None:
        seconds = _number(what, value, "is no duration", _DURATION_HELP, OptionError)
    if seconds == 0 and not allow_zero:
        raise _refused(what, value, "is no time at all", "leave it out, or give more than 0 seconds", OptionError)
    return seconds


def format_bytes(amount: int) -> str:
    """Return bytes readably, with at most two decimals: 61847529062 is `57.6GiB`, 1023 is `1023B`."""
    return _scaled(amount, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def format_rate(amount: int) -> str:
    """Return bytes per second readably, in powers of 1000: 200000000 is `200MB/s`."""
    return _scaled(amount, 1000, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"))


def format_milli(amount: int) -> str:
    """Return thousandths as a plain number: 1500 is `1.5`, 2000 is `2`."""
    whole, rest = divmod(abs(amount), MILLI)
    text = f"{whole}.{rest:03d}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text


def _scaled(amount: int, base: int, units: tuple[str, ...]) -> str:
    sign, size, power = ("-" if amount < 0 else ""), abs(amount), 0
    # Compare what would be shown, so that 1023.999 KiB reads 1MiB and not 1024KiB.
    while power + 1 < len(units) and round(size / base**power, 2) >= base:
        power += 1
    text = f"{size / base**power:.2f}".rstrip("0").rstrip(".")
    return f"{sign}{text}{units[power]}"


def _exact(whole: str, decimals: str | None, unit: int) -> int:
    """Return the decimal number times `unit`, rounded up to a whole number."""
    decimals = decimals or ""
    scale: int = 10 ** len(decimals)
    return -(-int(whole + decimals) * unit // scale)


def _byte_unit(what: str, value: str, unit: str, help_: str) -> int:
    if len(unit) > 1 and unit[-1] == "b" and unit[0].isupper():
        raise _refused(what, value, f"counts in bits ({unit})", f"{help_}; bytes have a capital B")
    size = _BYTES.get(unit.upper())
    if size is None:
        also = f" ({unit}B counts in powers of 1000, {unit}iB of 1024)" if unit.upper() in "KMGTP" else ""
        raise _refused(what, value, f"has the unknown unit '{unit}'{also}", help_)
    return size


def _whole(what: str, value: object, noun: str, help_: str) -> int:
    """Return a whole number given as an int (or anything that is one, such as a NumPy integer)."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise _refused(what, value, f"is no whole number of {noun}", help_)
    try:
        number = int(value.__index__())
    except TypeError:  # a NumPy array has __index__ and refuses
        raise _refused(what, value, f"is no whole number of {noun}", help_) from None
    if number < 0:
        raise _refused(what, value, "is negative", help_)
    return _in_range(what, value, number)


def _number(what: str, value: object, problem: str, help_: str, error: type[PenstockError] = ResourceError) -> float:
    """Return a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _refused(what, value, problem, help_, error)
    try:
        number = float(value)
    except OverflowError:
        raise _refused(what, value, "is too large", help_, error) from None
    if not math.isfinite(number):
        raise _refused(what, value, "is not finite", help_, error)
    if number < 0:
        raise _refused(what, value, "is negative", help_, error)
    return number


def _text_seconds(what: str, value: str) -> float:
    text = value.strip()
    if _PLAIN.fullmatch(text):
        return float(text)
    seconds, position, last = 0.0, 0, math.inf
    while match := _SPAN.match(text, position):
        unit = _SECONDS[match[2]]
        if unit >= last:
            break
        seconds, position, last = seconds + float(match[1]) * unit, match.end(), unit
    if position == 0 or position != len(text):
        raise _refused(what, value, "is no duration", _DURATION_HELP, OptionError)
    return seconds


def _in_range(what: str, value: object, amount: int) -> int:
    if amount >= MAX_AMOUNT:
        raise _refused(what, value, "is too large", "give less than 2**62")
    return amount


def _refused(
    what: str, value: object, problem: str, help_: str, error: type[PenstockError] = ResourceError
) -> PenstockError:
    shown = repr(value)
    if len(shown) > 60:
        shown = f"{shown[:57]}..."
    return error(f"{what}={shown} {problem}; {help_}.")

"""Reading and writing amounts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import OptionError, ResourceError
from penstock.units import (
    MAX_AMOUNT,
    format_bytes,
    format_milli,
    format_rate,
    parse_bytes,
    parse_duration,
    parse_milli,
    parse_rate,
)

UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "PB": 1000**5,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "PiB": 1024**5,
    "Mi": 1024**2,
    "mib": 1024**2,
    "gb": 1000**3,
}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2GiB", 2 * 1024**3),
        ("500MB", 500_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("  7B ", 7),
        ("0B", 0),
        ("0.1KiB", 103),  # 102.4 bytes: rounded up, so that a demand is never understated
        (4096, 4096),
        (np.int64(4096), 4096),
    ],
)
def test_bytes_are_read_exactly_and_parts_of_a_byte_round_up(text: object, amount: int) -> None:
    assert parse_bytes(text) == amount


@given(
    whole=st.integers(0, 10**6),
    decimals=st.text("0123456789", max_size=6),
    unit=st.sampled_from(sorted(UNITS)),
    space=st.sampled_from(["", " "]),
)
def test_any_decimal_number_of_any_unit_is_the_exact_product_rounded_up(
    whole: int, decimals: str, unit: str, space: str
) -> None:
    number = f"{whole}.{decimals}" if decimals else str(whole)
    exact = Fraction(number) * UNITS[unit]
    if exact >= MAX_AMOUNT:
        with pytest.raises(ResourceError, match="too large"):
            parse_bytes(f"{number}{space}{unit}")
    else:
        assert parse_bytes(f"{number}{space}{unit}") == -(-exact.numerator // exact.denominator)


@given(st.integers(0, MAX_AMOUNT - 2**52))
def test_formatted_bytes_read_back_within_half_a_percent(amount: int) -> None:
    # Two decimals of a number of at least 1: off by at most 0.005 of it, and the rounding up of a byte.
    assert abs(parse_bytes(format_bytes(amount)) - amount) <= 0.005 * amount + 1


@given(st.integers(0, 1023), st.sampled_from([1024**power for power in range(6)]))
def test_whole_numbers_of_a_unit_read_back_exactly(count: int, unit: int) -> None:
    assert parse_bytes(format_bytes(count * unit)) == count * unit


@given(st.integers(0, 999), st.sampled_from([1000**power for power in range(6)]))
def test_whole_rates_read_back_exactly(count: int, unit: int) -> None:
    assert parse_rate(format_rate(count * unit)) == count * unit


@given(st.integers(0, 10**12))
def test_thousandths_read_back_exactly(amount: int) -> None:
    assert parse_milli(format_milli(amount)) == amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1024**2 - 1, "1MiB"), (61_847_529_062, "57.6GiB"), (-2048, "-2KiB")],
)
def test_bytes_are_shown_in_the_largest_unit_that_fits(amount: int, text: str) -> None:
    assert format_bytes(amount) == text


@pytest.mark.parametrize(
    ("value", "amount"),
    [("200MB/s", 200_000_000), ("1Gbit/s", 125_000_000), ("9bit/s", 2), ("1.5MiB/s", 1_572_864), (7, 7)],
)
def test_rates_are_read_in_bytes_and_links_also_in_bits(value: object, amount: int) -> None:
    assert parse_rate(value) == amount


@pytest.mark.parametrize(
    ("value", "amount"),
    [(1, 1000), (0.5, 500), ("1.5", 1500), (0.1 + 0.2, 300), (0, 0), (1e-9, 1), (np.float32(0.5), 500)],
)
def test_cores_become_thousandths_and_a_trace_of_one_is_not_nothing(value: object, amount: int) -> None:
    assert parse_milli(value) == amount


@pytest.mark.parametrize(
    "value",
    [True, False, None, -1, 1.5, float("nan"), [], "", "2", "-2GiB", "GiB", "2 G iB", "2GiB/s", "1e3GiB", "٣GiB"],
)
def test_what_is_no_amount_of_bytes_is_refused_by_name_with_what_is_allowed(value: object) -> None:
    with pytest.raises(ResourceError) as caught:
        parse_bytes(value, "memory_limit")
    assert str(caught.value).startswith(f"memory_limit={value!r} ")
    assert "'2GiB'" in str(caught.value)


def test_an_array_is_no_amount_of_bytes() -> None:
    with pytest.raises(ResourceError, match="no whole number of bytes"):
        parse_bytes(np.array([1, 2]))


@pytest.mark.parametrize("value", ["8Gb", "8Mb", "8Mib"])
def test_a_small_b_after_a_capital_prefix_means_bits_and_is_refused(value: str) -> None:
    with pytest.raises(ResourceError, match=r"counts in bits.*capital B"):
        parse_bytes(value)


def test_a_prefix_without_a_unit_is_refused_because_it_says_not_which_power() -> None:
    with pytest.raises(ResourceError, match=r"unknown unit 'G' \(GB counts in powers of 1000, GiB of 1024\)"):
        parse_bytes("8G")


def test_an_amount_where_a_rate_belongs_is_told_how_to_be_one() -> None:
    with pytest.raises(ResourceError, match="write '200MB/s'"):
        parse_rate("200MB")


@pytest.mark.parametrize(
    "value", [True, None, -0.5, float("nan"), float("inf"), "two", "-1", 1e300, 10**400, np.bool_(True)]
)
def test_what_is_no_number_of_cores_is_refused(value: object) -> None:
    with pytest.raises(ResourceError, match="cpu="):
        parse_milli(value)


def test_a_very_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(ResourceError) as caught:
        parse_bytes("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("30", 30),
        (30, 30),
        (0.5, 0.5),
    ],
)
def test_durations_are_read_in_seconds(value: object, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "value", ["", "s", "5 m s", "30m1h", "1m1m", "5min", "-5s", -5, float("inf"), float("nan"), True, None, b"5s"]
)
def test_what_is_no_duration_is_refused_by_name(value: object) -> None:
    with pytest.raises(OptionError, match="wait="):
        parse_duration(value, "wait")


def test_no_time_at_all_is_allowed_only_where_it_makes_sense() -> None:
    assert parse_duration("0s", allow_zero=True) == 0
    with pytest.raises(OptionError, match="no time at all"):
        parse_duration(0)


@given(days=st.integers(0, 99), hours=st.integers(0, 23), minutes=st.integers(0, 59), seconds=st.integers(1, 59))
def test_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert parse_duration(text) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds

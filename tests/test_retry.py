"""`penstock.retry`: which failures are followed by another attempt, and after how long."""

from __future__ import annotations

import math
import re
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import OptionError
from penstock.retry import RETRYABLE, Retry, parse_retry_on
from penstock.states import Cause


def test_the_wait_doubles_up_to_the_cap_without_jitter() -> None:
    retry = Retry(first_wait_s=1, factor=2, cap_s=5, jitter_s=0)
    assert [retry.wait_s(attempt, Random(1)) for attempt in range(1, 6)] == [1, 2, 4, 5, 5]


def test_the_defaults_are_those_of_stamina() -> None:
    retry = Retry()
    assert (retry.attempts, retry.first_wait_s, retry.factor, retry.cap_s, retry.jitter_s) == (10, 0.1, 2.0, 5.0, 1.0)
    assert retry.on == ()


@given(st.floats(0, 1e3), st.floats(1, 10), st.floats(0, 1e3), st.floats(0, 1e3), st.integers(1, 10_000), st.integers())
def test_a_wait_is_between_the_plain_one_and_that_with_all_jitter(
    first: float, factor: float, cap: float, jitter: float, attempt: int, seed: int
) -> None:
    retry = Retry(first_wait_s=first, factor=factor, cap_s=cap, jitter_s=jitter)
    wait = retry.wait_s(attempt, Random(seed))
    try:
        plain = first * factor ** (attempt - 1)
    except OverflowError:
        plain = math.inf
    assert min(cap, plain) <= wait <= min(cap, plain + jitter)
    assert wait == retry.wait_s(attempt, Random(seed))


def test_jitter_spreads_tasks_that_failed_together() -> None:
    rng = Random(3)
    waits = {Retry().wait_s(1, rng) for _ in range(100)}
    assert len(waits) == 100
    assert max(waits) - min(waits) > 0.5


@pytest.mark.parametrize("cause", list(Cause))
def test_without_a_list_all_real_failures_are_retried(cause: Cause) -> None:
    expected = cause in (Cause.EXCEPTION, Cause.TIMEOUT, Cause.OOM, Cause.LOST)
    assert Retry().applies(cause, ValueError()) is expected


def test_a_type_covers_its_subclasses_and_a_cause_only_itself() -> None:
    retry = Retry(on=(OSError, Cause.OOM))
    assert retry.applies(Cause.EXCEPTION, ConnectionError())
    assert not retry.applies(Cause.EXCEPTION, ValueError())
    assert retry.applies(Cause.OOM, None)
    assert not retry.applies(Cause.LOST, None)
    assert retry.applies(Cause.TIMEOUT, TimeoutError())  # a TimeoutError is an OSError


@pytest.mark.parametrize("cause", [Cause.CANCELLED, Cause.UPSTREAM, Cause.SKIPPED, Cause.NONE])
def test_what_did_not_fail_by_itself_is_never_retried(cause: Cause) -> None:
    assert not Retry(on=(BaseException,)).applies(cause, KeyboardInterrupt())


def test_causes_are_read_by_name_in_any_case() -> None:
    assert parse_retry_on("oom") == (Cause.OOM,)
    assert parse_retry_on(["Lost", KeyError, Cause.TIMEOUT]) == (Cause.LOST, KeyError, Cause.TIMEOUT)
    assert parse_retry_on(ValueError) == (ValueError,)
    assert Retry(on=("OOM",)).on == (Cause.OOM,)  # type: ignore[arg-type]
    assert set(RETRYABLE) == {Cause.EXCEPTION, Cause.TIMEOUT, Cause.OOM, Cause.LOST}


@pytest.mark.parametrize("entry", ["CANCELLED", "OOMM", Cause.SKIPPED, int, 5, None, ValueError()])
def test_an_entry_that_cannot_be_retried_is_refused(entry: Any) -> None:
    with pytest.raises(ValueError, match="is neither an exception type nor one of EXCEPTION, TIMEOUT, OOM, LOST"):
        parse_retry_on([entry])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attempts": 0}, "Retry(attempts=0): allowed is a whole number from 1 up, the first attempt counted"),
        ({"attempts": 2.0}, "Retry(attempts=2.0): allowed is a whole number"),
        ({"first_wait_s": -1}, "Retry(first_wait_s=-1): allowed is a number of seconds from 0 up"),
        ({"factor": 0.5}, "Retry(factor=0.5): allowed is a number from 1 up"),
        ({"cap_s": math.inf}, "Retry(cap_s=inf): allowed is a number of seconds"),
        ({"jitter_s": math.nan}, "Retry(jitter_s=nan)"),
        ({"jitter_s": "1s"}, "Retry(jitter_s='1s')"),
        ({"on": (Cause.CANCELLED,)}, "CANCELLED is neither an exception type nor one of"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        Retry(**values)

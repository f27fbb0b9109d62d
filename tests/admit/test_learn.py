"""What is learned of a function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.admit.learn import REMEMBERED, Learned, first_guess
from penstock.admit.quantile import quantile

MIB = 1024**2


def learned(*peaks: int | None, cpu_s: float | None = None, run_s: float = 1.0) -> Learned:
    made = Learned()
    for peak in peaks:
        made.add(peak_memory=peak, cpu_s=cpu_s, run_s=run_s)
    return made


def test_an_unknown_function_counts_as_its_cores_share_of_the_memory() -> None:
    assert first_guess(8000, 4000, 1000) == 2000
    assert first_guess(8000, 4000, 500) == 1000
    assert first_guess(8000, 4000, 9000) == 8000


@given(st.integers(0, 2**50), st.integers(1, 10**6), st.lists(st.integers(0, 10**5), max_size=50))
def test_unknown_tasks_that_fit_on_the_cores_fit_into_the_memory(memory: int, limit: int, cpus: list[int]) -> None:
    fitting, left = [], limit
    for cpu in cpus:
        if cpu <= left:
            fitting.append(cpu)
            left -= cpu
    assert sum(first_guess(memory, limit, cpu) for cpu in fitting) <= memory


def test_nothing_is_known_before_something_was_measured() -> None:
    assert learned().memory() is None
    assert learned(None).memory() is None
    assert learned().cpu() is None


def test_the_margin_shrinks_as_the_measured_attempts_become_many() -> None:
    assert learned(100 * MIB).memory() == 150 * MIB
    assert learned(*[100 * MIB] * 3).memory() == 125 * MIB
    assert learned(*[100 * MIB] * 19).memory() == 105 * MIB


def test_the_guess_covers_nearly_all_and_forgets_what_is_long_ago() -> None:
    guess = learned(*range(100, 200)).memory()
    assert guess is not None
    assert guess >= 195
    assert learned(10**6, *[100] * REMEMBERED).memory() == 101


def test_cores_are_cpu_time_over_run_time_and_a_short_run_says_nothing() -> None:
    assert learned(None, cpu_s=7.8, run_s=2.0).cpu() == 3900
    assert learned(None, cpu_s=0.1, run_s=0.01).cpu() is None


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=200))
def test_a_guess_is_at_least_what_nineteen_of_twenty_came_to(peaks: list[int]) -> None:
    guess, latest = learned(*peaks).memory(), peaks[-REMEMBERED:]
    assert guess is not None
    assert sum(peak <= guess for peak in latest) >= 0.95 * len(latest)


@given(st.lists(st.integers(), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_one_of_the_values_and_covers_its_share(values: list[int], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9

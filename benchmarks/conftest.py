"""Prints, after pytest-benchmark's own table, how many times faster native is than each other side."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from penstock.bench import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", type=float, default=1.0, help="share of the full size of each case, such as 0.1")


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    """The case that the module names in CASE, made once for all of its sides."""
    return CASES[request.module.CASE](request.config.getoption("--scale"))


@pytest.fixture
def measure_side(benchmark: BenchmarkFixture, case: Case) -> Callable[[str], None]:
    """Measures one side of the case, ROUNDS times; only its `run` is timed."""

    def measured(name: str) -> None:
        side = case.sides[name]
        benchmark.group = f"{case.name}: {case.title}, {case.amount:,} {case.unit}"
        benchmark.extra_info.update(case=case.name, side=name, amount=case.amount)
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            side.run, setup=lambda: ((side.start(),), {}), teardown=side.finish, rounds=ROUNDS
        )

    return measured


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(1800))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "side" in metafunc.fixturenames:
        metafunc.parametrize("side", metafunc.module.SIDES)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    medians: dict[str, dict[str, float]] = defaultdict(dict)
    for result in config._benchmarksession.benchmarks:  # type: ignore[attr-defined]  # set by pytest-benchmark
        if "case" in result.extra_info and result.stats:
            medians[result.extra_info["case"]][result.extra_info["side"]] = result.stats.median
    for name, of_side in medians.items():
        for side, seconds in of_side.items():
            if side != "native" and "native" in of_side:
                ratio = seconds / of_side["native"]
                terminalreporter.write_line(
                    f"{name}: native is {ratio:.1f} times as fast as {side} (medians of {ROUNDS})"
                )

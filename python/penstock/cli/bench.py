"""`penstock bench`: the native core against pure Python doing the same work, on this machine."""

from __future__ import annotations

import json
import platform
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.bench import Comparison

__all__ = ["bench"]

QUICK_SCALE, QUICK_ROUNDS = 0.05, 3
ROUNDS = 5


@click.command(short_help="Compare the native core with pure Python on this machine.")
@click.option("--quick", is_flag=True, help="A twentieth of the work, fewer rounds: seconds, but noisier.")
@click.option("--json", "as_json", is_flag=True, help="Write every measurement as JSON.")
def bench(quick: bool, as_json: bool) -> None:
    """Measure the native core against a pure-Python scheduler that does the same work.

    Each side of a case runs several times, in turn, and the medians are compared. Exit status: 0.
    """
    from penstock.bench import CASES, measure

    scale, rounds = (QUICK_SCALE, QUICK_ROUNDS) if quick else (1.0, ROUNDS)
    found = []
    for name, make in CASES.items():
        if sys.stderr.isatty():
            click.echo(f"\r\033[Kmeasuring {name} ...", nl=False, err=True)
        found.append(measure(make(scale), rounds))
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if as_json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
        report = {"scale": scale, "rounds": rounds, **machine, "cases": [one.as_dict() for one in found]}
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(table(found))


def table(found: Sequence[Comparison]) -> str:
    """Return what was measured as an aligned table, one row for each other side of each case."""
    rows = [("case", "amount", "against", "native", "other", "ratio")]
    for one in found:
        native = one.median_s("native") / one.case.amount
        rows += [
            (
                one.case.name,
                f"{one.case.amount:,} {one.case.unit}",
                side,
                _each(native),
                _each(one.median_s(side) / one.case.amount),
                f"{one.ratio(side):.1f}x",
            )
            for side in one.seconds
            if side != "native"
        ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (0, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join((*lines, "", "times are for one of each; ratio is how many times faster native is"))


def _each(seconds: float) -> str:
    return f"{seconds * 1e9:.0f} ns" if seconds < 1e-5 else f"{seconds * 1e6:.1f} µs"

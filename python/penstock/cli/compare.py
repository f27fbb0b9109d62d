"""`penstock compare`: a static plan against dynamic policies on days that differ from the plan; runs nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from penstock.cli.options import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["compare"]


@click.command(short_help="Show whether dynamic scheduling pays on a workload.")
@click.argument("file", metavar="FILE")
@click.option("--policy", "policies", metavar="NAME[,NAME]", help="Default: static,hybrid,bottom_level,fifo.")
@click.option(
    "--capacity",
    type=Limits(),
    metavar="NAME=AMOUNT,...",
    help="What there is: cpu=16,memory=64GiB. Default: what the file says, else this machine's cores.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Draws of noise to average over."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--plot", metavar="OUT.png", help="Draw it (also .svg, .pdf).")
def compare(
    file: str,
    policies: str | None,
    capacity: Mapping[str, object] | None,
    seeds: int,
    as_json: bool,
    plot: str | None,
) -> None:
    """Simulate FILE under a static plan and under dynamic policies, as run times differ from what was expected, others
    take a part of the CPU, a task fails, and urgent tasks arrive.

    FILE is what `penstock simulate` takes. Exit status: 0, or 2 when the file or an option is wrong.
    """
    from penstock.compare import POLICIES
    from penstock.compare import compare as play

    names = POLICIES if policies is None else [name.strip() for name in policies.split(",")]
    made = play(file, policies=names, capacity=capacity, seeds=range(seeds))
    click.echo(json.dumps(made.to_dict(), indent=2) if as_json else made.text())
    if plot is not None:
        made.draw(plot)

"""`penstock simulate`: workloads under policies in virtual time; runs nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from penstock.cli.options import Limits, plan_budget_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.simulation import Simulation

__all__ = ["simulate"]

POLICIES_HELP = "fifo, priority, utilisation, hybrid, product or bottom_level; several with commas."


@click.command(short_help="Play a workload under one or more policies in virtual time.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--policy", "policies", default="hybrid", show_default=True, metavar="NAME[,NAME]", help=POLICIES_HELP)
@click.option(
    "--capacity",
    type=Limits(),
    metavar="NAME=AMOUNT,...",
    help="What there is: cpu=16,memory=64GiB. Default: what the file says, else this machine's cores.",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Tasks that run at once at most.")
@click.option("--noise", metavar="KIND:S", help="How wrong expected run times are: lognormal:0.5, uniform:0.3.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
@click.option(
    "--durations",
    type=click.Choice(["known", "exact", "corrected", "learned", "unknown"]),
    default="known",
    show_default=True,
    help="What the scheduler knows of run times: what the file expects, what they are, the former corrected or all learned on "
    "the way, or nothing.",
)
@plan_budget_option
@click.option("--union", is_flag=True, help="Take all files as one pool of work.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file and policy.")
@click.option("--table", "as_table", is_flag=True, help="A row for each task of every simulation.")
@click.option("--plot", metavar="OUT.png", help="Draw the schedules (also .svg, .pdf).")
@click.option("--trace", metavar="OUT.json", help="Write one simulation for Perfetto or chrome://tracing.")
def simulate(
    files: tuple[str, ...],
    policies: str,
    capacity: Mapping[str, object] | None,
    workers: int | None,
    noise: str | None,
    seed: int,
    durations: str,
    plan_budget: float | None,
    union: bool,
    as_json: bool,
    as_table: bool,
    plot: str | None,
    trace: str | None,
) -> None:
    """Play FILE under each policy: how long would it take, and how long must it take at least.

    FILE is a pipeline whose tasks have a duration= (.py, .yaml), a run that is kept in a store (.penstock#7), a recorded run
    (.npz, from result.save_events), a WfCommons workflow (.json, .json.gz) or a PSPLIB project (.sm).

    Exit status: 0, or 2 when a file or an option is wrong or a task can never start.
    """
    from penstock.errors import OptionError
    from penstock.journal.playback import read_source
    from penstock.planning import PLAN_BUDGET_S
    from penstock.policies import resolve
    from penstock.simulation import simulate as play
    from penstock.workloads import unite

    names = [name.strip() for name in policies.split(",")]
    for name in names:
        resolve(name)  # a wrong name is told of before anything is read
    workloads = [(file, read_source(file)) for file in files]
    if union:
        workloads = [("union", unite([workload for _, workload in workloads]))]
    if trace is not None and len(workloads) * len(names) != 1:
        raise OptionError(
            f"--trace writes one simulation, but {len(workloads)} files x {len(names)} policies are "
            f"{len(workloads) * len(names)}; give one file, or --union, and one policy."
        )
    done: list[tuple[str, Simulation]] = []
    for file, workload in workloads:
        for name in names:
            made = play(
                workload,
                policy=name,
                capacity=capacity,
                workers=workers,
                noise=noise,
                seed=seed,
                durations=durations,
                plan_budget=PLAN_BUDGET_S if plan_budget is None else plan_budget,
            )
            done.append((file, made))
            if as_json:
                click.echo(json.dumps({"file": file, **made.summary()}))
            elif as_table:
                click.echo(f"{file}, {made.policy.name}")
                click.echo(made.table())
    if not as_json and not as_table:
        click.echo(_overview(done))
    if trace is not None:
        done[0][1].write_trace(trace)
    if plot is not None:
        from penstock.draw import draw_schedules

        draw_schedules(plot, [(f"{file}, {made.policy.name}", made) for file, made in done])


def _overview(done: list[tuple[str, Simulation]]) -> str:
    from penstock.observe.text import span_text

    rows = [("file", "policy", "tasks", "makespan", "lower bound", "above", "CPU used")]
    for file, made in done:
        above = made.makespan_s / made.lower_bound_s - 1 if made.lower_bound_s else 0.0
        used = made.utilisation.get("cpu")
        rows.append(
            (
                file,
                made.policy.name,
                f"{len(made.workload):,}",
                span_text(made.makespan_s),
                span_text(made.lower_bound_s),
                f"{above:.1%}",
                "-" if used is None else f"{used:.0%}",
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )

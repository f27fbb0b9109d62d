"""`penstock plan`: levels, critical path and demand of a pipeline, and what can never start here; runs nothing."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from penstock.cli.options import limits_option, target_argument
from penstock.errors import PipelineFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.pipeline import FrozenPipeline
    from penstock.resources import Limits

__all__ = ["plan"]


@click.command(short_help="Show what a pipeline would do, without running it.")
@target_argument
@limits_option
@click.option("--safe", is_flag=True, help="Execute nothing of the file; refuses those in Python.")
@click.option("--json", "form", flag_value="json", help="As JSON.")
@click.option("--dot", "form", flag_value="dot", help="As a Graphviz graph.")
@click.option("--mermaid", "form", flag_value="mermaid", help="As a Mermaid flowchart.")
@click.option(
    "--policy", type=click.Choice(["static"]), help="Show when each task would start if durations were right."
)
@click.option(
    "--plan-budget",
    type=click.FloatRange(min=0, min_open=True),
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="How long --policy static may search.",
)
@click.option(
    "--gantt",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="With --policy static: draw it, as .png, .svg or .pdf.",
)
def plan(
    target: str,
    limits: Mapping[str, object] | None,
    safe: bool,
    form: str | None,
    policy: str | None,
    plan_budget: float,
    gantt: str | None,
) -> None:
    """Show the pipeline in FILE: what can run at once, the critical path, what it asks for, what can never start.

    With --policy static: the plan that a run with that policy follows, as a Gantt picture and a table.

    Exit status: 0, or 2 when the pipeline is wrong or holds a task that can never start on this machine.
    """
    from penstock.admission import Admission
    from penstock.cli.plan_forms import FORMS
    from penstock.pipeline_file import load_pipeline, split_name
    from penstock.plan import make_plan

    if policy is None and gantt is not None:
        raise click.UsageError("--gantt draws the plan of --policy static; give both.")
    if policy is not None and form in ("dot", "mermaid"):
        raise click.UsageError(f"--policy static has no form --{form}; it has text, --json and --gantt FILE.")
    if safe and split_name(target)[0].suffix.lower() not in (".yaml", ".yml"):
        raise PipelineFileError(
            "--safe executes nothing, and a file in Python says what it holds only when it is executed; "
            "give one in YAML, or leave --safe out for a file that you trust.",
            target,
        )
    pipeline = load_pipeline(target)
    kept = Admission(pipeline.limits if limits is None else limits).limits
    frozen = pipeline.freeze()
    made = make_plan(frozen, kept)
    if policy is not None and not made.never:
        _show_static(frozen, kept, plan_budget, form, gantt)
        return
    click.echo(FORMS[form or "text"](made, kept))
    sys.exit(2 if made.never else 0)


def _show_static(frozen: FrozenPipeline, kept: Limits, budget_s: float, form: str | None, gantt: str | None) -> None:
    from penstock.cli.plan_gantt import as_json, as_text, draw
    from penstock.planning import MOST_TASKS, make_schedule

    schedule = make_schedule(frozen, kept, budget_s=budget_s)
    if not schedule.complete:
        raise click.UsageError(
            f"no schedule of {len(frozen):,} tasks came about in {budget_s:g} s; give a larger --plan-budget. At most"
            f" {MOST_TASKS:,} tasks are planned."
        )
    if gantt is not None:
        try:
            draw(frozen.name, frozen.names, schedule, gantt)
        except ImportError:
            raise click.UsageError("--gantt draws with matplotlib; pip install 'penstock[examples]' has it.") from None
        except (ValueError, OSError) as error:
            raise click.UsageError(f"--gantt {gantt}: {error}") from None
    if form == "json":
        click.echo(as_json(frozen.name, frozen.names, schedule))
    else:
        click.echo(as_text(frozen.name, frozen.names, schedule, shutil.get_terminal_size((100, 24)).columns))

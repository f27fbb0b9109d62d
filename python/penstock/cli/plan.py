"""`penstock plan`: levels, critical path and demand of a pipeline, and what can never start here; runs nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from penstock.cli.options import limits_option, target_argument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["plan"]


@click.command(short_help="Show what a pipeline would do, without running it.")
@target_argument
@limits_option
@click.option("--json", "form", flag_value="json", help="As JSON.")
@click.option("--dot", "form", flag_value="dot", help="As a Graphviz graph.")
@click.option("--mermaid", "form", flag_value="mermaid", help="As a Mermaid flowchart.")
def plan(target: str, limits: Mapping[str, object] | None, form: str | None) -> None:
    """Show the pipeline in FILE: what can run at once, the critical path, what it asks for, what can never start.

    Exit status: 0, or 2 when the pipeline is wrong or holds a task that can never start on this machine.
    """
    from penstock.admission import Admission
    from penstock.cli.plan_forms import FORMS
    from penstock.pipeline_file import load_pipeline
    from penstock.plan import make_plan

    pipeline = load_pipeline(target)
    kept = Admission(pipeline.limits if limits is None else limits).limits
    made = make_plan(pipeline.freeze(), kept)
    click.echo(FORMS[form or "text"](made, kept))
    sys.exit(2 if made.never else 0)

"""`penstock resume`: go on with a run that was broken off, or that failed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from penstock.cli.options import timeout_option
from penstock.cli.run import finish, stdout_on_stderr
from penstock.cli.store_options import keeping_options, store_option
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.journal.reading import RecordedRun
    from penstock.pipeline import Durability, OnStoreError

__all__ = ["resume"]

C = TypeVar("C", bound=str)


@click.command(short_help="Go on with a run that was broken off, or that failed.")
@click.argument("number", metavar="[RUN]", type=click.IntRange(min=1), required=False)
@store_option
@click.option(
    "--force", multiple=True, metavar="TASK", help="Run this task again, and what depends on it if its result differs."
)
@click.option(
    "--from", "start_from", multiple=True, metavar="TASK", help="Run this task again, and all that depends on it."
)
@keeping_options
@click.option("--secret", multiple=True, metavar="NAME", help="Mask the value of this environment variable.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Threads that run tasks.")
@timeout_option
@click.option("--progress/--no-progress", default=None, help="Show progress; without --json the default is to.")
@click.option("--json", "as_json", is_flag=True, help="Write the result as JSON; everything else goes to stderr.")
def resume(
    number: int | None,
    store: str,
    force: tuple[str, ...],
    start_from: tuple[str, ...],
    durability: Durability,
    on_store_error: OnStoreError,
    secret: tuple[str, ...],
    workers: int | None,
    timeout: str | None,
    progress: bool | None,
    as_json: bool,
) -> None:
    """Go on with run RUN of the store, by default the newest that has not succeeded.

    What was committed as finished does not run again, unless its code or its arguments have changed, or those of what it
    depends on. Options that are not given are those of the run, its
    timeout counted anew; what it masks stays masked. A pipeline file that was moved is looked for beside the store, where
    it was with regard to the folder the run was started in. Exit status: as `penstock run`.
    """
    from penstock.journal.keeper import run_to_resume
    from penstock.journal.reading import read_run
    from penstock.pipeline_file import load_pipeline
    from penstock.planning import PLAN_BUDGET_S
    from penstock.policies import Policy
    from penstock.preemption import GAP

    folder = Path(store)
    if number is None:
        number = run_to_resume(folder)
        if number is None:
            raise PenstockError(f"store {store} has no run to resume; `penstock runs` lists what it has.")
    run = read_run(folder, number)
    with stdout_on_stderr() if as_json else contextlib.nullcontext():
        target = _target(run, folder)
        pipeline = load_pipeline(target)
        given = run.options
        result = pipeline.run(
            policy=Policy(**given["policy"]) if given.get("policy") else None,
            limits=given.get("limits"),
            overcommit=given.get("overcommit"),
            preempt=given.get("preempt", "off"),
            preempt_gap=given.get("preempt_gap", GAP),
            workers=workers or given.get("workers"),
            plan_budget=given.get("plan_budget", PLAN_BUDGET_S),
            on_failure=given.get("on_failure", "continue"),
            timeout=given.get("timeout") if timeout is None else timeout,
            secret=dict.fromkeys([*given.get("secret", ()), *secret]),
            progress=(not as_json) if progress is None else progress,
            store=folder,
            durability=_chosen("durability", durability, given),
            on_store_error=_chosen("on_store_error", on_store_error, given),
            resume=number,
            force=force,
            start_from=start_from,
            target=target,
        )
    finish(result, as_json)


def _chosen(option: str, value: C, given: Mapping[str, Any]) -> C:
    """Return what the command line says, or else what the run was started with."""
    if click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT:
        return value
    chosen: C = given.get(option, value)
    return chosen


def _target(run: RecordedRun, store: Path) -> str:
    from penstock.pipeline_file import split_name

    if run.target is None:
        raise PenstockError(
            f"run {run.number} was started by a program of its own, not by `penstock run`; "
            "run that program again, with resume=True where it calls run()."
        )
    if run.cwd not in (None, os.getcwd()):
        click.echo(f"penstock: run {run.number} was started in {run.cwd}, and this is {os.getcwd()}.", err=True)
    path, name = split_name(run.target)
    moved = None if path.exists() else _moved(path, Path(run.cwd or path.parent), store)
    if moved is None:
        return run.target
    click.echo(f"penstock: {path} is not there any more; going on with {moved}.", err=True)
    return f"{moved}:{name}" if name else str(moved)


def _moved(path: Path, started_in: Path, store: Path) -> Path | None:
    """Return where a pipeline file is now whose whole project was moved, or None."""
    below = path.relative_to(started_in) if path.is_relative_to(started_in) else Path(path.name)
    found = (folder / name for folder in (store.absolute().parent, Path.cwd()) for name in (below, path.name))
    return next((file for file in found if file.is_file()), None)

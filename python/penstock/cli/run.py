"""`penstock run`: run a pipeline, show its progress, its table, and the errors of what failed."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.options import limits_option, plan_budget_option, target_argument, timeout_option
from penstock.cli.store_options import beside, keeping_options, possible_path
from penstock.keeping import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from penstock.pipeline import Durability, OnFailure, OnStoreError, Preempt
    from penstock.result import RunResult

__all__ = ["finish", "run", "stdout_on_stderr"]


@click.command(short_help="Run a pipeline and show how it went.")
@target_argument
@click.option(
    "--policy",
    metavar="NAME",
    help="What starts next: fifo, priority, utilisation, hybrid, product, bottom_level or static.",
)
@limits_option
@click.option(
    "--preempt",
    type=click.Choice(["off", "pause", "requeue"]),
    default="off",
    help="What much more urgent tasks do to preemptible ones that have the room they lack; the default is off.",
)
@click.option("--overcommit", type=float, metavar="SHARE", help="Lend what tasks do not use; 0.5 to 1, such as 0.95.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Threads that run tasks.")
@plan_budget_option
@click.option("--trace", type=click.Path(dir_okay=False), metavar="FILE", help="Write a trace for Perfetto.")
@click.option(
    "--store",
    metavar="PATH",
    callback=possible_path,
    help="Where the run is kept; default .penstock beside FILE; off: nowhere.",
)
@keeping_options
@click.option("--progress/--no-progress", default=None, help="Show progress; without --json the default is to.")
@click.option(
    "--on-failure",
    type=click.Choice(["continue", "stop", "finish_running"]),
    default="continue",
    help="What the first task that fails means for the others; the default is to continue.",
)
@timeout_option
@click.option(
    "--secret", multiple=True, metavar="NAME", help="Mask the value of this environment variable; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Write the result as JSON; everything else goes to stderr.")
def run(
    target: str,
    policy: str | None,
    limits: Mapping[str, object] | None,
    preempt: Preempt,
    overcommit: float | None,
    workers: int | None,
    plan_budget: float | None,
    trace: str | None,
    store: str | None,
    durability: Durability,
    on_store_error: OnStoreError,
    progress: bool | None,
    on_failure: OnFailure,
    timeout: str | None,
    secret: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the pipeline in FILE (.py, .yaml), or the one called NAME of several.

    Exit status: 0 all tasks succeeded, 1 some failed, 2 the pipeline or an option is wrong, 130 interrupted.
    """
    from penstock.pipeline_file import load_pipeline
    from penstock.planning import PLAN_BUDGET_S

    _check_policy(policy)
    with stdout_on_stderr() if as_json else contextlib.nullcontext():
        pipeline = load_pipeline(target)
        result = pipeline.run(
            policy=policy,
            limits=limits,
            preempt=preempt,
            overcommit=overcommit,
            workers=workers,
            plan_budget=PLAN_BUDGET_S if plan_budget is None else plan_budget,
            trace=trace,
            on_failure=on_failure,
            timeout=timeout,
            secret=secret,
            progress=(not as_json) if progress is None else progress,
            store=_store(store, target),
            durability=durability,
            on_store_error=on_store_error,
            target=os.path.abspath(target),
        )
    finish(result, as_json)


def _store(given: str | None, target: str) -> str:
    return given or os.environ.get("PENSTOCK_STORE") or beside(target)


def finish(result: RunResult, as_json: bool) -> None:
    """Show what came of a run, say how it can be gone on with, and exit with its status."""
    if as_json:
        with _output_that_may_end():
            click.echo(json.dumps(_as_json(result), indent=2))
    else:
        with _output_that_may_end():
            _show(result)
    if result.store_error is not None:
        click.echo(f"penstock: {result.store_error}", err=True)
    elif not result.ok and result.run_number is not None:
        where = "" if str(result.store) == FOLDER else f" --store {shlex.quote(str(result.store))}"
        click.echo(f"penstock: `penstock resume {result.run_number}{where}` goes on from here.", err=True)
    if result.interrupted:
        sys.exit(130)
    sys.exit(0 if result.ok else 1)


def _check_policy(name: str | None) -> None:
    if name is None:
        return
    from penstock.policies import resolve

    resolve(name)


def _show(result: RunResult) -> None:
    from penstock.cli.failures import failure_text
    from penstock.observe.table import print_table

    click.echo()
    print_table(result.view)
    for name in result.errors:
        click.echo(f"\n{failure_text(result, name)}")
    if result.interrupted:
        click.echo("penstock: interrupted; what had finished by then is in the table.", err=True)


def _as_json(result: RunResult) -> dict[str, Any]:
    """Return the result as plain JSON values: the tasks, the totals, and the errors with the user's frames."""
    from dataclasses import asdict

    from penstock.cli.failures import user_traceback
    from penstock.observe.table import as_dicts

    return {
        "pipeline": result.name,
        "run": result.run_number,
        "store": None if result.store is None else str(result.store),
        "taken_over": list(result.taken_over),
        "again": dict(result.again),
        "ok": result.ok,
        "interrupted": result.interrupted,
        "totals": asdict(result.totals),
        "tasks": as_dicts(result.view),
        "errors": {
            name: {
                "type": type(error).__name__,
                "message": str(error),
                "cause": result.causes[name].name.lower(),
                "traceback": user_traceback(error),
            }
            for name, error in result.errors.items()
        },
    }


@contextlib.contextmanager
def _output_that_may_end() -> Iterator[None]:
    """Write in the block as long as somebody reads. A reader such as `head` has seen enough, and the run is what it was."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python still holds back would fail once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send standard output to standard error, for this process and the ones it starts, while in the block.

    What tasks print would otherwise stand in the middle of the JSON.
    """
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
        kept = os.dup(number)
    except (OSError, ValueError):  # not a real file: only Python's own stream can be turned
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    try:
        os.dup2(sys.stderr.fileno(), number)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, number)
        os.close(kept)

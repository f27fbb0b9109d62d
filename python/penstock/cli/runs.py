"""`penstock runs`: the runs of a store, what is in one, and the end of one. Executes and unpickles nothing."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from penstock.cli.store_options import possible_path, store_option
from penstock.states import Cause, State

__all__ = ["runs"]


@click.group(invoke_without_command=True, short_help="List the runs of a store, show one, remove one.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def runs(context: click.Context, store: str, as_json: bool) -> None:
    """List the runs that a store has, the newest last. Safe while they run."""
    if context.invoked_subcommand is not None:
        context.obj = store
        return
    from penstock.journal.reading import RecordedRun, list_runs

    found: list[dict[str, Any]] = [
        _summary(entry)
        if isinstance(entry, RecordedRun)
        else {"run": number, "state": "unreadable", "problem": str(entry)}
        for number, entry in list_runs(store)
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo(f"there are no runs in {store}.")
        return
    rows = [("RUN", "PIPELINE", "STATE", "STARTED", "FINISHED TASKS")]
    for one in found:
        done = f"{one['tasks']['succeeded']} of {one['tasks']['all']}" if "tasks" in one else "-"
        rows.append((str(one["run"]), one.get("pipeline", "-"), one["state"], one.get("started", "-"), done))
    _print_table(rows)
    for one in found:
        if one.get("problem"):
            click.echo(f"run {one['run']}: {one['problem']}", err=True)


@runs.command(short_help="Show what happened in a run.")
@click.argument("number", metavar="RUN", type=click.IntRange(min=1))
@click.option("--store", metavar="PATH", callback=possible_path, help="As of `penstock runs`.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def show(context: click.Context, number: int, store: str | None, as_json: bool) -> None:
    """Show the tasks of a run: state, attempts, times, and the errors of those that failed. Safe while it runs."""
    from penstock.journal.reading import read_run

    run = read_run(store or context.obj, number)
    tasks = _tasks(run)
    summary = _summary(run)
    if as_json:
        click.echo(json.dumps({**summary, "tasks": tasks, "counts": summary["tasks"]}, indent=2))
        return
    click.echo(f"run {number}, {run.name}: {run.state}; started {summary['started']}, {len(run.sessions)} process(es)")
    if run.problem:
        click.echo(f"{run.problem} What follows is what was committed before.")
    rows = [("TASK", "STATE", "ATTEMPTS", "START", "RUN TIME", "FUNCTION")]
    for one in tasks:
        state = one["state"] if not one["taken_over"] else f"{one['state']} before"
        rows.append((one["task"], state, str(one["attempts"]), _s(one["start_s"]), _s(one["run_s"]), one["function"]))
    _print_table(rows)
    for one in tasks:
        if one["error"] and one["state"] == "failed":
            click.echo(f"\ntask '{one['task']}' failed\n{one['error']['traceback']}")


@runs.command(short_help="Remove runs and their results.")
@click.argument("numbers", metavar="RUN...", type=click.IntRange(min=1), nargs=-1, required=True)
@click.option("--store", metavar="PATH", callback=possible_path, help="As of `penstock runs`.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def rm(context: click.Context, numbers: tuple[int, ...], store: str | None, as_json: bool) -> None:
    """Remove runs with all that is stored of them. One that is running is not removed."""
    from penstock.journal.place import remove_run

    for number in numbers:
        remove_run(Path(store or context.obj), number)
        if not as_json:
            click.echo(f"removed run {number}.")
    if as_json:
        click.echo(json.dumps({"removed": list(numbers)}))


def _summary(run: Any) -> dict[str, Any]:
    counts = Counter(State(state).name.lower() for state in run.states.tolist())
    return {
        "run": run.number,
        "pipeline": run.name,
        "state": run.state,
        "started": datetime.datetime.fromtimestamp(run.started_at).astimezone().isoformat(" ", "seconds"),
        "target": run.target,
        "processes": len(run.sessions),
        "tasks": {"all": len(run.names), **{state.name.lower(): counts[state.name.lower()] for state in State}},
        "problem": run.problem,
    }


def _tasks(run: Any) -> list[dict[str, Any]]:
    indptr, indices = run.dependencies
    errors = {
        task: {"type": kind, "message": said, "traceback": text} for task, _, kind, said, text, _ in run.last.errors
    }
    columns = [run.states, run.causes, run.attempts, run.start_ns, run.finish_ns, run.cpu_ns, run.peak_memory]
    tasks = []
    for task, (state, cause, attempts, start, finish, cpu, memory) in enumerate(
        zip(*(c.tolist() for c in columns), strict=True)
    ):
        tasks.append(
            {
                "task": run.names[task],
                "function": run.functions[task],
                "state": State(state).name.lower(),
                "cause": None if cause == Cause.NONE else Cause(cause).name,
                "attempts": attempts,
                "taken_over": run.last.origins[task] is not None,
                "start_s": None if start < 0 else start / 1e9,
                "run_s": None if start < 0 or finish < start else (finish - start) / 1e9,
                "cpu_s": None if cpu < 0 else cpu / 1e9,
                "peak_memory": None if memory < 0 else memory,
                "after": [run.names[k] for k in indices[indptr[task] : indptr[task + 1]].tolist()],
                "error": errors.get(task),
            }
        )
    return tasks


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f} s"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

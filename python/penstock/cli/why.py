"""`penstock why`: ask a run that goes on in another process why a task of it is not running now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from penstock.errors import PenstockError, did_you_mean

if TYPE_CHECKING:
    from penstock.cli.live_runs import Answer

__all__ = ["why"]

_NAMED = 5  # how many runs a sentence lists before it counts the rest


@click.command(short_help="Say why a task of a live run is not running now.")
@click.argument("task", metavar="TASK")
@click.option("--run", "wanted", metavar="NAME|PID", help="Of which run: its pipeline's name, or its process.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def why(task: str, wanted: str | None, as_json: bool) -> None:
    """Say why TASK is not running now, or that it is, or how it ended.

    Asks the runs of this user that go on, if they were started by `penstock run` or `penstock resume` or keep a journal;
    where several have such a task, --run says which. Executes nothing and changes nothing.

    Exit status: 0 there is an answer, 2 there is none.
    """
    from penstock.cli.live_runs import ask_live_runs

    answer = _the_one(_of(ask_live_runs(task, wanted), wanted), task)
    if as_json:
        click.echo(json.dumps({"task": task, "why": answer.why, "run": answer.run}, indent=2))
    else:
        click.echo(answer.why)


def _of(answers: list[Answer], wanted: str | None) -> list[Answer]:
    """Return the answers of the runs that were asked for."""
    if not answers:
        raise PenstockError(
            "no run goes on that could be asked: only the same user can, until the run ends, one that `penstock run` or "
            "`penstock resume` has started or that keeps a journal. `penstock runs` lists what is recorded."
        )
    if wanted is None:
        return answers
    chosen = [answer for answer in answers if wanted in (str(answer.pid), answer.run.get("pipeline"))]
    if not chosen:
        near = did_you_mean(wanted, [answer.run["pipeline"] for answer in answers if answer.run])
        raise PenstockError(f"no run {wanted!r} goes on; there is {_listed(answers)}.{near}")
    return chosen


def _the_one(answers: Sequence[Answer], task: str) -> Answer:
    """Return the answer of the only run that has the task."""
    having = [answer for answer in answers if answer.why is not None]
    if len(having) > 1:
        raise PenstockError(
            f"task {task!r} is in several runs: {_listed(having)}; say which by --run, with its process."
        )
    silent = [answer for answer in answers if answer.problem]
    for answer in silent:
        if having:
            click.echo(f"penstock: {answer} was asked as well: {answer.problem}", err=True)
    if having:
        return having[0]
    lacking = [answer for answer in answers if not answer.problem]
    said = [f"{answer}: {answer.problem}." for answer in silent]
    if lacking:
        near = did_you_mean(task, dict.fromkeys(name for answer in lacking for name in answer.names))
        said.append(f"there is no task {task!r} in {_listed(lacking)}.{near}")
    raise PenstockError(" ".join(said))


def _listed(answers: Sequence[Answer]) -> str:
    shown = ", ".join(str(answer) for answer in answers[:_NAMED])
    return shown if len(answers) <= _NAMED else f"{shown} and {len(answers) - _NAMED} more"

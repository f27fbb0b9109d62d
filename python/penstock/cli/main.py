"""`penstock`: the group of verbs, and what becomes of errors.

Exit status: 0 all succeeded, 1 some task failed, 2 bad usage or bad pipeline, 130 interrupted.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from penstock._version import __version__
from penstock.errors import InternalError, PenstockError

__all__ = ["cli", "main"]

VERBS = {
    "run": "Run a pipeline and show how it went.",
    "resume": "Go on with a run that was broken off, or that failed.",
    "runs": "List the runs of a store, show one, remove one.",
    "why": "Say why a task of a live run is not running now.",
    "plan": "Show what a pipeline would do, without running it.",
    "simulate": "Play a workload under one or more policies in virtual time.",
    "compare": "Show whether dynamic scheduling pays on a workload.",
    "doctor": "Show what penstock sees of this machine.",
    "bench": "Compare the native core with pure Python on this machine.",
}
"""The verbs, in the order of the help text. Verb `x` is the command `x` in `penstock.cli.x`."""


class Verbs(click.Group):
    """Imports a verb's module on use, and turns a user's mistake into one line and exit status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        verb: click.Command = getattr(import_module(f"penstock.cli.{cmd_name}"), cmd_name)
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InternalError:
            raise  # our own bug: the traceback is what a report of it needs
        except PenstockError as error:
            click.echo(f"penstock: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("penstock: interrupted", err=True)
            ctx.exit(130)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="penstock %(version)s")
def cli() -> None:
    """Run ML pipelines; what starts next is decided by the machine's real load, priority and dependencies."""


def main() -> None:
    """Run the command line and exit with its status."""
    cli(prog_name="penstock")

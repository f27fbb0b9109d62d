"""The options of verbs that keep or read a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock.keeping import FOLDER
from penstock.pipeline_file import split_name

__all__ = ["beside", "keeping_options", "possible_path", "store_option"]

F = TypeVar("F", bound=Callable[..., Any])


def _usual() -> str:
    """Return where runs are kept when nothing is said: as PENSTOCK_STORE says, if that is a folder."""
    given = os.environ.get("PENSTOCK_STORE", "")
    return FOLDER if given in ("", "off") else given


def possible_path(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what no system can take for a path."""
    if value is not None and "\0" in value:
        raise click.BadParameter("a path cannot hold a null character.")
    return value


store_option = click.option(
    "--store",
    metavar="PATH",
    callback=possible_path,
    default=_usual,
    show_default="PENSTOCK_STORE, or .penstock",
    help="The folder in which runs are kept.",
)


def keeping_options(function: F) -> F:
    """Add what `run` and `resume` take about durability."""
    function = click.option(
        "--durability",
        type=click.Choice(["group", "each"]),
        default="group",
        show_default=True,
        help="What has finished is on the disk within 50 ms, or each task before what depends on it starts.",
    )(function)
    return click.option(
        "--on-store-error",
        type=click.Choice(["warn", "stop"]),
        default="warn",
        show_default=True,
        help="What a full disk, or a store that cannot be written, does to the run.",
    )(function)


def beside(target: str) -> str:
    """Return the store of a pipeline file: the folder `.penstock` beside it."""
    path, _ = split_name(target)
    return str(path.parent / FOLDER if str(path.parent) != "." else Path(FOLDER))

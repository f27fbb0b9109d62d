"""Values of command line options that more than one verb reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    _Parsed = click.ParamType[dict[str, object]]
else:
    _Parsed = click.ParamType  # not generic in the oldest version that we allow

__all__ = ["Limits", "limits_option", "plan_budget_option", "target_argument", "timeout_option"]


class Limits(_Parsed):
    """`cpu=0.8,memory=8GiB` as a dictionary. What each value means is for `resources.Limits.parse` to say."""

    name = "limits"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, object]:
        if isinstance(value, dict):
            return value
        limits: dict[str, object] = {}
        for part in str(value).split(","):
            name, equals, amount = (piece.strip() for piece in part.partition("="))
            if not (name and equals and amount):
                self.fail(f"{part.strip()!r} is no limit; write name=amount, as in cpu=0.8,memory=8GiB.", param, ctx)
            if name in limits:
                self.fail(f"{name!r} is limited twice; give each resource once.", param, ctx)
            limits[name] = amount
        return limits


target_argument = click.argument("target", metavar="FILE[:NAME]")

limits_option = click.option(
    "--limits",
    type=Limits(),
    metavar="NAME=AMOUNT,...",
    help="What may be in use at once: a share (cpu=0.8, memory=90%) or an amount (memory=8GiB, licence=2).",
)

plan_budget_option = click.option(
    "--plan-budget",
    type=float,
    metavar="SECONDS",
    help="Look for a good order for so long at most before the first task starts; 0: not at all. Default: 0.1.",
)

timeout_option = click.option("--timeout", metavar="TIME", help="End the run after so long, as in 90s, 30m or 8h.")

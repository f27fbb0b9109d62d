"""A plan as text, JSON, Graphviz and Mermaid."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from penstock.observe.text import amount_text, plural, span_text

if TYPE_CHECKING:
    from penstock.plan import Plan
    from penstock.resources import Limits

__all__ = ["FORMS"]

MOST_NAMES = 12
"""A level or a chain in the text names at most so many tasks and counts the rest."""


def as_text(plan: Plan, limits: Limits) -> str:
    """Return the plan for people."""
    tasks, depth = plural(len(plan.names), "task"), plural(len(plan.levels), "level")
    edges = plural(len(plan.edges), "dependency", "dependencies")
    lines = [f"{plan.name}: {tasks} on {depth}, {edges}"]
    if plan.levels:
        lines += ["", "level  tasks"]
        lines += [
            f"{number:>5}  {len(level):>5}  {_listed(plan, level, ', ')}" for number, level in enumerate(plan.levels, 1)
        ]
        lines += ["", _path_heading(plan), f"  {_listed(plan, plan.critical_path, ' -> ')}"]
    if plan.totals:
        lines += ["", *_demand_table(plan, limits)]
    if plan.never:
        lines += ["", f"{plural(len(plan.never), 'task')} can never start on this machine:"]
        lines += [f"  task '{plan.names[position]}' {problem}" for position, problem in plan.never]
    lines += [f"note: {note}" for note in limits.notes]
    return "\n".join(lines)


def as_json(plan: Plan, limits: Limits) -> str:
    """Return everything as JSON. Amounts are in milli-cores, bytes, bytes/s and milli-GPUs."""
    names = plan.names
    needs: list[list[str]] = [[] for _ in names]
    for before, after in plan.edges:
        needs[after].append(names[before])
    return json.dumps(
        {
            "pipeline": plan.name,
            "tasks": [
                {"name": name, "needs": needs[k], "duration_s": plan.durations[k], "demand": plan.demands[k]}
                for k, name in enumerate(names)
            ],
            "levels": [[names[k] for k in level] for level in plan.levels],
            "critical_path": [names[k] for k in plan.critical_path],
            "critical_path_s": plan.critical_path_s,
            "never_start": [{"task": names[k], "reason": problem} for k, problem in plan.never],
            "demand": dict(plan.totals),
            "widest_level": dict(plan.widest),
            "limits": dict(limits.amounts),
        },
        indent=2,
    )


def as_dot(plan: Plan, limits: Limits) -> str:
    """Return the plan as a Graphviz digraph; the critical path is drawn bold, what can never start in red."""
    critical, chain = set(plan.critical_path), _pairs(plan.critical_path)
    never = {position for position, _ in plan.never}
    lines = [f"digraph {_dot_text(plan.name)} {{", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    for position, name in enumerate(plan.names):
        looks = [f"label={_dot_text(name)}"]
        if position in critical:
            looks.append("penwidth=2.5")
        if position in never:
            looks.append("color=red")
        lines.append(f"  t{position} [{', '.join(looks)}];")
    lines += [
        f"  t{before} -> t{after}{' [penwidth=2.5]' if (before, after) in chain else ''};"
        for before, after in plan.edges
    ]
    return "\n".join((*lines, "}"))


def as_mermaid(plan: Plan, limits: Limits) -> str:
    """Return the plan as a Mermaid flowchart; the critical path has thick arrows, what can never start is red."""
    chain = _pairs(plan.critical_path)
    lines = ["flowchart LR"]
    lines += [f'  t{position}["{_mermaid_text(name)}"]' for position, name in enumerate(plan.names)]
    lines += [f"  t{before} {'==>' if (before, after) in chain else '-->'} t{after}" for before, after in plan.edges]
    if plan.never:
        lines.append("  classDef never stroke:#d00,color:#d00")
        lines.append(f"  class {','.join(f't{position}' for position, _ in plan.never)} never")
    return "\n".join(lines)


FORMS: dict[str, Callable[[Plan, Limits], str]] = {
    "text": as_text,
    "json": as_json,
    "dot": as_dot,
    "mermaid": as_mermaid,
}


def _listed(plan: Plan, positions: Sequence[int], between: str) -> str:
    names = [plan.names[position] for position in positions[:MOST_NAMES]]
    more = len(positions) - len(names)
    return between.join(names) + (f" and {more:,} more" if more > 0 else "")


def _path_heading(plan: Plan) -> str:
    if plan.critical_path_s is None:
        return f"critical path: {plural(len(plan.critical_path), 'task')} (no task has a duration=, so by their number)"
    unknown = sum(duration is None for duration in plan.durations)
    guess = f", {plural(unknown, 'task')} without duration= taken as average" if unknown else ""
    return f"critical path: {span_text(plan.critical_path_s)} (by duration={guess})"


def _demand_table(plan: Plan, limits: Limits) -> list[str]:
    rows = [("demand", "all tasks", "widest level", "limit")]
    rows += [
        (
            name,
            amount_text(name, total),
            amount_text(name, plan.widest[name]),
            amount_text(name, limits.amounts.get(name)),
        )
        for name, total in plan.totals.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _pairs(path: Sequence[int]) -> set[tuple[int, int]]:
    return set(pairwise(path))


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _mermaid_text(text: str) -> str:
    # In Mermaid a number or name between # and ; is a character; & and < would be read as HTML.
    return "".join(f"#{ord(sign)};" if sign in '#"&<>`' else sign for sign in text)

"""The figures as tables, in the README, and as one plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measures import PENSTOCK, need
from benchmarks.utilisation.cases import CASES

__all__ = ["draw", "store", "tables"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
OURS, THEIRS = "#1f6f8b", "#777777"


def tables(found: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Return a table for each case that was measured, with what a reader needs to judge it."""
    machine = (
        f"{environment['cpu']}, {environment['cores']} cores, {environment['memory_gib']} GiB, {environment['kernel']}"
    )
    parts = [f"{machine}, {environment['python']}, penstock {environment['packages']['penstock']}."]
    for name, case in CASES.items():
        if name not in found:
            continue
        record = found[name]
        rows = [
            "| | " + " | ".join(heading for _, heading, _ in case.columns) + " |",
            "|---" * (len(case.columns) + 1) + "|",
        ]
        left_out = []
        for side, outcome in record["sides"].items():
            if "figures" in outcome:
                cells = (style.format(outcome["figures"][key]) for key, _, style in case.columns)
                rows.append(f"| {side} | " + " | ".join(cells) + " |")
            else:
                left_out.append(f"- Left out: {side}; {outcome['absent']}.")
        scale = "" if record["scale"] == 1 else f" At {record['scale']:g} of the full size."
        table = "\n".join(rows)
        parts += [f"### {case.title}", table, "\n".join(left_out), f"{case.note} Measured {record['measured']}.{scale}"]
    return "\n\n".join(part for part in parts if part)


def store(text: str, readme: Path) -> None:
    """Put the tables between the marks of a file, or into a file of their own."""
    old = readme.read_text() if readme.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def draw(found: Mapping[str, Any], file: Path) -> None:
    """Draw one panel for each case, as SVG.

    Raises:
        Absent: matplotlib is not installed.
    """
    matplotlib = need("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 8})
    names = [name for name in CASES if name in found]
    figure = need("matplotlib.figure").Figure(figsize=(7.5, 1.5 * len(names)), layout="constrained")
    for axis, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        key, label = CASES[name].plotted
        values = {side: one["figures"][key] for side, one in found[name]["sides"].items() if "figures" in one}
        sides = list(reversed(values))
        colours = [OURS if side == PENSTOCK else THEIRS for side in sides]
        axis.scatter([values[side] for side in sides], sides, color=colours, zorder=2)
        axis.set(title=CASES[name].title, xlabel=label)
        if "logarithmic" in label:
            axis.set_xscale("log")
        else:
            axis.set_xlim(0, 1.08 * max(values.values()))
        axis.grid(alpha=0.3)
        axis.margins(y=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None, "Creator": None}, bbox_inches="tight")

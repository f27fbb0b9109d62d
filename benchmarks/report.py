"""Writes the report from stored figures: a Markdown file, the plots, and the part of the README between its markers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.measures import Absent
from benchmarks.plots import draw
from benchmarks.store import Record
from benchmarks.tables import case_section, environment_lines, goals_table

__all__ = ["between_markers", "redraw", "text"]

BEGIN, END = "<!-- measured: begin, written by python -m benchmarks -->", "<!-- measured: end -->"
TITLES = {
    "sides": "Cost of one task or node, by side",
    "latency": "From submit to result",
    "growth": "How the cost of a task grows from a thousand to ten million",
    "heap": "The heap alone, in C++",
    "scaling": "The core without Python, by threads",
}


def redraw(cases: Mapping[str, Record], folder: Path, readme: Path | None, say: Callable[[str], None]) -> None:
    """Write `folder`/measured.md and plots, and `readme`'s tables where one is given."""
    try:
        plots = draw(cases, folder)
    except Absent as absent:
        say(f"no plots: {absent}")
        plots = []
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "measured.md"
    page.write_text(f"# Measured\n\n{text(cases, plots, '')}\n")
    say(f"wrote {page.name}" + (f" and {', '.join(plots)}" if plots else ""))
    if readme is not None:
        readme.write_text(between_markers(readme.read_text(), text(cases, plots, f"{folder.name}/")))
        say(f"redrew the tables of {readme.name}")


def text(cases: Mapping[str, Record], plots: list[str], prefix: str) -> str:
    """The report; `prefix` leads to the folder of the plots."""
    known = {name: cases[name] for name in CASES if name in cases}
    images = [f"![{TITLES[Path(plot).stem]}]({prefix}{plot})" for plot in plots]
    sections = [case_section(CASES[name], record) for name, record in known.items()]
    return "\n\n".join([environment_lines(known), "### Goals", goals_table(known), *images, *sections])


def between_markers(page: str, inside: str) -> str:
    """Return the page with what stands between its markers replaced.

    Raises:
        ValueError: a marker is missing, or there is more than one.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the README should have each of these lines once: {BEGIN} and {END}")
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{inside}\n\n{END}{rest.partition(END)[2]}"

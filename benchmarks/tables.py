"""The figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cases.growth import BASELINE, PASSING, SIZES
from benchmarks.cases.growth import named as grown
from benchmarks.goals import GOALS
from benchmarks.measures import PENSTOCK, Case
from benchmarks.store import Record

__all__ = ["case_section", "environment_lines", "goals_table", "quantity", "thread_rows"]

GIB = 2**30


def goals_table(cases: Mapping[str, Record]) -> str:
    """The goals, and above them which of the figures are of less than the full size that the bounds are for."""
    smaller = [f"{name} ({record.data['scale']:g})" for name, record in cases.items() if record.data["scale"] < 1]
    rows = []
    for goal in GOALS:
        found, holds = goal.reached(cases)
        bound = f"{'at least' if goal.at_least else 'at most'} {goal.bound:g}{goal.unit}"
        shown = "not measured" if found is None else f"{found:.3g}{goal.unit}"
        rows.append((goal.what, bound, shown, "" if holds is None else "yes" if holds else "**no**"))
    table = _markdown(("goal", "bound", "measured", "holds"), rows)
    if not smaller:
        return table
    return f"The bounds are for the full size; these cases were measured at a share of it: {', '.join(smaller)}.\n\n{table}"


def case_section(case: Case, record: Record) -> str:
    """A case's heading, table, notes and what was left out."""
    make = {
        "readiness": _readiness, "memory": _memory, "latency": _latency, "growth": _growth, "idle": _idle,
        "native-heap": _native_heap, "scaling": _scaling,
    }.get(case.name, _rates)  # fmt: skip
    scale = "" if record.data["scale"] == 1 else f"At {record.data['scale']:g} of the full size."
    parts = [f"### {case.title}", make(case, record) if record.sides else ""]
    parts.append(f"{case.note} {scale}".strip())
    if record.left_out:
        parts.append("\n".join(f"- Left out: {name}; {why}." for name, why in record.left_out.items()))
    return "\n\n".join(part for part in parts if part)


def environment_lines(cases: Mapping[str, Record]) -> str:
    """Where and with what the figures were taken; once for all cases that share it."""
    of: dict[str, list[str]] = {}
    for name, record in cases.items():
        of.setdefault(_environment(record.data["environment"], record.data["measured"]), []).append(name)
    if len(of) == 1:
        return next(iter(of))
    return "\n\n".join(f"{', '.join(names)}: {text}" for text, names in of.items())


def thread_rows(record: Record) -> dict[str, dict[int, float]]:
    """The scaling program's rows: operation, then threads, then million operations a second."""
    found: dict[str, dict[int, float]] = {}
    for row, value in record.rows(PENSTOCK).items():
        operation, _, threads = row.rpartition(" @ ")
        found.setdefault(operation, {})[int(threads)] = value
    return found


def quantity(seconds: float) -> str:
    """A time of three digits, in its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _environment(data: Mapping[str, Any], measured: str) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in data["packages"].items() if version)
    kind = "virtual, " if data["virtual"] else ""
    gil = "" if data["gil"] else ", free-threaded"
    return (
        f"Measured on {measured}: {data['cpu']}, {kind}{data['cores']} cores, {data['memory_gib']} GiB, frequency governor"
        f" {data['governor']}; {data['kernel']}; {data['python']}{gil}, switch interval"
        f" {1000 * data['switch_interval_s']:g} ms; C++ compiler {data['compiler']}; {packages}."
    )


def _rates(case: Case, record: Record) -> str:
    base = record.sides[0] if record.sides else PENSTOCK
    rows = []
    for side in record.sides:
        each, ratio = record.each_s(side), record.faster(base, side)
        if each is None or ratio is None:
            continue
        amount = record.median(side, "amount")
        rows.append(
            (side, f"{amount:,.0f}", quantity(each), f"{1 / each:,.0f}", f"{record.spread(side):.2f}", _times(ratio))
        )
    unit = case.unit
    many = "entries" if unit == "entry" else f"{unit}s"
    return _markdown(("side", many, f"for one {unit}", "a second", "slowest/fastest round", f"{base} is"), rows)


def _readiness(case: Case, record: Record) -> str:
    rows = []
    for side in record.sides:
        each = record.each_s(side)
        build, drain, amount = (record.median(side, figure) for figure in ("build_s", "drain_s", "amount"))
        ratio = record.faster(PENSTOCK, side)
        if each is None or build is None or drain is None or ratio is None:
            continue
        rows.append((side, f"{amount:,.0f}", quantity(build), quantity(drain), quantity(each), _times(ratio)))
    return _markdown(("side", "nodes", "build", "drain", "a node", f"{PENSTOCK} is"), rows)


def _memory(case: Case, record: Record) -> str:
    rows = []
    for side in record.sides:
        nodes, edges, resident, peak = (
            record.median(side, figure) or 0.0 for figure in ("nodes", "edges", "resident_bytes", "peak_bytes")
        )
        sizes = (f"{resident / nodes:.1f} B", f"{peak / nodes:.1f} B") if nodes else ("", "")
        rows.append((side, f"{nodes:,.0f}", f"{edges:,.0f}", *sizes))
    return _markdown(("graph", "nodes", "edges", "resident a node", "peak a node"), rows)


def _latency(case: Case, record: Record) -> str:
    base = record.median(PENSTOCK, "p50_us")
    rows = []
    for side in record.sides:
        p50, p90, p99 = (record.median(side, figure) for figure in ("p50_us", "p90_us", "p99_us"))
        if p50 is None or p90 is None or p99 is None:
            continue
        ratio = _times(p50 / base) if base else ""
        rows.append((side, *(quantity(value / 1e6) for value in (p50, p90, p99)), ratio))
    return _markdown(("side", "median", "90 %", "99 %", f"{PENSTOCK} is, by the median"), rows)


def _growth(case: Case, record: Record) -> str:
    rows = []
    for size in SIZES:
        row = [f"{size:,}"]
        for name in (PENSTOCK, PASSING, BASELINE):
            each = record.each_s(grown(name, size))
            row.append("" if each is None else quantity(each))
        for figure in ("resident_bytes", "peak_bytes"):
            found = record.median(grown(PENSTOCK, size), figure)
            row.append("" if found is None else f"{found / size:.0f} B, {found / GIB:.2f} GiB")
        if any(row[1:]):
            rows.append(tuple(row))
    heads = (
        "tasks",
        *(f"a task, {name}" for name in (PENSTOCK, PASSING, BASELINE)),
        "resident a task, in all",
        "peak a task, in all",
    )
    return _markdown(heads, rows)  # fmt: skip


def _idle(case: Case, record: Record) -> str:
    rows = []
    for side in record.sides:
        figures = record.data["rounds"][side][0]
        threads = figures["switches_by_thread"]
        shown = ", ".join(f"{name} {n}" for name, n in sorted(threads.items(), key=lambda item: -item[1])[:4])
        share = 100 * figures["cpu_s"] / figures["watched_s"]
        rows.append((side, f"{figures['watched_s']} s", f"{share:.3f} %", f"{figures['switches']}", shown))
    return _markdown(("side", "watched", "processor time", "wake-ups", "by thread"), rows)


def _native_heap(case: Case, record: Record) -> str:
    of_side = {side: record.rows(side) for side in record.sides}
    ours = of_side.get(PENSTOCK, {})
    others = [side for side in of_side if side != PENSTOCK and of_side[side]]
    rows = []
    for row, value in ours.items():
        theirs = [of_side[side].get(row) for side in others]
        cells = ["" if other is None else f"{other:.1f} ({_times(value / other)})" for other in theirs]
        rows.append((row, f"{value:.1f}", *cells))
    return _markdown(("work", PENSTOCK, *(f"{side} ({PENSTOCK} is)" for side in others)), rows)


def _scaling(case: Case, record: Record) -> str:
    found = thread_rows(record)
    threads = sorted({n for values in found.values() for n in values})
    rows = [
        (operation, *(f"{values[n]:.2f} ({_times(values[n] / values[1])})" if n in values else "" for n in threads))
        for operation, values in found.items()
    ]
    return _markdown(("work", *(f"{n} thread{'s' * (n > 1)}" for n in threads)), rows)


def _times(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join('---' if not k else '---:' for k in range(len(heads)))}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])

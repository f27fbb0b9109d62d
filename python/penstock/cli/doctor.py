"""`penstock doctor`: what penstock sees of this machine, what it cannot see and why, and what is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["doctor"]

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the report; `notes` are sentences below it."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: Sequence[str] = ()


@click.command(short_help="Show what penstock sees of this machine.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(as_json: bool) -> None:
    """Show each signal of the machine: its value, or that it is unknown and why; each disk, link and GPU by itself, plug-in
    probes, versions and optional parts.

    Exit status: 0.
    """
    from penstock.cli.checkup import checkup

    facts = checkup()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    sections = list(_sections(facts))
    if sys.stdout.isatty():
        from rich.console import Console

        _show(sections, Console())
    else:
        click.echo("\n\n".join(_plain(section) for section in sections))


def _sections(facts: Facts) -> Iterator[Section]:
    yield _versions(facts["versions"])
    yield _signals(facts["signals"])
    yield _pressure(facts["pressure"])
    yield _cpus(facts["cpus"])
    yield _disks(facts["disks"], facts["signals"]["disk"])
    yield _links(facts["links"], facts["signals"]["network"])
    yield from _gpus(facts["gpus"])
    yield _plugins(facts["plugins"])
    yield _cgroup(facts["cgroup"])
    yield Section(
        "Executors",
        ("executor", "", "note"),
        [(one["name"], "available" if one["available"] else "missing", one["note"]) for one in facts["executors"]],
    )
    yield _extras(facts["extras"])


def _versions(versions: Facts) -> Section:
    rows = [(name, versions[name]) for name in ("penstock", "core", "python", "platform")]
    rows += [(name, version or "not installed") for name, version in versions["packages"].items()]
    return Section("Versions", ("what", "version"), rows)


def _signals(signals: Facts) -> Section:
    rows, notes = [], []
    for name, signal in signals.items():
        has, used, ours = signal["capacity"], signal["in_use"], signal["ours"]
        rows.append((name, has["text"], used["text"], ours["text"], has["source"], used["source"]))
        notes += [
            f"{name}, {what}: {reading['why']}."
            for what, reading in (("there is", has), ("in use", used), ("ours", ours))
            if reading["why"]
        ]
    head = ("signal", "there is", "in use", "ours", "source of what there is", "source of use")
    return Section("Machine", head, rows, notes)


def _pressure(pressure: Facts) -> Section:
    rows = [(kind, reading["text"], reading["source"]) for kind, reading in pressure.items()]
    notes = [f"{kind}: {reading['why']}." for kind, reading in pressure.items() if reading["why"]]
    return Section("Pressure (share of the time in which some task stalled)", ("kind", "now", "source"), rows, notes)


def _cgroup(cgroup: Facts) -> Section:
    rows = [
        (f"{signal} group", f"v{group['version']} {group['path']}", group["directory"])
        for signal, group in cgroup["groups"].items()
    ]
    rows.append(("memory limit", cgroup["memory_limit"]["text"], ""))
    caps = cgroup["memory_caps"]
    rows.append(("memory_limit= of tasks", caps["text"], caps["directory"] or ""))
    notes = [f"No group for an attempt: {caps['no_group']}."] if caps["no_group"] else []
    return Section("Control group", ("what", "value", "directory"), rows, notes)


def _cpus(cpus: Facts) -> Section:
    affinity, counts = cpus["affinity"], cpus["counts_as"]
    rows = [
        ("CPUs", cpus["there_are"]["text"], cpus["there_are"]["source"]),
        ("ours (affinity)", affinity["text"], affinity["source"]),
    ]
    for quota in cpus["quotas"]:
        throttled = quota["throttled_periods"]
        held = "" if throttled is None else f", throttled in {throttled} periods"
        rows.append(("quota", quota["text"], f"cgroup {quota['group']}{held}"))
    if not cpus["quotas"]:
        rows.append(("quota", "none", ""))
    rows.append(("counts as", counts["text"], counts["source"]))
    whys = (("CPUs", cpus["there_are"]), ("ours", affinity), ("counts as", counts))
    return Section(
        "CPU", ("what", "value", "source"), rows, [f"{what}: {of['why']}." for what, of in whys if of["why"]]
    )


def _disks(disks: list[Facts], whole: Facts) -> Section:
    rows = [(disk["name"], *(disk[key]["text"] for key in ("bytes", "queue", "latency"))) for disk in disks]
    notes = _whys(disks, (("traffic", "bytes"), ("queue", "queue"), ("latency", "latency")))
    if not disks:
        notes = [_nothing_apart("disk", whole)]
    return Section("Disks", ("disk", "read and written", "requests in flight", "latency"), rows, notes)


def _links(links: list[Facts], whole: Facts) -> Section:
    keys = ("received", "sent", "speed", "in_use")
    rows = [(link["name"], *(link[key]["text"] for key in keys)) for link in links]
    notes = _whys(links, (("received", "received"), ("sent", "sent"), ("speed", "speed")))
    if not links:
        notes = [_nothing_apart("link", whole)]
    return Section("Network", ("link", "received", "sent", "speed", "of its speed in use"), rows, notes)


def _nothing_apart(kind: str, whole: Facts) -> str:
    return (
        f"No {kind} can be told apart: {whole['in_use']['why'] or whole['in_use']['source'] + ' gives only their sum'}."
    )


def _whys(devices: list[Facts], columns: Sequence[tuple[str, str]], name: str = "name") -> list[str]:
    """Return a sentence for each reading of each device that is unknown."""
    return [
        f"{device[name]}, {what}: {device[key]['why']}."
        for device in devices
        for what, key in columns
        if device[key]["why"]
    ]


def _gpus(gpus: list[Facts]) -> Iterator[Section]:
    """Yield the GPUs and, where there are any, the processes on them."""
    if not gpus:
        return
    rows, processes, notes = [], [], []
    for gpu in gpus:
        memory = f"{gpu['memory_in_use']['text']} of {gpu['memory']['text']}"
        kind = f"{gpu['name']} (slice)" if gpu["slice"] else gpu["name"]
        rows.append((str(gpu["index"]), kind, gpu["uuid"], memory, gpu["busy"]["text"]))
        on_it = gpu["processes"]
        processes += [
            (gpu["uuid"], str(one["pid"]), one["name"] or "unknown", one["text"]) for one in on_it["value"] or ()
        ]
        if on_it["why"]:
            notes.append(f"{gpu['uuid']}: {on_it['why']}.")
    columns = (("memory", "memory"), ("memory in use", "memory_in_use"), ("busy", "busy"))
    head = ("index", "model", "UUID", "memory in use", "busy")
    yield Section("GPUs", head, rows, _whys(gpus, columns, "uuid"))
    numbers = gpus[0]["processes"]["numbers"]
    if numbers != "ours":
        notes.append(f"The numbers are {numbers}: which of them belong to tasks is unknown.")
    if not processes and not notes:
        notes = ["No process computes on a GPU."]
    yield Section("Processes on GPUs", ("UUID", "process", "name", "memory"), processes, notes)


def _plugins(plugins: list[Facts]) -> Section:
    rows, notes = [], []
    for plugin in plugins:
        reading = plugin["in_use"]
        if reading is None:
            rows.append((plugin["entry"], "left out", "", ""))
            notes.append(f"{plugin['entry']}: {plugin['problem']}.")
        else:
            rows.append((plugin["entry"], plugin["resource"], reading["text"], reading["source"]))
            notes += [f"{plugin['resource']}, in use: {reading['why']}."] if reading["why"] else []
    if not plugins:
        notes = ["None is installed: no package has an entry point of the group penstock.probes."]
    return Section("Plug-in probes", ("entry point", "resource", "in use", "source"), rows, notes)


def _extras(extras: list[Facts]) -> Section:
    rows = []
    for extra in extras:
        if extra["available"]:
            rows.append((extra["name"], "installed", ""))
        else:
            how = f"needs {', '.join(extra['missing'])}: pip install 'penstock[{extra['name']}]'"
            rows.append((extra["name"], "missing", how))
    notes = [] if extras else ["penstock runs from a source tree, which does not record its optional parts."]
    return Section("Optional parts", ("extra", "", "note"), rows, notes)


def _plain(section: Section) -> str:
    """Return a section as aligned text."""
    table: list[tuple[str, ...]] = [section.head, *section.rows] if section.rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [section.title]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return "\n".join([*lines, *(f"  {note}" for note in section.notes)])


def _show(sections: list[Section], console: Console) -> None:
    """Print the sections as tables for a terminal."""
    from rich.table import Table
    from rich.text import Text

    for section in sections:
        console.print(Text(section.title, style="bold"))
        if section.rows:
            table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
            for number, name in enumerate(section.head):
                table.add_column(name, overflow="fold", style="cyan" if number == 0 else None)
            for row in section.rows:
                table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
            console.print(table)
        for note in section.notes:
            console.print(Text(note, style="dim"))
        console.print()


def _style(cell: str) -> str:
    return "yellow" if cell in ("unknown", "missing", "not installed", "left out") else ""

"""What `penstock doctor` finds out of each device by itself: CPUs, disks, network links, GPUs; and of plug-in probes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from penstock.cli.facts import Facts, amount_of, facts_of, share_of
from penstock.probes.gpu import GpuProbe, GpuUse
from penstock.probes.machine import Machine
from penstock.probes.network import LinkUse
from penstock.probes.plugins import Plugin
from penstock.probes.reading import Reading
from penstock.probes.sample import Sample
from penstock.resources import format_amount

__all__ = ["cpus", "disks", "gpus", "links", "plugins"]


def cpus(machine: Machine) -> Facts:
    """Return how many CPUs there are, which we may run on, what quotas hold us, and what counts in the end."""
    source = "os.cpu_count"
    count = os.cpu_count()
    there_are = Reading.unknown("the system does not say", source) if count is None else Reading.of(count, source)
    ours = None if machine.cpus is None else sorted(machine.cpus)
    return {
        "there_are": facts_of(there_are, str),
        "affinity": {
            "value": ours,
            "text": "unknown" if ours is None else _ranges(ours),
            "source": "sched_getaffinity",
            "why": "" if ours is not None else "this system has no CPU affinity; affinity=True changes nothing here",
        },
        "quotas": [
            {
                "group": f"v{group.version} {group.path}",
                "value": quota,
                "text": format_amount("cpu", quota),
                "throttled_periods": group.throttled(),
            }
            for group in machine.groups.cpu
            if (quota := group.cpu_quota()) is not None
        ],
        "counts_as": amount_of("cpu", machine.has["cpu"]),
    }


def disks(sample: Sample) -> list[Facts]:
    """Return what each disk does: bytes a second, requests in flight, and microseconds from a request's start to its end."""
    return [
        {
            "name": disk.name,
            "bytes": amount_of("disk", disk.bytes),
            "queue": facts_of(disk.queue, lambda value: f"{value / 1000:.2f}"),
            "latency": facts_of(disk.latency, lambda us: f"{us} µs" if us < 1000 else f"{us / 1000:.2f} ms"),
        }
        for disk in sample.disks
    ]


def links(sample: Sample) -> list[Facts]:
    """Return what each link does, beside its speed; `in_use` is its busier way's share of that, in thousandths."""
    return [
        {
            "name": link.name,
            "received": amount_of("network", link.received),
            "sent": amount_of("network", link.sent),
            "speed": amount_of("network", link.speed),
            "in_use": share_of(_share_in_use(link)),
        }
        for link in sample.links
    ]


def gpus(machine: Machine, sample: Sample, *, named: bool) -> list[Facts]:
    """Return each GPU with what is in use of it, and by which processes.

    Args:
        named: the numbers that NVML gives processes are those that we know.
    """
    uses = {use.uuid: use for use in sample.gpus}
    gone = Reading.unknown("it went away while we looked", "NVML")
    found = []
    for gpu in machine.gpus:
        use = uses.get(gpu.uuid) or GpuUse(gpu.uuid, gone, gone, gone)
        found.append(
            {
                "index": gpu.index,
                "uuid": gpu.uuid,
                "name": gpu.name,
                "slice": gpu.is_slice,
                "memory": amount_of("gpu_memory", gpu.memory),
                "memory_in_use": amount_of("gpu_memory", use.memory),
                "busy": share_of(use.busy),
                "processes": _processes(machine, use, named=named),
            }
        )
    return found


def plugins(found: Sequence[Plugin], sample: Sample) -> list[Facts]:
    """Return each plug-in with what its probe reads, or with what is wrong with it."""
    facts = []
    for plugin in found:
        name = None if plugin.probe is None else plugin.probe.name
        reading = None if name is None else sample.uses[name].total
        facts.append(
            {
                "entry": plugin.entry,
                "resource": name,
                "in_use": None if name is None or reading is None else amount_of(name, reading),
                "problem": plugin.problem,
            }
        )
    return facts


def _share_in_use(link: LinkUse) -> Reading:
    speed, ways = link.speed, [link.received, link.sent]
    if speed.value is None:
        return speed
    for way in ways:
        if way.value is None:
            return way
    busier = max(ways, key=lambda way: way.value or 0)
    return Reading.of(1000 * (busier.value or 0) // speed.value, busier.source, busier.at)


def _processes(machine: Machine, use: GpuUse, *, named: bool) -> Facts:
    """Return the processes on a GPU; without names where NVML's numbers are not those that we know."""
    on_it = use.processes
    each = [
        {
            "pid": pid,
            "name": _name(machine, pid) if named else None,
            "memory": memory,
            "text": "unknown" if memory is None else format_amount("gpu_memory", memory),
        }
        for pid, memory in on_it or ()
    ]
    return {
        "value": None if on_it is None else each,
        "text": "unknown" if on_it is None else str(len(each)),
        "source": GpuProbe.source,
        "why": "NVML does not list the processes" if on_it is None else "",
        "numbers": "ours" if named else "the host's, not those in this container",
    }


def _name(machine: Machine, pid: int) -> str | None:
    try:
        return (machine.root / f"proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended
        return None


def _ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as the kernel writes CPU lists: '0-3,8'."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

"""Probes from other packages: entry points of the group `penstock.probes`.

An entry point names something that, called without arguments, makes a `Probe`: usually its class. The probe's own name is
that of the custom resource which it measures, and its readings are how much of that is in use, by us or anyone, in
thousandths: `Reading.of(3000, "the licence server")` is three licences. What is wrong with a plug-in is told, by
`penstock doctor` and the log, and harms nothing else.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

from penstock.probes.reading import Probe
from penstock.resources import RESOURCES

__all__ = ["GROUP", "Plugin", "load_plugins", "plugin_probes"]

GROUP = "penstock.probes"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_log = logging.getLogger("penstock.probes")
_lock = threading.Lock()
_told: set[str] = set()  # entry points whose problem has been logged


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point, and what came of it.

    Attributes:
        entry: as its package declares it: 'licence = mypackage.probes:LicenceProbe'.
        probe: a new probe, or None.
        problem: why there is none, a clause without a full stop; empty when there is one.
    """

    entry: str
    probe: Probe | None
    problem: str = ""


def load_plugins(points: Iterable[metadata.EntryPoint] | None = None) -> list[Plugin]:
    """Return the plug-ins that are installed, each with a probe of its own or with what is wrong with it.

    Args:
        points: the entry points; None for those of the packages that were installed when this process first asked.
    """
    taken: set[str] = set()
    found = []
    for point in _installed(tuple(sys.path)) if points is None else points:
        entry = f"{point.name} = {point.value}"
        try:
            probe = point.load()()
            name = probe.name
        except Exception as error:  # noqa: BLE001  whatever someone else's code raises
            found.append(Plugin(entry, None, f"it cannot be made: {type(error).__name__}: {error}"))
            continue
        problem = _problem_of(name, probe, taken)
        taken.add(str(name))
        found.append(Plugin(entry, None if problem else probe, problem))
    return found


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """Entry points of the packages on `sys.path`. Kept, since each run asks, and every package's files are read for it."""
    return tuple(metadata.entry_points(group=GROUP))


def plugin_probes() -> list[Probe]:
    """Return a probe of each plug-in that can be used; what is wrong with others is logged once."""
    probes = []
    for plugin in load_plugins():
        if plugin.probe is not None:
            probes.append(plugin.probe)
            continue
        with _lock:
            first = plugin.entry not in _told
            _told.add(plugin.entry)
        if first:
            _log.warning("the probe %r of the group %s is left out: %s", plugin.entry, GROUP, plugin.problem)
    return probes


def _problem_of(name: object, probe: object, taken: set[str]) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"its name {name!r} is no name of a resource"
    if name in RESOURCES:
        return f"penstock measures {name!r} itself; a plug-in measures a custom resource"
    if name in taken:
        return f"another plug-in measures {name!r} already"
    if not callable(getattr(probe, "read", None)):
        return "it has no method read(now_ns)"
    return ""

"""Probes that other packages bring."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from penstock.probes.machine import Machine
from penstock.probes.plugins import GROUP, load_plugins, plugin_probes
from penstock.probes.reading import Reading
from penstock.probes.sample import Collector


class Licences:
    name = "licence"

    def read(self, now_ns: int) -> Reading:
        return Reading.of(3000, "the licence server", now_ns)


class Nameless:
    name = "two words"


class Disk(Licences):
    name = "disk"


class Mute:
    name = "mute"


def broken() -> None:
    raise ConnectionError("no licence server")


def point(name: str, target: str = "") -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{target or name}", GROUP)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Licences.__module__])


def test_an_entry_point_gives_a_probe_of_its_own_each_time() -> None:
    (first,), (second,) = load_plugins([point("Licences")]), load_plugins([point("Licences")])
    assert first.problem == ""
    assert first.probe is not None
    assert first.probe.name == "licence"
    assert first.probe is not second.probe


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent", "it cannot be made: AttributeError"),
        ("broken", "it cannot be made: ConnectionError: no licence server"),
        ("Nameless", "its name 'two words' is no name of a resource"),
        ("Disk", "penstock measures 'disk' itself; a plug-in measures a custom resource"),
        ("Mute", "it has no method read(now_ns)"),
    ],
)
def test_a_plug_in_that_cannot_be_used_says_why_and_harms_no_other(name: str, problem: str) -> None:
    bad, good = load_plugins([point(name), point("Licences")])
    assert bad.probe is None
    assert bad.problem.startswith(problem)
    assert bad.entry == f"{name} = {__name__}:{name}"
    assert good.probe is not None


def test_two_plug_ins_for_one_resource_are_one_and_a_problem() -> None:
    first, second = load_plugins([point("Licences"), point("again", "Licences")])
    assert first.probe is not None
    assert second.problem == "another plug-in measures 'licence' already"


def test_an_installed_package_is_found_and_its_problem_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "queue_depth.py").write_text(
        "from penstock.probes.reading import Reading\n"
        "class Probe:\n"
        "    name = 'queue'\n"
        "    def read(self, now_ns):\n"
        "        return Reading.of(5000, 'the queue', now_ns)\n"
    )
    info = tmp_path / "queue_depth-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: queue-depth\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nqueue = queue_depth:Probe\nbad = queue_depth:Missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with caplog.at_level(logging.WARNING, "penstock.probes"):
        collector = Collector(Machine.detect(), plugins=plugin_probes)
        assert collector.collect().uses["queue"].total.value == 5000
        assert [probe.name for probe in plugin_probes()] == ["queue"]
    assert len(caplog.records) == 1
    assert "bad = queue_depth:Missing" in caplog.text

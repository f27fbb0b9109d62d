"""`penstock doctor` as a user sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from penstock.cli.doctor import doctor
from penstock.probes.machine import Machine
from penstock.resources import RESOURCES

TITLES = (
    "Versions", "Machine", "Pressure", "CPU\n", "Disks", "Network", "Plug-in probes", "Control group", "Executors", "Optional parts",
)  # fmt: skip


def test_the_report_has_every_section_in_order_and_ends_well() -> None:
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 0
    places = [result.output.index(title) for title in TITLES]
    assert places == sorted(places)


def test_the_report_without_a_terminal_is_plain_aligned_text() -> None:
    lines = CliRunner().invoke(doctor).output.splitlines()
    assert "\x1b" not in "".join(lines)
    head = next(line for line in lines if line.startswith("  signal"))
    start = lines.index(head)
    rows = lines[start + 1 : start + 1 + len(RESOURCES)]
    assert [row.split()[0] for row in rows] == list(RESOURCES)
    for column in ("there is", "in use", "ours", "source of use"):
        place = head.index(column)
        assert all(row[place] != " " and row[place - 1] == " " for row in rows), column


def test_every_unknown_in_the_table_has_its_reason_below() -> None:
    signals = json.loads(CliRunner().invoke(doctor, ["--json"]).output)["signals"]
    output = CliRunner().invoke(doctor).output
    for name, signal in signals.items():
        if signal["capacity"]["why"]:
            assert f"{name}, there is: {signal['capacity']['why']}." in output


def test_json_holds_all_the_facts_and_ends_well() -> None:
    result = CliRunner().invoke(doctor, ["--json"])
    assert result.exit_code == 0
    facts = json.loads(result.output)
    assert set(facts) == {
        "versions", "signals", "cpus", "disks", "links", "gpus", "plugins", "pressure", "cgroup", "executors", "extras",
    }  # fmt: skip
    assert set(facts["signals"]) == set(RESOURCES)
    assert [one["name"] for one in facts["executors"]] == ["threads", "processes", "commands"]


def test_the_devices_of_a_recorded_machine_are_shown_one_a_line_with_what_is_unknown_of_them(
    devices: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "detect", lambda: devices)
    lines = CliRunner().invoke(doctor).output.splitlines()
    told = {" ".join(line.split()) for line in lines}
    assert {
        f"CPUs {os.cpu_count()} os.cpu_count",
        "quota 1.5 cgroup v2 /a.slice, throttled in 3 periods",
        "sdb 0B/s 0.00 unknown",
        "sdb, latency: no request ended in the window.",
        "eth1 0B/s 0B/s unknown unknown",
        "eth1, speed: the driver of eth1 does not give its speed.",
        "0 NVIDIA H100 80GB HBM3 GPU-a 40GiB of 80GiB 37 %",
        "GPU-a 4242 trainer 30GiB",
        "GPU-a 4243 unknown unknown",
        "GPU-b: NVML does not list the processes.",
        "licence = somewhere:Licences licence 3 the licence server",
        "broken = somewhere:nothing left out",
    } <= told
    assert any(line.startswith("broken = somewhere:nothing: it cannot be made: ") for line in told)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_the_report_is_coloured() -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", "from penstock.cli.doctor import doctor; doctor()"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        pieces = []
        while piece := _read(ours):
            pieces.append(piece)
        assert process.wait(timeout=60) == 0
    os.close(ours)
    output = b"".join(pieces).decode()
    assert "\x1b[1m" in output
    assert all(title.strip() in output for title in TITLES)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says EIO when the other side is closed
        return b""

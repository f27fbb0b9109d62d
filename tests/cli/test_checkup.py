"""What the doctor finds out, on this machine and on recorded ones."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.conftest import Record

from penstock.cli.checkup import checkup
from penstock.probes.machine import Machine
from penstock.resources import RESOURCES


def readings(facts: object) -> list[dict[str, object]]:
    """Return every reading in the facts, wherever it is."""
    if isinstance(facts, dict):
        if "why" in facts:
            return [facts]
        return [reading for part in facts.values() for reading in readings(part)]
    if isinstance(facts, list):
        return [reading for part in facts for reading in readings(part)]
    return []


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A machine with an NVIDIA driver."""
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")
    return tmp_path


def test_every_reading_is_a_value_or_unknown_with_a_reason() -> None:
    facts = checkup()
    found = readings(facts)
    assert len(found) >= 3 * len(RESOURCES) + 3
    check(found)


def test_every_reading_of_a_recorded_machine_is_a_value_or_unknown_with_a_reason(devices: Machine) -> None:
    check(readings(checkup(devices)))


def check(found: list[dict[str, object]]) -> None:
    for reading in found:
        assert (reading["value"] is None) == (reading["text"] == "unknown") == bool(reading["why"]), reading
        assert reading["source"]


def test_rates_have_values_after_one_look() -> None:
    signals = checkup()["signals"]
    assert signals["cpu"]["in_use"]["value"] is not None
    assert signals["cpu"]["ours"]["value"] is not None
    assert signals["memory"]["in_use"]["value"] > 0


def test_the_facts_are_ready_for_json() -> None:
    facts = checkup()
    assert json.loads(json.dumps(facts)) == facts


def test_a_quota_and_a_group_are_reported(record: Record) -> None:
    root = record(
        {
            "proc/self/cgroup": "0::/a.slice\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/a.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/a.slice/cpu.stat": "usage_usec 5\nnr_throttled 3\n",
            "sys/fs/cgroup/a.slice/memory.max": "1073741824\n",
        }
    )
    cgroup = checkup(Machine.detect(root))["cgroup"]
    assert cgroup["groups"]["cpu"]["path"] == "/a.slice"
    assert cgroup["cpu_quota"] == {"value": 1500, "text": "1.5"}
    assert cgroup["memory_limit"] == {"value": 1024**3, "text": "1GiB"}
    assert cgroup["throttled_periods"] == 3
    assert cgroup["memory_caps"] == {
        "by_group": False,
        "text": "each process by itself, all together by the guard",
        "directory": None,
        "no_group": f"groups made in {root}/sys/fs/cgroup/a.slice have no memory controller",
    }


def test_a_driver_without_the_package_names_the_extra(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    facts = checkup(Machine.detect(driver))
    assert facts["gpus"] == []
    assert facts["signals"]["gpu"]["capacity"]["why"].endswith("pip install 'penstock[gpu]'")


def test_gpus_are_reported_with_model_memory_and_use(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMigMode=lambda device: [0, 0],
        nvmlDeviceGetUUID=lambda device: "GPU-a",
        nvmlDeviceGetName=lambda device: "NVIDIA L4",
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=24 * 1024**3, used=1024**3),
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=37),
        nvmlDeviceGetComputeRunningProcesses=lambda device: [],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (gpu,) = checkup(Machine.detect(driver))["gpus"]
    assert (gpu["uuid"], gpu["name"], gpu["slice"]) == ("GPU-a", "NVIDIA L4", False)
    assert gpu["memory"]["text"] == "24GiB"
    assert gpu["memory_in_use"]["text"] == "1GiB"
    assert gpu["busy"]["text"] == "37 %"


def test_a_core_that_cannot_be_imported_is_reported_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "penstock._core", None)
    facts = checkup()
    assert facts["versions"]["core"].startswith("cannot be imported: ")
    threads = facts["executors"][0]
    assert (threads["name"], threads["available"]) == ("threads", False)


def test_an_extra_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    lines = ["click>=8.1", "pytest>=8; extra == 'test'", "no-such-package-at-all>=1; extra == 'gpu'"]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    facts = checkup()
    assert facts["extras"] == [
        {"name": "test", "available": True, "missing": []},
        {"name": "gpu", "available": False, "missing": ["no-such-package-at-all"]},
    ]
    assert facts["versions"]["packages"] == {"click": metadata.version("click")}


def test_each_disk_and_each_link_is_told_by_itself_and_use_beside_speed(
    devices: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1]

    def a_second_of_traffic(wait_s: float) -> None:
        clock[0] += 1_000_000_000
        disks, links = devices.root / "proc/diskstats", devices.root / "proc/net/dev"
        # 8 requests in 16 ms, 4096 sectors, one request in flight for 500 ms
        disks.write_text(disks.read_text().replace("sda 100 5 1000 3185 200 7 1000 772 0 1986 3966", "sda 104 5 3048 3193 204 7 3048 780 0 1986 4466"))  # fmt: skip
        links.write_text(links.read_text().replace("eth0: 0 9 0 0 0 0 0 0 0 9", "eth0: 62500000 9 0 0 0 0 0 0 1000 9"))

    monkeypatch.setattr("penstock.cli.checkup.time.sleep", a_second_of_traffic)
    monkeypatch.setattr("penstock.probes.sample.time.monotonic_ns", lambda: clock[0])
    facts = checkup(devices)
    first, second = facts["disks"]
    assert [first[key]["text"] for key in ("bytes", "queue", "latency")] == ["2.1MB/s", "0.50", "2.00 ms"]
    assert (second["bytes"]["value"], second["latency"]["why"]) == (0, "no request ended in the window")
    known, unknown = facts["links"]
    assert [known[key]["text"] for key in ("received", "sent", "speed", "in_use")] == [
        "62.5MB/s",
        "1kB/s",
        "125MB/s",
        "50 %",
    ]
    assert unknown["in_use"]["why"] == unknown["speed"]["why"] == "the driver of eth1 does not give its speed"


def test_processes_on_gpus_have_names_where_their_numbers_are_ours(devices: Machine) -> None:
    first, second = (gpu["processes"] for gpu in checkup(devices)["gpus"])
    assert first["value"] == [
        {"pid": 4242, "name": "trainer", "memory": 30 * 1024**3, "text": "30GiB"},
        {"pid": 4243, "name": None, "memory": None, "text": "unknown"},
    ]
    assert (first["text"], first["numbers"]) == ("2", "ours")
    assert (second["value"], second["why"]) == (None, "NVML does not list the processes")


def test_in_a_container_processes_on_gpus_have_the_hosts_numbers_and_no_names(devices: Machine) -> None:
    (devices.root / "proc/self/ns/pid").unlink()
    first, _ = checkup(devices)["gpus"]
    assert first["processes"]["numbers"] == "the host's, not those in this container"
    assert [(one["pid"], one["name"]) for one in first["processes"]["value"]] == [(4242, None), (4243, None)]


def test_plug_ins_are_told_with_what_they_read_or_why_they_are_left_out(devices: Machine) -> None:
    good, bad = checkup(devices)["plugins"]
    assert (good["entry"], good["resource"], good["in_use"]["text"]) == ("licence = somewhere:Licences", "licence", "3")
    assert (bad["resource"], bad["in_use"]) == (None, None)
    assert bad["problem"].startswith("it cannot be made: ValueError: ")
    assert set(checkup(devices)["signals"]) == set(RESOURCES)


def test_cpus_that_we_may_run_on_are_written_as_the_kernel_writes_them(devices: Machine) -> None:
    some = replace(devices, cpus=frozenset({0, 1, 2, 8}))
    cpus = checkup(some)["cpus"]
    assert cpus["affinity"] == {"value": [0, 1, 2, 8], "text": "0-2,8", "source": "sched_getaffinity", "why": ""}
    assert [(quota["group"], quota["text"]) for quota in cpus["quotas"]] == [("v2 /a.slice", "1.5")]
    assert cpus["counts_as"]["text"] == "1.5" or os.cpu_count() == 1
    none = checkup(replace(devices, cpus=None))["cpus"]["affinity"]
    assert (none["text"], none["why"].startswith("this system has no CPU affinity")) == ("unknown", True)

"""What the doctor finds out, on this machine and on recorded ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

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


def test_a_quota_and_a_group_are_reported(tmp_path: Path) -> None:
    for name, text in {
        "proc/self/cgroup": "0::/a.slice\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/a.slice/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/a.slice/cpu.stat": "usage_usec 5\nnr_throttled 3\n",
        "sys/fs/cgroup/a.slice/memory.max": "1073741824\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    cgroup = checkup(Machine.detect(tmp_path))["cgroup"]
    assert cgroup["groups"]["cpu"]["path"] == "/a.slice"
    assert cgroup["cpu_quota"] == {"value": 1500, "text": "1.5"}
    assert cgroup["memory_limit"] == {"value": 1024**3, "text": "1GiB"}
    assert cgroup["throttled_periods"] == 3


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

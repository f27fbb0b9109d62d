"""GPUs, on a recorded NVML; and, marked `gpu`, on a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from penstock.probes.gpu import Gpu, GpuProbe, visible
from penstock.probes.reading import Reading

if TYPE_CHECKING:
    from conftest import GpuMachine

GIB = 1024**3


def test_devices_are_listed_with_uuid_name_and_memory(gpu_machine: GpuMachine) -> None:
    gpu = gpu_machine.gpu
    gpu_machine.nvml(gpu("GPU-a", total=80 * GIB), gpu("GPU-b", name="NVIDIA L4", total=24 * GIB))
    probe = GpuProbe(gpu_machine.root)
    assert [(g.index, g.uuid, g.name, g.memory.value, g.is_slice) for g in probe.gpus] == [
        (0, "GPU-a", "NVIDIA H100 80GB HBM3", 80 * GIB, False),
        (1, "GPU-b", "NVIDIA L4", 24 * GIB, False),
    ]
    assert probe.count().value == 2000
    assert probe.memory().value == 80 * GIB


def test_use_is_told_device_by_device_and_ours_by_process(gpu_machine: GpuMachine) -> None:
    gpu = gpu_machine.gpu
    gpu_machine.nvml(
        gpu("GPU-a", used=30 * GIB, gpu=37, processes=[(10, 20 * GIB), (11, 5 * GIB), (99, 4 * GIB)]),
        gpu("GPU-b", used=GIB, gpu=0),
    )
    first, second = GpuProbe(gpu_machine.root).read(own_pids=[10, 11, 12])
    assert (first.busy.value, first.memory.value, first.own_memory.value) == (370, 30 * GIB, 25 * GIB)
    assert (second.busy.value, second.memory.value, second.own_memory.value) == (0, GIB, 0)


def test_the_processes_of_a_gpu_are_listed_whosoever_they_are(gpu_machine: GpuMachine) -> None:
    gpu = gpu_machine.gpu
    gpu_machine.nvml(gpu("GPU-a", processes=[(10, GIB), (99, None)]), gpu("GPU-b", processes=None))
    first, second = GpuProbe(gpu_machine.root).read([10])
    assert first.processes == ((10, GIB), (99, None))
    assert second.processes is None


def test_a_split_device_is_its_slices_whose_utilisation_is_unknown(gpu_machine: GpuMachine) -> None:
    gpu = gpu_machine.gpu
    slices = [gpu("MIG-1", total=10 * GIB, used=GIB, gpu=None), None, gpu("MIG-2", total=20 * GIB, used=0, gpu=None)]
    whole = gpu("GPU-a", total=None, used=None, gpu=None, mig=1, slices=slices)  # the parent's memory is denied
    gpu_machine.nvml(whole, gpu("GPU-b"))
    probe = GpuProbe(gpu_machine.root)
    assert [(g.uuid, g.is_slice) for g in probe.gpus] == [("MIG-1", True), ("MIG-2", True), ("GPU-b", False)]
    uses = probe.read()
    assert uses[0].busy.value is None
    assert "slice" in uses[0].busy.why
    assert uses[0].memory.value == GIB
    assert uses[2].busy.value == 0


def test_a_card_that_knows_no_slices_and_no_processes_is_still_read(gpu_machine: GpuMachine) -> None:
    gpu_machine.nvml(gpu_machine.gpu("GPU-a", mig=None, gpu=None, processes=None))
    (use,) = GpuProbe(gpu_machine.root).read([1])
    assert use.memory.value == 655_360_000
    assert use.busy.why == "NVML says: Not Supported"
    assert use.own_memory.why == "NVML does not list the processes"


def test_a_process_whose_memory_is_not_given_leaves_ours_unknown(gpu_machine: GpuMachine) -> None:
    gpu_machine.nvml(gpu_machine.gpu("GPU-a", processes=[(10, None), (11, GIB)]))
    probe = GpuProbe(gpu_machine.root)
    assert probe.read([11])[0].own_memory.value == GIB
    assert probe.read([10, 11])[0].own_memory.value is None


def test_in_a_container_processes_are_numbered_otherwise_so_ours_is_unknown(gpu_machine: GpuMachine) -> None:
    link = gpu_machine.root / "proc/self/ns/pid"
    link.unlink()
    link.symlink_to("pid:[4026532201]")
    gpu_machine.nvml(gpu_machine.gpu("GPU-a", processes=[(10, GIB)]))
    (use,) = GpuProbe(gpu_machine.root).read([10])
    assert use.own_memory.value is None
    assert "container" in use.own_memory.why


def test_a_machine_without_a_driver_has_no_gpu_and_nvml_is_not_imported(
    gpu_machine: GpuMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gpu_machine.root / "proc/driver/nvidia/version").unlink()
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    probe = GpuProbe(gpu_machine.root)
    assert probe.count().value == 0
    assert probe.memory().value == 0
    assert probe.read() == ()
    assert "pynvml" not in sys.modules


def test_a_driver_without_the_package_is_unknown_and_names_the_extra(gpu_machine: GpuMachine) -> None:
    gpu_machine.without_nvml()
    probe = GpuProbe(gpu_machine.root)
    for reading in (probe.count(), probe.memory()):
        assert reading.value is None
        assert "pip install 'penstock[gpu]'" in reading.why
    assert probe.gpus == ()


@pytest.mark.parametrize("answers", [{"init": "Driver/library version mismatch"}, {"count": "GPU is lost"}])
def test_a_driver_that_does_not_answer_is_unknown_and_says_its_words(
    gpu_machine: GpuMachine, answers: dict[str, str]
) -> None:
    module = gpu_machine.nvml(gpu_machine.gpu("GPU-a"), **answers)
    probe = GpuProbe(gpu_machine.root)
    assert probe.count().value is None
    assert next(iter(answers.values())) in probe.count().why
    assert probe.gpus == ()
    assert module.open == 0


def test_a_closed_probe_lets_go_of_nvml_once_and_is_unknown(gpu_machine: GpuMachine) -> None:
    module = gpu_machine.nvml(gpu_machine.gpu("GPU-a"))
    probe = GpuProbe(gpu_machine.root)
    assert module.open == 1
    probe.close()
    probe.close()
    assert module.open == 0
    assert probe.count().value is None
    assert probe.read() == ()


def test_only_visible_devices_are_ours(gpu_machine: GpuMachine) -> None:
    gpu = gpu_machine.gpu
    gpu_machine.nvml(gpu("GPU-a"), gpu("GPU-b"), gpu("GPU-c"))
    assert [g.uuid for g in GpuProbe(gpu_machine.root, "2,0").gpus] == ["GPU-a", "GPU-c"]
    assert GpuProbe(gpu_machine.root, "").count().value == 0


def listed(*uuids: str) -> list[Gpu]:
    unknown = Reading.unknown("x", "x", 0)
    return [Gpu(index, uuid, "x", unknown) for index, uuid in enumerate(uuids)]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("0,1,2", ["GPU-aa", "GPU-ab", "MIG-c"]),
        ("2, 0", ["MIG-c", "GPU-aa"]),
        ("GPU-ab", ["GPU-ab"]),
        ("MIG-", ["MIG-c"]),
        ("GPU-a", []),  # begins two of them
        ("", []),
        ("-1", []),
        ("0,-1,1", ["GPU-aa"]),  # the first that names none ends the list
        ("0,7", ["GPU-aa"]),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(text: str, chosen: list[str]) -> None:
    assert [gpu.uuid for gpu in visible(listed("GPU-aa", "GPU-ab", "MIG-c"), text)] == chosen


@pytest.mark.gpu
def test_a_real_gpu_is_told_as_nvidia_smi_tells_it() -> None:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        pytest.skip("there is no NVIDIA driver here")
    pytest.importorskip("pynvml", reason="needs the extra 'gpu'")
    query = [smi, "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
    told = [
        line.split(", ")
        for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    ]
    probe = GpuProbe()
    try:
        assert probe.count().value == 1000 * len(probe.gpus)
        whole = [gpu for gpu in probe.gpus if not gpu.is_slice]
        assert [(g.uuid, g.name) for g in whole] == [(uuid, name) for uuid, name, _ in told][: len(whole)]
        for gpu, (_, _, mib) in zip(whole, told, strict=False):
            assert gpu.memory.value is not None
            assert abs(gpu.memory.value / 1024**2 - int(mib)) <= 1
        for use in probe.read([os.getpid()]):
            assert use.memory.known
            assert use.busy.value is None or 0 <= use.busy.value <= 1000
    finally:
        probe.close()

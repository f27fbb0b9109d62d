"""Attempts in control groups of their own, which the kernel holds to their memory limits."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Cause
from penstock.caps import find_place
from penstock.executors.memory_group import MemoryGroup, Place
from penstock.probes.cgroup import find_groups

MIB = 1 << 20
TAKES = "import sys, time; block = bytearray(b'x') * (100 << 20); print('has it', flush=True); time.sleep(30)"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def place() -> Iterator[Place]:
    found, why = find_place(find_groups())
    if found is None:
        pytest.skip(f"no control groups of memory can be made here: {why}")
    before = set(found.parent.glob("penstock-*"))
    yield found
    assert set(found.parent.glob("penstock-*")) <= before


def own_group() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    version1 = [line for line in lines if "memory" in line.split(":")[1].split(",")]
    return (version1 or lines)[0].split(":", 2)[2]


def take_shared(mib: int) -> int:
    block = mmap.mmap(-1, mib * MIB)  # which no limit of a single process's data counts
    for _ in range(mib):
        block.write(b"x" * MIB)
    return len(block)


def start_two() -> list[int]:
    both = [subprocess.Popen([sys.executable, "-c", TAKES]) for _ in range(2)]
    return [process.wait() for process in both]


def test_a_worker_is_in_the_group_of_its_attempt_and_afterwards_at_home(processes: Any, place: Place) -> None:
    first = processes.value(processes.launch(own_group, memory_limit=300 * MIB, groups=place))
    assert Path(first).name.startswith("penstock-")
    assert processes.value(processes.launch(own_group)) == own_group()


def test_memory_that_a_process_shares_is_capped_too_and_the_cause_is_oom(processes: Any, place: Place) -> None:
    assert processes.value(processes.launch(take_shared, 50, memory_limit=100 * MIB, groups=place)) == 50 * MIB
    report = processes.report(processes.launch(take_shared, 200, memory_limit=100 * MIB, groups=place))
    assert report.cause is Cause.OOM
    assert "more than its memory_limit of 104857600 bytes together" in str(report.error)
    assert processes.value(processes.launch(take_shared, 200)) == 200 * MIB


def test_what_a_task_starts_counts_together(processes: Any, place: Place) -> None:
    report = processes.report(processes.launch(start_two, memory_limit=150 * MIB, groups=place))
    assert report.cause is Cause.OOM
    assert "memory_limit" in str(report.error)


def test_the_processes_of_a_command_count_together_and_all_are_ended(commands: Any, place: Place) -> None:
    line = f"'{sys.executable}' -c \"{TAKES}\" & '{sys.executable}' -c \"{TAKES}\" & wait"
    report = commands.report(commands.command(line, shell=True, memory_limit=150 * MIB, groups=place))
    assert report.cause is Cause.OOM
    assert "more than its memory_limit of 157286400 bytes together" in str(report.error)
    assert report.finished_ns - report.started_ns < 20_000_000_000  # the one that fits did not sleep to its end


def test_a_command_within_its_limit_succeeds(commands: Any, place: Place) -> None:
    fits = commands.command(
        sys.executable, "-c", "print(len(bytearray(50 << 20)))", memory_limit=150 * MIB, groups=place
    )
    assert commands.value(fits) == f"{50 * MIB}\n"


def test_what_has_left_a_commands_session_is_ended_and_waited_for_and_a_kill_meanwhile_changes_nothing(
    commands: Any, place: Place, tmp_path: Path, gone: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, end = [], MemoryGroup.end

    def killed_meanwhile(group: MemoryGroup, then: Callable[[], None]) -> None:
        end(group, then)
        running = list(commands.executor._running.values())
        ends.append(len(running))  # the first time it waits for what was left, the second nothing is
        for command in running:
            command.kill()

    monkeypatch.setattr(MemoryGroup, "end", killed_meanwhile)
    line = f"setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > '{tmp_path}/pid'"
    task = commands.command(line, shell=True, memory_limit=150 * MIB, groups=place)
    report = commands.report(task)
    assert (report.error, ends) == (None, [1, 0])
    gone(int((tmp_path / "pid").read_text()))

"""Where control groups for attempts can be made, on recorded trees; on this machine: tests/executors/test_memory_group.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.conftest import Record

from penstock.caps import find_place
from penstock.probes.cgroup import Groups, find_groups


@pytest.fixture
def tree(record: Record) -> Path:
    """A tree whose groups are plain folders: what is made in it gets no files of the kernel's."""
    return record(
        {
            "proc/self/cgroup": "0::/a.slice/b.scope\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/a.slice/memory.max": "max\n",
            "sys/fs/cgroup/a.slice/b.scope/memory.max": "max\n",
        }
    )


def test_without_control_groups_there_is_no_place() -> None:
    assert find_place(Groups()) == (None, "this process is in no control group of memory")


def test_groups_without_the_controller_are_no_place_and_none_is_left(tree: Path) -> None:
    slice_ = tree / "sys/fs/cgroup/a.slice"
    assert find_place(find_groups(tree)) == (None, f"groups made in {slice_} have no memory controller")
    assert sorted(entry.name for entry in slice_.iterdir()) == ["b.scope", "memory.max"]
    assert [entry.name for entry in (slice_ / "b.scope").iterdir()] == ["memory.max"]


def test_groups_beside_ours_are_none_when_ours_has_a_limit(tree: Path) -> None:
    scope = tree / "sys/fs/cgroup/a.slice/b.scope"
    (scope / "memory.max").write_text("1073741824\n")
    assert find_place(find_groups(tree)) == (None, f"groups made in {scope} have no memory controller")


def test_groups_that_a_killed_process_left_are_removed(tree: Path) -> None:
    scope = tree / "sys/fs/cgroup/a.slice/b.scope"
    beyond = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    for name in (f"penstock-{beyond}-1", f"penstock-{os.getpid()}-1000000", f"other-{beyond}-1"):
        (scope / name).mkdir()
    find_place(find_groups(tree))
    assert {entry.name for entry in scope.iterdir() if entry.is_dir()} == {
        f"penstock-{os.getpid()}-1000000",
        f"other-{beyond}-1",
    }

"""What a process tree uses, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.probes.tree import ProcessTree

MIB = 1024**2
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
for line in sys.stdin:  # each line ends the child and says so
    child.communicate()
    print("ended", flush=True)
"""
HOLDS_64_MIB = "import sys; held = bytearray(b'x') * (64 << 20); print('held', flush=True); sys.stdin.read()"
BURNS_HALF_A_SECOND = """
import sys, time
while time.process_time() < 0.5: pass
print("burnt", flush=True)
sys.stdin.read()
"""


class Family:
    """A real parent with one real child."""

    def __init__(self, child: str) -> None:
        command = [sys.executable, "-c", PARENT.format(child=child)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.child = int(self.line().split()[0])

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end_child(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.line() == "ended\n"

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def burnt() -> Iterator[Family]:
    family = Family(BURNS_HALF_A_SECOND)
    yield family
    family.close()


@pytest.fixture
def holding() -> Iterator[Family]:
    family = Family(HOLDS_64_MIB)
    yield family
    family.close()


def trees(pid: int, tmp_path: Path) -> list[ProcessTree]:
    """The tree as each way of reading it sees it."""
    without_proc = ProcessTree(pid, tmp_path)
    assert without_proc.source == "psutil"
    if sys.platform != "linux":
        return [without_proc]
    by_parent = ProcessTree(pid)
    by_parent._has_children_files = False
    return [ProcessTree(pid), by_parent, without_proc]


def test_children_belong_to_the_tree(holding: Family, tmp_path: Path) -> None:
    for tree in trees(holding.pid, tmp_path):
        assert tree.measure().pids == (holding.pid, holding.child)


def test_memory_that_only_the_tree_holds_is_counted_over_children(holding: Family, tmp_path: Path) -> None:
    for tree in trees(holding.pid, tmp_path):
        memory = tree.measure().memory
        assert memory is not None
        assert 64 * MIB < memory < 200 * MIB


def test_cpu_time_of_a_child_counts_while_it_lives_and_after_it_ended(burnt: Family, tmp_path: Path) -> None:
    measured = trees(burnt.pid, tmp_path)
    before = [tree.measure().cpu_ns for tree in measured]
    assert all(cpu is not None and cpu >= 480_000_000 for cpu in before)  # clock ticks of 10 ms may be missing
    burnt.end_child()
    after = [tree.measure() for tree in measured]
    assert all(use.pids == (burnt.pid,) for use in after)
    assert all(use.cpu_ns is not None and use.cpu_ns >= 480_000_000 for use in after)


def test_a_process_that_is_gone_is_unknown_and_not_zero() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    use = ProcessTree(process.pid).measure()
    assert (use.cpu_ns, use.memory, use.io_bytes, use.pids) == (None, None, None, ())


@linux
def test_a_dead_child_that_was_not_waited_for_does_not_disturb(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table
    try:
        use = ProcessTree(os.getpid()).measure()
        assert use.pids[0] == os.getpid()
        assert use.memory is not None
        assert use.memory > 0
    finally:
        process.communicate()


@linux
def test_bytes_written_to_a_disk_are_counted(tmp_path: Path) -> None:
    tree = ProcessTree()
    before = tree.measure().io_bytes
    if before is None:
        pytest.skip("this kernel keeps no I/O accounts")
    with open(tmp_path / "data", "wb") as file:
        file.write(os.urandom(4 * MIB))
        file.flush()
        os.fsync(file.fileno())
    after = tree.measure().io_bytes
    assert after is not None
    if after == before:
        pytest.skip("the temporary directory is not on a disk")
    assert after - before >= 4 * MIB


def test_our_own_process_counts_what_it_burns() -> None:
    tree = ProcessTree()
    before = tree.measure().cpu_ns
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    after = tree.measure().cpu_ns
    assert before is not None
    assert after is not None
    assert after - before >= 150_000_000


@linux
def test_a_name_with_brackets_and_spaces_is_read(tmp_path: Path) -> None:
    proc = tmp_path / "proc/7"
    (proc / "task/7").mkdir(parents=True)
    (proc / "task/7/children").write_text("")
    (proc / "stat").write_text("7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 1 1\n")
    (proc / "statm").write_text("1000 300 100 1 0 5 0\n")
    use = ProcessTree(7, tmp_path).measure()
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert use.cpu_ns == 100 * tick_ns
    assert use.memory == 200 * os.sysconf("SC_PAGE_SIZE")
    assert use.io_bytes is None


def test_trees_within_the_tree_are_told_apart(holding: Family, tmp_path: Path) -> None:
    for tree in trees(holding.pid, tmp_path):
        use = tree.measure([holding.child, 2**22])
        assert set(use.parts) == {holding.child}  # the other one is not there
        part = use.parts[holding.child]
        assert part.pids == (holding.child,)
        assert part.memory is not None
        assert use.memory is not None
        assert 64 * MIB < part.memory < use.memory
        whole = tree.measure([holding.pid]).parts[holding.pid]
        assert whole.pids == (holding.pid, holding.child)
        assert tree.measure().parts == {}

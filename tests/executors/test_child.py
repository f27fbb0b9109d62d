"""Child processes where the system has no pidfds, and when there is no room for one."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.executors import child, family
from penstock.executors.commands import Commands
from penstock.executors.processes import Processes
from penstock.states import Cause

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture
def no_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system as macOS is: no pidfds, and no /proc to find a family in."""
    kept = os.pidfd_open

    def refuse(pid: int, flags: int = 0) -> int:
        if sys._getframe(1).f_globals["__name__"].startswith("penstock."):
            raise OSError(38, "Function not implemented")
        return kept(pid, flags)

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(child, "family_of", lambda leader, mark: [])


def test_without_pidfds_commands_end_and_are_killed_all_the_same(
    no_pidfds: None, drive: Any, gate: Any, gone: Any
) -> None:
    commands = drive(Commands(grace_s=0.3))
    assert commands.value(commands.command("echo", "fine")) == "fine\n"
    assert commands.report(commands.command("exit 3", shell=True)).error.exit_code == 3
    task = commands.command(f"sleep 1000 & echo $$ $! >{gate.exit}; wait", shell=True)
    pids = [int(word) for word in gate.line().split()]
    commands.executor.kill(task, 1)
    assert commands.report(task).cause is Cause.CANCELLED
    assert len(pids) == 2
    for pid in pids:
        gone(pid)


def test_without_pidfds_workers_die_and_are_replaced_all_the_same(no_pidfds: None, drive: Any) -> None:
    processes = drive(Processes(grace_s=0.3))
    assert processes.value(processes.launch(abs, -1)) == 1
    assert processes.report(processes.launch(os._exit, 5)).cause is Cause.LOST
    assert processes.value(processes.launch(abs, -1)) == 1


def test_family_holds_children_grandchildren_and_those_in_other_sessions(gate: Any, gone: Any) -> None:
    line = f"sleep 1000 & a=$!; setsid sleep 1000 & echo $a $! >{gate.exit}; wait"
    env = {**os.environ, family.MARK: "other"}
    with subprocess.Popen(["/bin/sh", "-c", line], env=env, start_new_session=True) as leader:
        expected = sorted(int(word) for word in gate.line().split())
        found = family.family_of(leader.pid, "mine")
        for pid in [*expected, leader.pid]:
            os.kill(pid, 9)
            gone(pid)
    assert found == expected
    assert family.family_of(leader.pid, "mine") == []


def test_family_holds_orphans_in_other_sessions_by_their_mark(gate: Any, gone: Any) -> None:
    env = {**os.environ, family.MARK: "mine.1"}
    line = f"setsid sleep 1000 & echo $! >{gate.exit}"
    subprocess.run(["/bin/sh", "-c", line], env=env, check=True)
    pid = int(gate.line())
    found = family.family_of(os.getpid(), "mine.1")
    others = family.family_of(os.getpid(), "mine.11")
    os.kill(pid, 9)
    gone(pid)
    assert pid in found
    assert pid not in others


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="this system has no /proc")
def test_family_holds_a_process_in_the_middle_of_an_exec(tmp_path: Path) -> None:
    forever = tmp_path / "forever"
    forever.write_text(f"#!/bin/sh\nexec {forever}\n")
    forever.chmod(0o700)
    process = subprocess.Popen([str(forever)], env={**os.environ, family.MARK: "mine.2"}, start_new_session=True)
    try:
        nobody = 2**22  # no process id is as large: only the mark can tell
        missed = sum(process.pid not in family.family_of(nobody, "mine.2") for _ in range(100))
    finally:
        process.kill()
        process.wait()
    assert missed == 0


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Popen of Python 3.10 loses its first pipe when it gets no second"
)
def test_attempt_that_no_descriptor_is_left_for_fails_and_the_next_one_runs(drive: Any) -> None:
    commands, processes = drive(Commands()), drive(Processes())
    assert commands.value(commands.command("echo", "before")) == "before\n"
    assert processes.value(processes.launch(abs, -1, env={"A": "1"})) == 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 1, hard))
    try:
        command = commands.report(commands.command("echo", "without"))
        process = processes.report(processes.launch(abs, -2, env={"A": "2"}))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in str(command.error)
    assert process.cause is Cause.LOST
    assert "no worker process could be started for it" in str(process.error)
    assert commands.value(commands.command("echo", "after")) == "after\n"
    assert processes.value(processes.launch(abs, -3, env={"A": "2"})) == 3

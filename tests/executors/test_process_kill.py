"""Killing attempts in worker processes, with everything that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from penstock.executors.processes import Processes
from penstock.states import Cause

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def _tell(path: str, text: object) -> None:
    with open(path, "w") as file:
        file.write(f"{text}\n")


def _wait(tell: str) -> None:
    _tell(tell, os.getpid())
    signal.pause()


def test_killed_task_reports_once_and_others_go_on(processes: Any, gate: Any, gone: Any) -> None:
    task = processes.launch(_wait, gate.exit)
    pid = int(gate.line())
    processes.executor.kill(task, 1)
    assert processes.report(task).cause is Cause.CANCELLED
    gone(pid)
    assert processes.value(processes.launch(os.getpid)) != pid
    assert len(processes.reports) == 2


def test_finally_blocks_of_a_killed_task_run(processes: Any, gate: Any) -> None:
    def clean(tell: str) -> None:
        try:
            _wait(tell)
        finally:
            _tell(tell, "cleaned")

    task = processes.launch(clean, gate.exit)
    gate.line()
    processes.executor.kill(task, 1)
    assert gate.line() == "cleaned"
    assert processes.report(task).cause is Cause.CANCELLED


def test_task_that_ignores_sigterm_is_killed_after_the_grace_time(drive: Any, gate: Any, gone: Any) -> None:
    def stubborn(tell: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            _wait(tell)

    processes = drive(Processes(grace_s=0.3))
    task = processes.launch(stubborn, gate.exit)
    pid = int(gate.line())
    asked = time.monotonic()
    processes.executor.kill(task, 1)
    assert processes.report(task).cause is Cause.CANCELLED
    assert time.monotonic() - asked >= 0.3
    gone(pid)


def test_task_that_survives_sigterm_by_catching_it_is_killed_all_the_same(drive: Any, gate: Any, gone: Any) -> None:
    def survive(tell: str) -> str:
        try:
            _wait(tell)
        except BaseException:  # noqa: BLE001
            return "survived"
        return "not killed"

    processes = drive(Processes(grace_s=600))
    task = processes.launch(survive, gate.exit)
    pid = int(gate.line())
    processes.executor.kill(task, 1)
    processes.report(task)
    gone(pid)


@pytest.mark.parametrize("own_session", [False, True], ids=["same group", "session of its own"])
@pytest.mark.parametrize("trap", ["", "trap '' TERM; "], ids=["plain", "stubborn"])
def test_whole_process_tree_goes_with_a_killed_task(
    drive: Any, gate: Any, gone: Any, own_session: bool, trap: str
) -> None:
    def start_tree(tell: str) -> None:
        line = f"{trap}sleep 1000 & echo $$ $! >{tell}; wait; sleep 1000"
        subprocess.run(["/bin/sh", "-c", line], check=False, start_new_session=own_session)

    processes = drive(Processes(grace_s=0.3))
    task = processes.launch(start_tree, gate.exit)
    pids = [int(word) for word in gate.line().split()]
    processes.executor.kill(task, 1)
    assert processes.report(task).cause is Cause.CANCELLED
    assert len(pids) == 2
    for pid in pids:
        gone(pid)
    assert len(processes.reports) == 1


def test_children_of_a_task_that_dies_by_itself_go_too(processes: Any, gate: Any, gone: Any) -> None:
    def die(tell: str) -> None:
        child = subprocess.Popen(["/bin/sleep", "1000"])
        _tell(tell, child.pid)
        os._exit(1)

    assert processes.report(processes.launch(die, gate.exit)).cause is Cause.LOST
    gone(int(gate.line()))


def test_kill_of_an_ended_attempt_has_no_effect(processes: Any) -> None:
    task = processes.launch(os.getpid)
    pid = processes.value(task)
    processes.executor.kill(task, 1)
    processes.executor.kill(task, 2)
    processes.executor.kill(999, 1)
    assert processes.value(processes.launch(os.getpid)) == pid


def test_kill_right_after_launch_is_followed_by_exactly_one_report(processes: Any) -> None:
    tasks = [processes.launch(time.sleep, 1000) for _ in range(3)]
    for task in tasks:
        processes.executor.kill(task, 1)
        processes.executor.kill(task, 1)
    assert {processes.report(task).cause for task in tasks} == {Cause.CANCELLED}
    assert len(processes.reports) == 3


def test_workers_and_what_they_started_do_not_outlive_a_killed_parent(script: Any, gone: Any) -> None:
    program = script("""
def hold():
    import os, signal, subprocess, sys
    child = subprocess.Popen(["/bin/sleep", "1000"])
    sys.stdout.write(f"{os.getpid()} {child.pid}\\n")  # at once, so that two workers do not mix theirs
    sys.stdout.flush()
    signal.pause()
driver = Driver(Processes())
driver.launch(hold)
driver.launch(hold)
threading.Event().wait()
""")
    pids = [int(word) for _ in range(2) for word in program.stdout.readline().split()]
    assert len(pids) == 4
    program.kill()
    for pid in pids:
        gone(pid)


def test_busy_worker_dies_with_its_parent_even_without_a_guardian(script: Any, gone: Any) -> None:
    program = script("""
def spin():
    import os
    print(os.getpid(), flush=True)
    while True:
        pass
driver = Driver(Processes())
driver.value(driver.launch(abs, -1))
driver.executor._guardian._process.kill()
driver.executor._guardian._process.wait()
driver.launch(spin)
threading.Event().wait()
""")
    pid = int(program.stdout.readline())
    program.kill()
    gone(pid)

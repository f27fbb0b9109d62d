"""The guardian: what it kills when the process that it serves is gone, and what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from penstock.executors.family import MARK
from penstock.executors.guardian import Guardian

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "1000"], env={**os.environ, MARK: mark}, start_new_session=True)


def test_end_kills_guarded_groups_and_marked_processes_and_no_others() -> None:
    guardian, other = Guardian(), Guardian()
    marks = ("none", guardian.mark(), "none", other.mark())
    guarded, marked, released, others = sleepers = [sleeper(mark) for mark in marks]
    guardian.guard(guarded.pid)
    guardian.guard(released.pid)
    guardian.release(released.pid)
    guardian.close()  # to the guardian this is the same as our death
    assert guarded.wait(30) == marked.wait(30) == -signal.SIGKILL
    assert released.poll() is None
    assert others.poll() is None
    other.close()
    assert others.wait(30) == -signal.SIGKILL
    released.kill()
    for process in sleepers:
        process.wait(30)


def test_guardian_that_was_killed_is_missed_by_no_one(commands: Any) -> None:
    assert commands.value(commands.command("echo", "one")) == "one\n"
    commands.executor._guardian._process.kill()
    commands.executor._guardian._process.wait()
    assert commands.value(commands.command("echo", "two")) == "two\n"

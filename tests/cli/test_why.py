"""`penstock why`: processes that run, are stopped, or were killed, asked by another one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock import questions
from penstock.cli.main import cli

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no local sockets here"),
]

FILE = """
import os
from penstock import Pipeline, task

open("loaded", "a").write("x")

@task
def train():
    print("begun", flush=True)
    return os.read(0, 1)

@task
def report(model):
    return model

with Pipeline("NAME") as p:
    report(train())
"""

Start = Callable[[str], "subprocess.Popen[str]"]


def why(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["why", *arguments])


@pytest.fixture(autouse=True)
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sockets of this test lie, and no others."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "penstock"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a run in a process of its own, whose first task is held; all are let go at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        folder = tmp_path / f"{name}{len(processes)}"
        folder.mkdir()
        (folder / "pipe.py").write_text(FILE.replace("NAME", name))
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "run", "pipe.py", "--no-progress", "--store", "off"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert "begun\n" in iter(process.stdout.readline, "")
        return process

    yield start
    for process in processes:
        with process:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.communicate("x", timeout=60)
                assert process.returncode == 0
    assert why("train").exit_code == 2  # nobody is left


def test_says_why_a_task_of_a_run_in_another_process_waits(start: Start, tmp_path: Path) -> None:
    process = start("sums")
    shown = why("report")
    assert (shown.exit_code, shown.stdout) == (0, "'report' waits for 'train'.\n")
    told = json.loads(why("train", "--json").stdout)
    assert told["why"] == "'train' is running, attempt 1."
    assert told["run"] | {"started_at": 0} == {
        "pipeline": "sums",
        "pid": process.pid,
        "started_at": 0,
        "target": str(tmp_path / "sums0" / "pipe.py"),
        "number": None,
    }
    assert (tmp_path / "sums0" / "loaded").read_text() == "x"  # by the run, and not by those who ask


def test_a_misspelt_task_and_a_misspelt_run_are_answered_with_the_nearest(start: Start) -> None:
    process = start("sums")
    shown = why("repor")
    assert shown.exit_code == 2
    assert f"no task 'repor' in 'sums' (process {process.pid}). Did you mean 'report'?" in shown.stderr
    shown = why("report", "--run", "summs")
    assert shown.exit_code == 2
    assert "no run 'summs' goes on" in shown.stderr
    assert "Did you mean 'sums'?" in shown.stderr


def test_a_task_that_two_runs_have_needs_the_run_named(start: Start) -> None:
    first, second, third = start("sums"), start("sums"), start("products")
    shown = why("report")
    assert shown.exit_code == 2
    for process in (first, second, third):
        assert str(process.pid) in shown.stderr
    assert why("report", "--run", "sums").exit_code == 2
    assert why("report", "--run", "products").exit_code == 0
    told = json.loads(why("report", "--run", str(second.pid), "--json").stdout)
    assert told["run"]["pid"] == second.pid


def test_what_a_killed_run_left_is_removed_and_not_asked(start: Start, sockets: Path) -> None:
    process = start("sums")
    assert len(list(sockets.iterdir())) == 1
    process.kill()
    process.wait(60)
    shown = why("report")
    assert shown.exit_code == 2
    assert "no run goes on that could be asked" in shown.stderr
    assert list(sockets.iterdir()) == []


def test_a_run_that_is_stopped_is_said_to_be_silent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.cli.live_runs.PATIENCE_S", 0.2)
    stopped, other = start("sums"), start("products")
    os.kill(stopped.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)  # all its threads stand still only then
    shown = why("report", "--run", str(stopped.pid))
    assert shown.exit_code == 2
    assert f"process {stopped.pid}: it has not answered for 0.2 s; is it stopped?" in shown.stderr
    monkeypatch.setattr("penstock.cli.live_runs.PATIENCE_S", questions.PATIENCE_S)
    shown = why("report", "--run", str(other.pid))  # which alone is asked
    assert (shown.exit_code, shown.stdout) == (0, "'report' waits for 'train'.\n")

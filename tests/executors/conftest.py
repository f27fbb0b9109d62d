"""Real executors for tests, each closed at the end and checked for what it left behind."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.executors import Executor, Launch, Report
from penstock.executors.commands import Commands
from penstock.executors.memory_group import Place
from penstock.executors.processes import Processes
from penstock.options import make_spec
from penstock.template import CommandTemplate

PATIENCE_S = 30


class Driver:
    """Launches attempts at an executor and collects their reports."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.reports: list[Report] = []
        self._launched = 0
        self._came = threading.Condition()
        executor.start(self._take)

    def _take(self, report: Report) -> None:
        with self._came:
            self.reports.append(report)
            self._came.notify_all()

    def launch(
        self,
        function: Callable[..., Any],
        *args: object,
        name: str = "",
        env: dict[str, str] | None = None,
        attempt: int = 1,
        memory_limit: int | None = None,
        groups: Place | None = None,
        **kwargs: object,
    ) -> int:
        """Launch a function in a process and return the attempt's task id."""
        options = {"executor": "processes", "memory_limit": memory_limit}
        spec = make_spec(function, name or getattr(function, "__name__", "task"), options)
        return self._launch(
            Launch(self._launched, attempt, spec.name, function, args, kwargs, spec, env or {}, None, groups)
        )

    def command(
        self,
        *argv: object,
        name: str = "command",
        env: dict[str, str] | None = None,
        memory_limit: int | None = None,
        groups: Place | None = None,
        **options: Any,
    ) -> int:
        """Launch a command and return the attempt's task id."""
        template = CommandTemplate(argv, **options)
        spec = make_spec(None, name, {"memory_limit": memory_limit}, template)
        return self._launch(Launch(self._launched, 1, name, None, (template,), {}, spec, env or {}, None, groups))

    def _launch(self, launch: Launch) -> int:
        self._launched += 1
        self.executor.launch(launch)
        return launch.task

    def report(self, task: int) -> Report:
        """Wait for the report of a task, which comes exactly once."""
        with self._came:
            found = self._came.wait_for(lambda: [r for r in self.reports if r.task == task], PATIENCE_S)
        assert len(found) == 1, f"{len(found)} reports of task {task}"
        return found[0]

    def value(self, task: int) -> Any:
        """Wait for the result of a task that succeeds."""
        report = self.report(task)
        assert report.error is None, report.error
        return report.value

    def error(self, task: int) -> BaseException:
        """Wait for the error of a task that fails."""
        report = self.report(task)
        assert report.error is not None, report.value
        return report.error


def open_descriptors() -> set[str]:
    """Return this process's descriptors with what they lead to."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of listdir itself
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return found


def children() -> list[str]:
    """Return this process's children, zombies too."""
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has just ended
            found += (task / "children").read_text().split()
    return sorted(found)


def wait_until_gone(pid: int) -> None:
    """Wait until no process has this id any more; a zombie counts as gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        gone, _, _ = select.select([fd], [], [], PATIENCE_S)
        assert gone, f"process {pid} is still there"
    finally:
        os.close(fd)


@pytest.fixture
def drive() -> Iterator[Callable[[Executor], Driver]]:
    """Start executors, close them, and check that no descriptor, child or thread is left of them."""
    before = open_descriptors(), children(), set(threading.enumerate())
    drivers: list[Driver] = []

    def start(executor: Executor) -> Driver:
        drivers.append(Driver(executor))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.executor.close(kill=True)
    after = open_descriptors(), children(), set(threading.enumerate())
    assert after == before


@pytest.fixture
def processes(drive: Callable[[Executor], Driver]) -> Driver:
    """An executor of processes that keeps two workers."""
    return drive(Processes(keep=2, grace_s=5))


@pytest.fixture
def commands(drive: Callable[[Executor], Driver]) -> Driver:
    """An executor of commands."""
    return drive(Commands(grace_s=5))


@pytest.fixture
def gone() -> Callable[[int], None]:
    """Wait until a process is gone."""
    return wait_until_gone


class Gate:
    """A pipe that other processes can wait at, and tell something through, by its path."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self.entry = f"/proc/{os.getpid()}/fd/{self._reading}"
        self.exit = f"/proc/{os.getpid()}/fd/{self._writing}"

    def open(self, times: int = 1) -> None:
        """Let this many processes go that read one byte each from `entry`."""
        os.write(self._writing, b"!" * times)

    def line(self) -> str:
        """Wait for a line that a process writes to `exit`."""
        ready, _, _ = select.select([self._reading], [], [], PATIENCE_S)
        assert ready, "nothing was written"
        return os.read(self._reading, 4096).decode().strip()

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def other_gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def script() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a program, in which `from driver import *` gives what is defined here."""

    def start(text: str) -> subprocess.Popen[str]:
        prelude = (
            "import importlib.util, sys\n"
            f"spec = importlib.util.spec_from_file_location('driver', {__file__!r})\n"
            "sys.modules['driver'] = module = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(module)\n"
            "from driver import *\n"
        )
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        programs.append(
            subprocess.Popen(
                [sys.executable, "-c", prelude + text],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return programs[-1]

    programs: list[subprocess.Popen[str]] = []
    yield start
    for program in programs:
        program.kill()
        program.communicate()

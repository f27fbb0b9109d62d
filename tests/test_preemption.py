"""Preemption with real processes: who gives way to whom, what a stopped process does, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import Runtime, command, task
from penstock.errors import OptionError
from penstock.observe.events import EventKind, read

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked at through /proc"),
]

PATIENCE_S = 60


def until(true: Callable[[], Any]) -> None:
    """Wait for something that another process does."""
    last = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < last
        time.sleep(0.005)


def state_of(pid: int) -> str:
    """The letter of a process in /proc: T where it stands still; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def pids(folder: Path) -> list[int]:
    """The processes of the background task, which has written them down."""
    return [int(file.name) for file in folder.glob("[0-9]*")]


def background(folder: str) -> str:
    """Start a child, note both processes, and wait for a word."""
    import subprocess as started

    with started.Popen(["sleep", "1000"]) as child:
        for pid in (child.pid, os.getpid()):
            Path(folder, str(pid)).touch()
        Path(folder, "begun").touch()
        try:
            while not Path(folder, "go").exists():
                time.sleep(0.005)
        finally:
            Path(folder, "cleaned").touch()
            child.kill()
    return "done"


def told(events: Any, *kinds: EventKind) -> list[tuple[str, int]]:
    """Rows of these kinds, as name of the kind and task."""
    return [(EventKind(int(row["kind"])).name, int(row["task"])) for row in events if row["kind"] in kinds]


def events(runtime: Runtime) -> Any:
    return read(runtime.view.log)


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Starts a runtime in which a background task has all CPUs and is at work; returns it and the task's future."""
    runtimes = []

    def start(*, priority: float = 20, preemptible: bool = True, **options: Any) -> tuple[Runtime, Any]:
        runtime = Runtime(workers=2, **options)
        runtimes.append(runtime)
        slow = task(
            executor="processes",
            name="slow",
            priority=priority,
            preemptible=preemptible,
            cpu=all_cpus(runtime),
            memory="1MB",
            retries=0,
        )
        future = runtime.submit(slow(background), str(tmp_path))
        until((tmp_path / "begun").exists)
        return runtime, future

    yield start
    (tmp_path / "go").touch()
    for runtime in runtimes:
        runtime.close()
    until(lambda: not any(state_of(pid) for pid in pids(tmp_path)))


def all_cpus(runtime: Runtime) -> float:
    """What tasks may use of the CPUs together: one that asks for it is alone."""
    return runtime._engine.limits.amounts["cpu"] / 1000


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_much_more_urgent_task_pauses_a_preemptible_one_which_goes_on_afterwards(
    start: Any, tmp_path: Path, executor: Any
) -> None:
    runtime, slow = start(preempt="pause")
    urgent = runtime.submit(
        task(executor=executor, name="urgent", cpu=1, memory="1MB")(states), [str(pid) for pid in pids(tmp_path)]
    )
    assert set(urgent.result(PATIENCE_S)) == {"T"}  # all of its processes stood still meanwhile
    until(lambda: "T" not in {state_of(pid) for pid in pids(tmp_path)})
    (tmp_path / "go").touch()
    assert slow.result(PATIENCE_S) == "done"
    rows = events(runtime)
    assert told(rows, EventKind.SUSPENDED, EventKind.PROCEEDED) == [("SUSPENDED", 0), ("PROCEEDED", 0)]
    assert told(rows, EventKind.STARTED) == [("STARTED", 0), ("STARTED", 1)]
    assert told(rows, EventKind.FAILED, EventKind.RETRYING, EventKind.EVICTED) == []


def states(pids: list[str]) -> list[str]:
    """What state these processes are in once all stand still, or after half a minute."""
    last = time.monotonic() + 30
    while (found := {state_of(int(pid)) for pid in pids}) != {"T"} and time.monotonic() < last:
        time.sleep(0.005)
    return sorted(found)


def test_a_paused_task_says_so_and_keeps_its_memory(start: Any, tmp_path: Path) -> None:
    runtime, slow = start(preempt="pause")
    gate = tmp_path / "gate"
    urgent = runtime.submit(task(executor="processes", name="urgent", cpu=1, memory="1MB")(wait_for), str(gate))
    until(lambda: "stands still for more urgent tasks" in slow.why())
    assert "it is running" not in slow.why()
    gate.touch()
    assert urgent.result(PATIENCE_S) is None


def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.005)


def test_with_requeue_the_preemptible_task_is_ended_and_starts_again_which_is_no_failure(
    start: Any, tmp_path: Path
) -> None:
    runtime, slow = start(preempt="requeue")
    first = pids(tmp_path)
    urgent = runtime.submit(task(executor="processes", name="urgent", cpu=1, memory="1MB")(os.getpid))
    assert urgent.result(PATIENCE_S) not in first
    assert not any(state_of(pid) for pid in first)
    (tmp_path / "go").touch()
    assert slow.result(PATIENCE_S) == "done"
    assert told(events(runtime), EventKind.EVICTED) == [("EVICTED", 0)]
    assert told(events(runtime), EventKind.SUSPENDED, EventKind.FAILED) == []


@pytest.mark.parametrize(
    "given",
    [
        {"preempt": "off"},
        {"preempt": "pause", "preemptible": False},
        {"preempt": "pause", "priority": 9},  # not so much less urgent
        {"preempt": "requeue", "priority": 9},
        {"preempt": "pause", "preempt_gap": 21},
    ],
)
def test_otherwise_the_urgent_task_waits(start: Any, tmp_path: Path, given: Any) -> None:
    runtime, slow = start(**given)
    urgent = runtime.submit(task(name="urgent", cpu=1, memory="1MB")(len), "abc")
    until(lambda: "it asks for cpu" in urgent.why())
    assert "T" not in {state_of(pid) for pid in pids(tmp_path)}
    (tmp_path / "go").touch()
    assert slow.result(PATIENCE_S) == "done"
    assert urgent.result(PATIENCE_S) == 3
    assert told(events(runtime), EventKind.SUSPENDED, EventKind.EVICTED) == []


def test_nobody_is_paused_where_that_would_not_be_enough(tmp_path: Path, start: Any) -> None:
    runtime, _ = start(preempt="pause", limits={"licence": 1})
    other = task(
        executor="processes", name="held", priority=20, preemptible=True, cpu=0, memory="1MB", resources={"licence": 1}
    )
    held = runtime.submit(other(wait_for), str(tmp_path / "gate"))  # a licence is not given back by standing still
    until(lambda: "is running" in held.why())
    urgent = runtime.submit(task(name="urgent", cpu=1, memory="1MB", resources={"licence": 1})(len), "abc")
    until(lambda: "it asks for" in urgent.why())
    assert "T" not in {state_of(pid) for pid in pids(tmp_path)}
    (tmp_path / "gate").touch()  # now it would be
    assert urgent.result(PATIENCE_S) == 3
    assert told(events(runtime), EventKind.SUSPENDED) == [("SUSPENDED", 0)]


def test_a_paused_task_that_is_cancelled_goes_with_all_it_started(start: Any, tmp_path: Path) -> None:
    runtime, slow = start(preempt="pause")
    urgent = runtime.submit(
        task(executor="processes", name="urgent", cpu=1, memory="1MB")(wait_for), str(tmp_path / "gate")
    )
    until(lambda: {state_of(pid) for pid in pids(tmp_path)} == {"T"})
    runtime._engine.cancel([0])
    until(lambda: not any(state_of(pid) for pid in pids(tmp_path)))
    assert (tmp_path / "cleaned").exists()  # it has heeded the SIGTERM
    (tmp_path / "gate").touch()
    assert urgent.result(PATIENCE_S) is None
    assert slow.cancelled()


def test_the_timeout_of_an_attempt_stands_still_with_it(tmp_path: Path) -> None:
    with Runtime(workers=1, preempt="pause") as runtime:
        slow = task(
            executor="processes",
            priority=20,
            preemptible=True,
            cpu=all_cpus(runtime),
            memory="1MB",
            timeout=3,
            retries=0,
        )
        future = runtime.submit(slow(background), str(tmp_path))
        until((tmp_path / "begun").exists)
        # Longer than the other one may run.
        runtime.submit(task(executor="processes", cpu=1, memory="1MB")(time.sleep), 4).result(PATIENCE_S)
        (tmp_path / "go").touch()
        assert future.result(PATIENCE_S) == "done"
    until(lambda: not any(state_of(pid) for pid in pids(tmp_path)))


def test_a_command_is_paused_with_what_it_started(tmp_path: Path) -> None:
    script = "sleep 1000 & echo $! $$ > pids; while [ ! -e go ]; do sleep 0.01; done; kill $!"
    with Runtime(workers=1, preempt="pause") as runtime:
        slow = runtime.submit(
            command(
                "slow",
                ["sh", "-c", script],
                cwd=tmp_path,
                priority=20,
                preemptible=True,
                cpu=all_cpus(runtime),
                memory="1MB",
            )
        )
        until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
        both = (tmp_path / "pids").read_text().split()
        urgent = runtime.submit(task(name="urgent", cpu=1, memory="1MB")(states), both)
        assert urgent.result(PATIENCE_S) == ["T"]
        (tmp_path / "go").touch()
        slow.result(PATIENCE_S)
    until(lambda: not any(state_of(int(pid)) for pid in both))


KILLED = """
    import os, sys, time
    from pathlib import Path
    from penstock import Runtime, task
    from tests.test_preemption import all_cpus, background, wait_for

    if __name__ == "__main__":
        runtime = Runtime(workers=1, preempt="pause")
        slow = task(executor="processes", priority=20, preemptible=True, cpu=all_cpus(runtime), memory="1MB")
        runtime.submit(slow(background), sys.argv[1])
        wait_for(sys.argv[1] + "/begun")
        runtime.submit(task(executor="processes", cpu=1, memory="1MB")(wait_for), sys.argv[1] + "/never").result()
    """


def test_a_run_that_is_killed_leaves_no_process_that_stands_still(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[1])
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    with subprocess.Popen(program, env={**os.environ, "PYTHONPATH": root}) as process:
        until(lambda: pids(tmp_path) and {state_of(pid) for pid in pids(tmp_path)} == {"T"})
        process.send_signal(signal.SIGKILL)
    until(lambda: not any(state_of(pid) for pid in pids(tmp_path)))


@pytest.mark.parametrize("given", [{"preempt": "yes"}, {"preempt": True}, {"preempt_gap": 0}, {"preempt_gap": "1"}])
def test_an_option_that_is_not_allowed_is_refused(given: Any) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(given))}=.*allowed is"):
        Runtime(**given)


def test_a_task_on_a_thread_cannot_be_preemptible() -> None:
    with pytest.raises(OptionError, match="preemptible=True; allowed is only with executor='processes'"):
        task(preemptible=True)(len)

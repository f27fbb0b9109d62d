"""Workers that are killed, crash, hang, hoard and leave things behind: every task ends in its true state, for its true
cause, and nothing is left.

Seeded: a failure names its seed. The long form, with PENSTOCK_LONG=1, plays many more of them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.chaos import harm
from tests.chaos.traces import long_form, marked, nothing_left, until

import penstock
from penstock import Pipeline, Retry, command, task
from penstock.states import Cause, State

pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

SEEDS = range(25) if long_form() else range(1)
TASKS = 120 if long_form() else 22
AT_ONCE = Retry(attempts=3, first_wait_s=0.0, jitter_s=0.0)

TRUTH: dict[str, tuple[State, Cause, int | None]] = {
    "fine": (State.SUCCEEDED, Cause.NONE, None),
    "raises": (State.FAILED, Cause.EXCEPTION, None),
    "leaves": (State.FAILED, Cause.LOST, None),
    "crashes": (State.FAILED, Cause.LOST, signal.SIGSEGV),
    "aborts": (State.FAILED, Cause.LOST, signal.SIGABRT),
    "hangs": (State.FAILED, Cause.TIMEOUT, None),
    "closes_its_output": (State.SUCCEEDED, Cause.NONE, None),
    "closes_what_is_not_its_own": (State.FAILED, Cause.LOST, None),
    "hogs_memory": (State.FAILED, Cause.OOM, None),
    "forks_a_few": (State.SUCCEEDED, Cause.NONE, None),
    "hangs_with_a_family": (State.FAILED, Cause.TIMEOUT, None),
}
"""State, cause, and the signal that a lost process must be said to have died of."""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """An entry of the environment that everything started by this test has."""
    value = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("PENSTOCK_CHAOS", value)
    return f"PENSTOCK_CHAOS={value}"


def options_of(kind: str, number: int) -> dict[str, Any]:
    options: dict[str, Any] = {"name": f"{kind}_{number}", "executor": "processes", "cpu": 0.1}
    if kind.startswith("hangs"):
        options["timeout"] = 1.0
    if kind == "hogs_memory":
        options["memory_limit"] = "160MiB"
    return options


@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_ends_in_its_true_state_for_its_true_cause_and_nothing_is_left(
    seed: int, tmp_path: Path, mark: str
) -> None:
    rng = random.Random(seed)
    kinds = [*TRUTH, *rng.choices(list(TRUTH), k=TASKS - len(TRUTH))]
    rng.shuffle(kinds)
    fifo = tmp_path / "pids"
    os.mkfifo(fifo)
    with Pipeline(f"chaos {seed}") as p:
        for number, kind in enumerate(kinds):
            task(**options_of(kind, number))(harm.HARMS[kind])(number)
        doomed = [rng.randrange(5) for _ in range(max(2, TASKS // 10))]
        for number, times in enumerate(doomed):
            task(name=f"doomed_{number}", executor="processes", cpu=0.1, retries=2, retry=AT_ONCE)(harm.is_killed)(
                number, times, str(fifo)
            )
        command("shell dies", "kill -SEGV $$", shell=True, cpu=0.1)
        command("exit 7", ["sh", "-c", "exit 7"], cpu=0.1)
        command("program hangs", ["sleep", "1000"], timeout=0.5, cpu=0.1)
        command("floods", "yes | head -c 3000000; exit 0", shell=True, cpu=0.1)
        command("leaves one behind", "sleep 1000 >/dev/null 2>&1 & echo done", shell=True, cpu=0.1)
        task(name="thread raises", cpu=0.1)(harm.raises)(0)
    with nothing_left(mark):
        pids = os.open(fifo, os.O_RDWR)
        killer = threading.Thread(target=kill_each, args=(pids, random.Random(seed)))
        killer.start()
        try:
            result = p.run(progress=False)
        finally:
            os.write(pids, b"0\n")
            killer.join()
            os.close(pids)
    said = {name: f"seed {seed}: {result.errors.get(name)}" for name in result.states}
    for number, kind in enumerate(kinds):
        name = f"{kind}_{number}"
        state, cause, killed_by = TRUTH[kind]
        assert (result.states[name], result.causes.get(name, Cause.NONE)) == (state, cause), said[name]
        if state == State.SUCCEEDED:
            assert result[name] == number
        if kind == "raises":
            assert str(result.errors[name]) == f"on purpose {number}"
        if kind == "leaves":
            assert result.errors[name].exit_code == number % 200 + 1, said[name]  # type: ignore[attr-defined]
        if killed_by is not None:
            assert result.errors[name].signal == killed_by, said[name]  # type: ignore[attr-defined]
    for number, times in enumerate(doomed):
        name = f"doomed_{number}"
        assert result.attempts[name] == min(times, 2) + 1, said[name]
        if times <= 2:
            assert result[name] == number
        else:
            assert result.causes[name] == Cause.LOST, said[name]
            assert result.errors[name].signal == signal.SIGKILL  # type: ignore[attr-defined]
    assert {name: result.causes[name].name for name in ("shell dies", "exit 7", "program hangs", "thread raises")} == {
        "shell dies": "LOST",
        "exit 7": "EXCEPTION",
        "program hangs": "TIMEOUT",
        "thread raises": "EXCEPTION",
    }
    assert len(result["floods"]) == 3_000_000
    assert result["leaves one behind"] == "done\n"
    assert set(result.states.values()) <= {State.SUCCEEDED, State.FAILED}


def kill_each(pids: int, rng: random.Random) -> None:
    """Kill each process that says its number into the pipe, after a moment; 0 is the end."""
    with os.fdopen(os.dup(pids)) as lines:
        for line in lines:
            pid = int(line)
            if pid == 0:
                return
            time.sleep(rng.uniform(0.0, 0.02))
            os.kill(pid, signal.SIGKILL)


def works(number: int) -> int:
    until = time.monotonic() + 0.02
    while time.monotonic() < until:
        pass
    return number


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_killed_at_any_instant_cost_attempts_and_no_result(seed: int, mark: str) -> None:
    rng = random.Random(seed)
    count, kills = (400, 60) if long_form() else (60, 5)
    with Pipeline("p") as p:
        for number in range(count):
            task(name=f"works_{number}", executor="processes", retries=1000, retry=AT_ONCE)(works)(number)
    over = threading.Event()
    killed: list[int] = []

    def kill_some() -> None:
        me = psutil.Process()
        while len(killed) < kills and not over.wait(rng.uniform(0.01, 0.15)):
            workers = [one for one in me.children() if _is_worker(one)]
            if workers:
                victim = rng.choice(workers)
                killed.append(victim.pid)
                victim.kill()

    with nothing_left(mark):
        killer = threading.Thread(target=kill_some)
        killer.start()
        result = p.run(progress=False, workers=1)
        over.set()
        killer.join()
    assert result.ok, f"seed {seed}: {result.errors}"
    assert [result[f"works_{number}"] for number in range(count)] == list(range(count))
    assert sum(result.attempts.values()) - count <= len(killed)
    assert killed


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any("process_worker" in part for part in process.cmdline())
    except psutil.Error:
        return False


PROGRAM = textwrap.dedent(
    """
    import sys
    from penstock import Pipeline, command, task
    from tests.chaos import harm

    with Pipeline("doomed") as p:
        for k in range(3):
            task(name=f"a{k}", executor="processes", cpu=0.1)(harm.hangs_with_a_family)(k)
            command(f"b{k}", "setsid sleep 1000 & sleep 1000", shell=True, cpu=0.1)
            task(name=f"c{k}", executor="processes", cpu=0.1)(harm.forks_a_few)(k)
    print("go", flush=True)
    p.run(progress=False)
    """
)


@pytest.mark.parametrize("seed", range(30) if long_form() else range(3))
def test_when_penstock_itself_is_killed_nothing_of_what_it_started_goes_on(seed: int, mark: str) -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert program.stdout is not None
    with program:
        assert program.stdout.readline() == b"go\n"
        time.sleep(random.Random(seed).uniform(0.0, 1.2))  # any instant will do; this one is drawn
        program.kill()
    until(lambda: [pid for pid in marked(mark) if pid != os.getpid()] == [])


def test_a_cancelled_process_task_cleans_up_before_it_is_killed(tmp_path: Path, mark: str) -> None:
    begun, cleaned = tmp_path / "begun", tmp_path / "cleaned"
    os.mkfifo(begun)

    def tidy(begun: str, cleaned: str) -> None:
        class Lock:
            def __enter__(self) -> None:
                pass

            def __exit__(self, *_: object) -> None:
                with open(cleaned, "a") as file:
                    file.write("with ")

        try:
            with Lock():
                with open(begun, "w") as file:
                    file.write("begun\n")
                while True:
                    signal.pause()
        finally:
            with open(cleaned, "a") as file:
                file.write("finally")

    with Pipeline("p") as p:
        task(executor="processes")(tidy)(str(begun), str(cleaned))
    with nothing_left(mark):
        run = p.start()
        with open(begun) as file:
            assert file.readline() == "begun\n"
        run.cancel("tidy")
        result = run.wait()
        del run
    assert result.states["tidy"] == State.CANCELLED
    assert cleaned.read_text() == "with finally"
    with pytest.raises(penstock.errors.Cancelled):
        result["tidy"]

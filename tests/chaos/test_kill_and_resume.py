"""kill -9 of the whole run at random instants: after `resume` every result is there, and nothing committed ran again.

The short form kills ten times over 160 tasks; PENSTOCK_LONG=1 asks for 200 times over 2,000.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from penstock.journal.errors import StoreError
from penstock.journal.reading import RecordedRun, read_run
from penstock.journal.results import decode
from penstock.journal.schema import FILE

LONG = os.environ.get("PENSTOCK_LONG") == "1"
TASKS, KILLS = (2000, 200) if LONG else (160, 10)

PATIENCE_S = 60

pytestmark = [pytest.mark.timeout(3600 if LONG else 120)]

PIPELINE = """
import os
import time

import numpy as np

from penstock import Pipeline, task

TASKS = {tasks}
SIDE = os.open("side-effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(number):
    os.write(SIDE, f"{{number}} {{os.getpid()}} {{os.getppid()}}\\n".encode())  # one write: whole lines only
    time.sleep(0.004)


@task(cpu=0.5)
def step(number, before):
    note(number)
    return sum(before) % 1_000_003 + number


@task(cpu=0.5)
def large(number, before):
    note(number)
    return np.full(20_000, sum(before) % 1_000_003 + number)


@task(cpu=0.5)
def small_again(number, array):
    note(number)
    assert (array == array[0]).all()  # a half-written array would show here
    return int(array[0])


@task(executor="processes", cpu=0.5)
def apart(number, before):
    note(number)
    return sum(before) % 1_000_003 + number


def main() -> Pipeline:
    with Pipeline("killed") as p:
        calls, arrays = [], set()
        for number in range(TASKS):
            plain = [calls[k] for k in (number - 3, number - 7) if k >= 0 and k not in arrays]
            if number % 40 == 20:
                calls.append(large(number, plain))
                arrays.add(number)
            elif number % 40 == 21:
                calls.append(small_again(number, calls[number - 1]))
            elif number % 100 == 50:
                calls.append(apart(number, plain))
            else:
                calls.append(step(number, plain))
    return p
"""


def expected(tasks: int) -> dict[int, int]:
    """Return what each task must give, an array as its first element."""
    values: dict[int, int] = {}
    for number in range(tasks):
        if number % 40 == 21:
            values[number] = values[number - 1]
            continue
        before = [values[k] for k in (number - 3, number - 7) if k >= 0 and k % 40 != 20]
        values[number] = sum(before) % 1_000_003 + number
    return values


def executions(folder: Path) -> list[tuple[int, int]]:
    """Return (task's number, which process of the run) for each time that a task's function was entered."""
    path = folder / "side-effects"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(number), int(pid)) for number, pid, _ in map(str.split, lines)]


def committed(folder: Path, run: int) -> set[str]:
    """Return the names of the tasks that the journal calls finished, whichever process finished them."""
    try:
        recorded = read_run(folder / ".penstock", run)
    except StoreError:
        return set()  # killed before its journal began
    return {
        session.names[task]
        for session in recorded.sessions
        for task in range(len(session.names))
        if task in session.results or session.origins[task] is not None
    }


def values(run: RecordedRun) -> dict[int, int]:
    found = {}
    for task, name in enumerate(run.names):
        result = run.result_of(*run.origin(run.last.number, task))
        assert result is not None, name
        value = decode(result.codec, result.body, result.digest, run.folder / "results")
        found[task] = int(value[0]) if hasattr(value, "shape") else value
    return found


def killed_after(folder: Path, verb: list[str], count: int, patience_s: float | None) -> tuple[bool, int, str, str]:
    """Run penstock and kill it `patience_s` after `count` functions were entered in all; None lets it end.

    Returns:
        Whether it was killed, its exit status, standard output and standard error.
    """
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        command = [sys.executable, "-m", "penstock", *verb, "--no-progress", "--json"]
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
        killed, deadline = False, time.monotonic() + PATIENCE_S
        if patience_s is not None:
            while process.poll() is None and len(executions(folder)) < count:
                assert time.monotonic() < deadline, "the run did not begin"
                time.sleep(0.005)
        try:
            process.wait(PATIENCE_S if patience_s is None else patience_s)
        except subprocess.TimeoutExpired:
            killed = patience_s is not None
            process.kill()
            process.wait()
            assert killed, "the run did not end"
    return killed, process.returncode, (folder / "out").read_text(), (folder / "err").read_text()


def test_after_kills_at_random_instants_every_result_is_there_and_nothing_committed_ran_again(tmp_path: Path) -> None:
    seed = int(os.environ.get("PENSTOCK_SEED", "20261125"))
    rng = random.Random(seed)
    (tmp_path / "killed.py").write_text(PIPELINE.format(tasks=TASKS))
    wanted = expected(TASKS)
    kills, run, done, names = 0, 0, 0, None
    kept: set[str] = set()  # committed before the process that runs now
    finished_runs = 0
    per_run = Counter[int]()
    while kills < KILLS or run:
        if run == 0:
            run, seen, kept = done + 1, len(executions(tmp_path)), set()
        folder = tmp_path / ".penstock" / "runs" / str(run)
        begun = (folder / FILE).exists() and bool(committed(tmp_path, run))
        if folder.exists() and not begun:  # nothing of it was committed: it is a run of its own that never was
            done, run = run, run + 1
        verb = ["resume", str(run)] if begun else ["run", "killed.py"]
        last = kills >= KILLS
        patience_s = None if last else rng.random() * (3.0 if LONG else 0.5)
        # Some die while they still import or plan.
        begin_with = len(executions(tmp_path)) + (rng.random() < 0.8)
        killed, code, out, err = killed_after(tmp_path, verb, begin_with, patience_s)
        kills += killed
        per_run[run] += killed
        assert code in (0, -signal.SIGKILL), (seed, kills, err)
        new, seen = executions(tmp_path)[seen:], len(executions(tmp_path))
        if names is None and begun:
            names = read_run(tmp_path / ".penstock", run).names
        for number, _ in new:
            assert names is None or names[number] not in kept, (
                seed,
                kills,
                f"task {number} was committed and ran again",
            )
        kept = committed(tmp_path, run)
        if code == 0:
            result = json.loads(out)
            assert result["ok"], (seed, kills)
            recorded = read_run(tmp_path / ".penstock", run)
            assert (recorded.state, recorded.problem) == ("succeeded", None)
            assert values(recorded) == wanted, (seed, kills)
            with sqlite3.connect(folder / FILE) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()
            assert [path.name for path in (folder / "results").iterdir() if path.name.startswith(".")] == [] or per_run[
                run
            ]
            done, run, finished_runs = run, 0, finished_runs + 1
    print(f"{kills} kills over {finished_runs} finished runs of {TASKS} tasks, seed {seed}: {dict(per_run)}")
    assert finished_runs >= 1
    assert kills >= KILLS

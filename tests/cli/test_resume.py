"""`penstock resume` and `penstock runs`, as a user has them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Penstock

from penstock.journal.reading import read_run

pytestmark = pytest.mark.timeout(120)

FILE = """
from pathlib import Path
from penstock import Pipeline, task

@task
def count(n):
    with open("ran", "a") as file:
        file.write(f"count {n}\\n")
    return n + 1

@task
def fails_without(name, n):
    if not Path(name).exists():
        raise ValueError(f"there is no {name}")
    return n

@task
def waits(n):
    print("waiting", flush=True)
    import time
    while not Path("go").exists():
        time.sleep(0.01)
    return n

with Pipeline("counts", workers=2) as p:
    last = fails_without("ok", count(count(1)))
"""


def test_a_failed_run_is_gone_on_with_and_what_it_takes_over_is_said(penstock: Penstock, folder: Path) -> None:
    (folder / "counts.py").write_text(FILE)
    done = penstock("run", "counts.py", "--no-progress")
    assert done.returncode == 1
    assert done.stderr.endswith("penstock: `penstock resume 1` goes on from here.\n")
    (folder / "ok").touch()
    done = penstock("resume", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["run"], said["ok"], said["taken_over"], said["again"]) == (1, True, ["count", "count-2"], {})
    assert done.stderr == "penstock: run 1 goes on; 2 of 3 tasks had finished and do not run again.\n"
    assert (folder / "ran").read_text() == "count 1\ncount 2\n"
    done = penstock("resume")
    assert (done.returncode, done.stderr) == (
        2,
        "penstock: store .penstock has no run to resume; `penstock runs` lists what it has.\n",
    )
    done = penstock("resume", "1", "--from", "count-2", "--no-progress")
    assert done.returncode == 0
    assert "'count-2' runs again: you asked for it." in done.stderr
    assert (folder / "ran").read_text() == "count 1\ncount 2\ncount 2\n"


def test_the_options_of_the_run_stay_and_another_timeout_may_be_given(penstock: Penstock, folder: Path) -> None:
    (folder / "counts.py").write_text(FILE + "    waits(last)\n")
    done = penstock("run", "counts.py", "--no-progress", "--overcommit", "0.9", "--preempt", "pause", "--timeout", "2s")
    assert done.returncode == 1
    (folder / "ok").touch()
    options = read_run(folder / ".penstock", 1).options
    assert (options["overcommit"], options["preempt"], options["timeout"]) == (0.9, "pause", 2.0)

    done = penstock("resume", "--json")
    assert done.returncode == 1, done.stderr
    states = {task["name"]: (task["state"], task["cause"]) for task in json.loads(done.stdout)["tasks"]}
    assert states["waits"] == ("failed", "timeout")
    (folder / "go").touch()
    done = penstock("resume", "--json", "--timeout", "1h")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["taken_over"] == ["count", "count-2", "fails_without"]


def test_a_file_that_changed_runs_again_what_changed(penstock: Penstock, folder: Path) -> None:
    (folder / "counts.py").write_text(FILE)
    penstock("run", "counts.py", "--no-progress")
    (folder / "ok").touch()
    (folder / "counts.py").write_text(FILE.replace("n + 1", "n + 10"))
    done = penstock("resume", "--json")
    assert "'count' runs again: its code has changed." in done.stderr
    assert json.loads(done.stdout)["taken_over"] == []
    assert (folder / "ran").read_text() == "count 1\ncount 2\ncount 1\ncount 11\n"


def test_runs_lists_shows_and_removes_without_executing_the_file(penstock: Penstock, folder: Path) -> None:
    (folder / "counts.py").write_text(FILE)
    penstock("run", "counts.py", "--no-progress")
    (folder / "counts.py").write_text("raise SystemExit('executed')")
    done = penstock("runs")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[:3] == ["1", "counts", "failed"]
    assert done.stdout.splitlines()[1].endswith("2 of 3")
    (one,) = json.loads(penstock("runs", "--json").stdout)
    assert (one["run"], one["state"], one["tasks"]["succeeded"], one["tasks"]["failed"]) == (1, "failed", 2, 1)
    shown = penstock("runs", "show", "1").stdout
    assert "task 'fails_without' failed" in shown
    assert "ValueError: there is no ok" in shown
    tasks = {one["task"]: one for one in json.loads(penstock("runs", "show", "1", "--json").stdout)["tasks"]}
    assert tasks["count-2"]["after"] == ["count"]
    assert tasks["fails_without"]["error"]["type"] == "ValueError"
    assert penstock("runs", "rm", "1").stdout == "removed run 1.\n"
    assert penstock("runs").stdout == "there are no runs in .penstock.\n"
    done = penstock("runs", "show", "1")
    assert (done.returncode, done.stderr) == (2, "penstock: store .penstock has no run 1; it has none.\n")


def test_a_run_can_be_read_while_it_goes_on_but_neither_resumed_nor_removed(penstock: Penstock, folder: Path) -> None:
    (folder / "counts.py").write_text(FILE.replace('fails_without("ok", ', "waits("))
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "counts.py", "--no-progress"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        (one,) = json.loads(penstock("runs", "--json").stdout)
        assert one["state"] == "running"
        for verb in (["resume", "1"], ["runs", "rm", "1"]):
            done = penstock(*verb)
            assert done.returncode == 2
            assert "is running in another process; wait for it, or stop it first." in done.stderr
    finally:
        (folder / "go").touch()
        assert process.wait(60) == 0
        process.stdout.close()
    assert json.loads(penstock("runs", "--json").stdout)[0]["state"] == "succeeded"


def test_after_ctrl_c_the_run_is_gone_on_with(penstock: Penstock, folder: Path) -> None:
    (folder / "counts.py").write_text(FILE.replace('fails_without("ok", ', "waits("))
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "counts.py", "--no-progress"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "interrupted" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "`penstock resume 1` goes on from here" in errors
    assert json.loads(penstock("runs", "--json").stdout)[0]["state"] == "interrupted"
    (folder / "go").touch()
    assert json.loads(penstock("resume", "--json").stdout)["taken_over"] == ["count", "count-2"]
    assert (folder / "ran").read_text() == "count 1\ncount 2\n"


def test_with_the_store_off_nothing_is_left(penstock: Penstock, folder: Path) -> None:
    (folder / "counts.py").write_text(FILE)
    done = penstock("run", "counts.py", "--no-progress", "--store", "off")
    assert (done.returncode, done.stderr) == (1, "")
    assert not (folder / ".penstock").exists()


def test_a_store_that_cannot_be_written_is_a_word_or_the_end_by_the_users_choice(
    penstock: Penstock, folder: Path
) -> None:
    (folder / "counts.py").write_text(FILE)
    (folder / "ok").touch()
    (folder / "file").touch()
    done = penstock("run", "counts.py", "--no-progress", "--store", "file/store")
    assert done.returncode == 0
    assert "The run goes on without a journal" in done.stderr
    done = penstock("run", "counts.py", "--no-progress", "--store", "file/store", "--on-store-error", "stop")
    assert done.returncode == 2
    assert done.stderr.startswith("penstock: store file/store: it cannot be written")


def test_a_run_of_a_program_of_its_own_is_gone_on_with_by_that_program(penstock: Penstock, folder: Path) -> None:
    script = FILE + '\nif __name__ == "__main__":\n    print(len(p.run(resume=True, progress=False).taken_over))\n'
    (folder / "own.py").write_text(script)

    def run() -> str:
        return subprocess.run(
            [sys.executable, "own.py"], cwd=folder, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    assert run() == "0\n"
    done = penstock("resume")
    assert done.returncode == 2
    assert "run 1 was started by a program of its own" in done.stderr
    (folder / "ok").touch()
    assert run() == "2\n"
    assert (folder / "ran").read_text() == "count 1\ncount 2\n"

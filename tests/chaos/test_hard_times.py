"""A run beside a full disk, a clock that jumps, a stop and a go, and a subscriber that hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline, task
from penstock.journal import read_run
from penstock.observe import attach

pytestmark = pytest.mark.timeout(120)
PATIENCE_S = 60.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {PATIENCE_S:g} s"
        time.sleep(0.005)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", str(where)], check=True)


@task
def piece(number: int, before: bytes = b"") -> bytes:
    return number.to_bytes(2, "little") * 100_000


def pieces(count: int) -> Pipeline:
    with Pipeline("pieces") as p:
        last = piece(0)
        for number in range(1, count):
            last = piece(number, last)
    return p


def test_on_a_full_disk_the_run_goes_on_and_says_so_and_what_was_committed_is_whole(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = small_disk / "store"
    result = pieces(12).run(store=store, progress=False, durability="each")
    assert result.ok
    assert result["piece-12"][:2] == (11).to_bytes(2, "little")
    assert "the disk is full" in str(result.store_error)
    assert caplog.text.count("From here on the run is not recorded") == 1
    recorded = read_run(store, 1)
    kept = len(recorded.last.results)
    assert (recorded.state, recorded.problem) == ("unfinished", None)
    assert 0 < kept < 12
    assert sorted(path.name for path in (store / "runs" / "1" / "results").iterdir()) == sorted(
        f"1-{number}-1.bin" for number in range(kept)
    )
    # With room again, the run goes on from there.
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    again = pieces(12).run(store=store, progress=False, resume=1)
    assert (again.ok, len(again.taken_over), again.store_error) == (True, kept, None)


def test_on_a_full_disk_a_run_that_must_be_recorded_starts_nothing_more(small_disk: Path) -> None:
    result = pieces(12).run(store=small_disk / "store", progress=False, durability="each", on_store_error="stop")
    assert not result.ok
    assert "the disk is full" in str(result.store_error)
    ended = len(result)
    assert len(read_run(small_disk / "store", 1).last.results) in (ended, ended - 1)


def test_a_wall_clock_that_jumps_changes_no_run_and_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter([0, 86_400, -86_400, 10**9, -(10**9), 0] * 100)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(hours))
    assert pieces(5).run(store=tmp_path / "store", progress=False).ok
    monkeypatch.undo()
    recorded = read_run(tmp_path / "store", 1)
    assert recorded.state == "succeeded"
    assert (recorded.finish_ns >= recorded.start_ns).all()
    assert (recorded.start_ns >= 0).all()
    assert (recorded.start_ns[1:] >= recorded.finish_ns[:-1]).all()


STOPPED = """
from penstock import Pipeline, task

@task
def step(number, before=0):
    with open("steps", "a") as file:
        file.write(f"{number}\\n")
    import time
    time.sleep(0.01)
    return number

with Pipeline("stopped") as p:
    last = step(0)
    for number in range(1, 60):
        last = step(number, last)
"""


def test_a_run_that_is_stopped_and_continued_by_signals_goes_on_and_runs_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(STOPPED)
    steps = tmp_path / "steps"

    def count() -> int:
        return len(steps.read_text().splitlines()) if steps.exists() else 0

    with subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "stopped.py", "--no-progress"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        for mark in (3, 20, 40):
            wait_for(lambda mark=mark: count() >= mark, f"step {mark}")  # type: ignore[misc]
            process.send_signal(signal.SIGSTOP)
            wait_for(lambda: "T" in Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1][:3], "the stop")
            assert read_run(tmp_path / ".penstock", 1).state == "running"  # reading needs nothing of it
            process.send_signal(signal.SIGCONT)
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(PATIENCE_S) == 0, errors
    assert steps.read_text().split() == [str(number) for number in range(60)]
    recorded = read_run(tmp_path / ".penstock", 1)
    assert (recorded.state, len(recorded.last.results)) == ("succeeded", 60)


def test_a_subscriber_that_hangs_holds_up_neither_the_run_nor_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "HOOK_GRACE_S", 0.05)
    gate, begun = threading.Event(), threading.Event()

    def hang(event: Any) -> None:
        begun.set()
        gate.wait()

    try:
        result = pieces(5).run(store=tmp_path / "store", progress=False, on_event=hang)
        assert begun.is_set()
        assert result.ok
        recorded = read_run(tmp_path / "store", 1)
        assert (recorded.state, len(recorded.last.results)) == ("succeeded", 5)
    finally:
        gate.set()

"""Stores that cannot be written, are locked, damaged or somebody else's: an error or a warning, never a hang."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline, RunResult, task
from penstock.journal import StoreError, read_run, schema
from penstock.journal.errors import Damaged
from penstock.journal.place import remove_run

pytestmark = pytest.mark.timeout(60)


@task
def number(n: int, *before: int) -> int:
    return n


def chain(count: int = 20) -> Pipeline:
    with Pipeline("chain") as p:
        last = number(0)
        for n in range(1, count):
            last = number(n, last)
    return p


def run(store: Path, **options: Any) -> RunResult:
    return chain().run(store=store, progress=False, **options)


def test_everything_in_a_store_is_its_owners_alone(store: Path) -> None:
    before = os.umask(0)
    try:
        run(store)
    finally:
        os.umask(before)
    for path in [store, *store.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_that_cannot_be_made_is_a_warning_or_an_error_by_the_users_choice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run(tmp_path / "file" / "store")
    assert (result.ok, result.run_number) == (True, None)
    assert "it cannot be written (Not a directory)" in caplog.text
    assert "The run goes on without a journal" in caplog.text
    with pytest.raises(StoreError, match="it cannot be written"):
        run(tmp_path / "file" / "store", on_store_error="stop")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_store_of_another_user_is_refused_because_loading_it_would_run_his_code(store: Path) -> None:
    store.mkdir()
    os.chown(store, 12345, 12345)
    with pytest.raises(StoreError, match="it belongs to user 12345"):
        run(store, on_store_error="stop")


def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.05)


def test_a_journal_that_another_program_locks_is_given_up_with_a_word(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    locked(monkeypatch)
    holding: list[sqlite3.Connection] = []

    @task
    def hold() -> None:
        other = sqlite3.connect(store / "runs" / "1" / schema.FILE, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        holding.append(other)

    @task
    def after(nothing: None, n: int) -> int:
        return n

    with Pipeline("locked") as p:
        held = hold()
        for n in range(5):
            after(held, n)
    result = p.run(store=store, progress=False)
    holding[0].close()
    assert result.ok
    assert result.store_error is not None
    assert "another program has kept it locked" in str(result.store_error)
    assert caplog.text.count("From here on the run is not recorded") == 1


def test_with_stop_a_journal_that_fails_starts_nothing_more(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked(monkeypatch)
    from penstock.journal.writer import Writer

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    gate: list[int] = []

    @task
    def first() -> None:
        monkeypatch.setattr(Writer, "_commit_results", full)

    @task
    def second(nothing: None) -> None:
        gate.append(1)

    with Pipeline("stops") as p:
        second(first())
    result = p.run(store=store, progress=False, on_store_error="stop", durability="each")
    assert not result.ok
    assert "the disk is full" in str(result.store_error)
    assert gate == []


def test_of_a_damaged_journal_what_was_committed_before_is_used_and_the_rest_runs_again(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(store, durability="each")
    file = store / "runs" / "1" / schema.FILE
    with sqlite3.connect(file) as connection:
        (at,) = connection.execute("SELECT seq FROM packs WHERE kind = 5 LIMIT 1 OFFSET 10").fetchone()
        connection.execute("UPDATE packs SET body = x'00' WHERE seq = ?", (at,))
    connection.close()
    recorded = read_run(store, 1)
    assert recorded.problem is not None
    assert f"pack {at} is not what was written" in recorded.problem
    assert len(recorded.last.results) == 10
    result = run(store, resume=1)
    assert (result.ok, len(result.taken_over)) == (True, 10)
    assert dict(result) == {f"number-{n + 1}" if n else "number": n for n in range(20)}
    assert "goes on from what was committed before" in caplog.text
    again = read_run(store, 1)
    assert (again.problem, again.state) == (None, "succeeded")
    assert (store / "runs" / "1" / f"{schema.FILE}.damaged-1").exists()


def test_whatever_is_done_to_the_bytes_of_a_journal_nothing_wrong_is_believed(store: Path) -> None:
    """Bits flipped, parts cut off, overwritten, exchanged: a prefix of what was committed, or a refusal."""
    run(store, durability="each")
    folder = store / "runs" / "1"
    whole = (folder / schema.FILE).read_bytes()
    names = [f"number-{n + 1}" if n else "number" for n in range(20)]
    truth = read_run(store, 1)
    results = [(task, bytes(one.body)) for task, one in truth.last.results.items()]
    rng = random.Random(6)
    refused = shortened = 0
    for _ in range(600 if os.environ.get("PENSTOCK_LONG") == "1" else 60):
        content = bytearray(whole)
        at = rng.randrange(len(content))
        how = rng.choice(["flip", "cut", "overwrite", "zeros", "random"])
        if how == "flip":
            content[at] ^= 1 << rng.randrange(8)
        elif how == "cut":
            del content[at:]
        elif how == "overwrite":
            content[at : at + 512] = rng.randbytes(min(512, len(content) - at))
        elif how == "zeros":
            content[at : at + 4096] = bytes(min(4096, len(content) - at))
        else:
            content = bytearray(rng.randbytes(rng.randrange(20_000)))
        (folder / schema.FILE).write_bytes(content)
        for extra in ("-wal", "-shm"):
            (folder / (schema.FILE + extra)).unlink(missing_ok=True)
        try:
            found = read_run(store, 1)
        except StoreError:
            refused += 1
            continue
        shortened += found.problem is not None
        assert found.names == names[: len(found.names)]
        assert [(task, bytes(one.body)) for task, one in found.last.results.items()] == results[
            : len(found.last.results)
        ]
        assert found.states.tolist().count(4) >= len(found.last.results)
    assert refused
    assert shortened


def test_a_write_ahead_log_that_is_cut_or_changed_gives_the_last_good_commit(store: Path) -> None:
    import shutil

    copy = store / "runs" / "2"

    @task
    def snapshot(n: int) -> None:
        if not copy.exists():
            shutil.copytree(store / "runs" / "1", copy)  # as a power cut would leave it

    with Pipeline("cut") as p:
        last: Any = number(0)
        for n in range(1, 30):
            last = number(n, last)
        snapshot(last)
    p.run(store=store, progress=False, durability="each")
    wal = (copy / f"{schema.FILE}-wal").read_bytes()
    database = (copy / schema.FILE).read_bytes()
    assert len(wal) > 10_000
    counts = []
    for keep in range(0, len(wal), max(1, len(wal) // 40)):
        for path in copy.glob("journal*"):
            path.unlink()
        (copy / schema.FILE).write_bytes(database)
        cut = bytearray(wal[:keep])
        if keep > 64:
            cut[keep // 2] ^= 0x10
        (copy / f"{schema.FILE}-wal").write_bytes(cut)
        try:
            found = read_run(store, 2)
        except StoreError:
            continue
        assert sorted(found.last.results) == list(range(len(found.last.results)))
        counts.append(len(found.last.results))
    assert counts == sorted(counts)
    assert counts[-1] > 0


def test_a_damaged_result_is_no_result_and_its_task_runs_again(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @task
    def big() -> bytes:
        return bytes(100_000)

    @task
    def size(data: bytes) -> int:
        return len(data)

    with Pipeline("big") as p:
        size(big())
    p.run(store=store, progress=False)
    (file,) = (store / "runs" / "1" / "results").iterdir()
    content = bytearray(file.read_bytes())
    content[50_000] ^= 1
    file.write_bytes(content)
    result = p.run(store=store, progress=False, resume=1)
    assert result.ok
    assert result.taken_over == ()
    assert "'big' runs again: its stored result cannot be used" in capsys.readouterr().err
    file.unlink()
    assert p.run(store=store, progress=False, resume=1).ok


def test_a_journal_of_a_later_version_is_refused_by_name(store: Path) -> None:
    run(store)
    file = store / "runs" / "1" / schema.FILE
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=r"its format is version 2, and this penstock reads versions 1 to 1"):
        read_run(store, 1)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA application_id = 1")
    connection.close()
    with pytest.raises(Damaged, match="this is no journal of penstock"):
        read_run(store, 1)


def test_a_run_that_is_running_cannot_be_removed_and_one_that_is_not_goes_with_its_results(store: Path) -> None:
    import threading

    gate = threading.Event()

    @task
    def wait() -> bytes:
        gate.wait()
        return bytes(100_000)

    with Pipeline("waits") as p:
        wait()
    live = p.start(store=store)
    with pytest.raises(StoreError, match="is running in this process"):
        remove_run(store, 1)
    assert read_run(store, 1).state == "running"
    gate.set()
    live.wait()
    remove_run(store, 1)
    assert list((store / "runs").iterdir()) == []


def test_what_secret_names_is_in_no_file_of_the_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import penstock

    monkeypatch.setenv("TOKEN_OF_TEST", "hunter2-hunter2")

    @task
    def leak() -> str:
        return "it is hunter2-hunter2"

    @task
    def fail(said: str) -> None:
        raise ValueError(f"refused: {said}")

    with Pipeline("secrets") as p:
        fail(leak())
        penstock.command("login", ["true", "hunter2-hunter2"])
        penstock.command("echo", ["printenv", "TOKEN_OF_TEST"])
    p.run(store=store, progress=False, secret=["TOKEN_OF_TEST"])
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) > 2
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
    assert "***" in str(read_run(store, 1).last.errors)
    assert read_run(store, 1).functions[2] == "true ***"

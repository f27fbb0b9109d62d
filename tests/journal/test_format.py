"""The stored sample of each version of the format stays readable, and packs are what the document says."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from hashlib import blake2b
from pathlib import Path

import numpy as np

from penstock.journal import list_runs, read_run
from penstock.journal.packs import PackKind
from penstock.journal.reading import read_packs
from penstock.journal.results import Codec, decode
from penstock.journal.schema import APPLICATION_ID, FILE
from penstock.observe.events import EventKind
from penstock.states import Cause, State

SAMPLE = Path(__file__).parents[1] / "data" / "journal_v1"


def copied(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLE, tmp_path / "runs" / "1")
    return tmp_path


def test_the_sample_of_version_1_is_read_to_the_last_fact(tmp_path: Path) -> None:
    run = read_run(copied(tmp_path), 1)
    assert (run.number, run.name, run.state, run.problem, run.target) == (1, "sample", "succeeded", None, None)
    assert run.names == ["nothing", "array", "array-2", "lock", "skips", "skipped", "said", "fails", "plain", "last"]
    assert run.functions[:2] == ["tests.journal.sample.nothing", "tests.journal.sample.array"]
    assert run.functions[6] == "printf hello"
    assert run.last.lanes == [0] * 6 + [2] + [0] * 3
    indptr, indices = run.dependencies
    assert indptr.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 3]
    assert indices.tolist() == [4, 8, 7]
    skipped = 5
    assert run.states.tolist() == [State.CANCELLED if k == skipped else State.SUCCEEDED for k in range(10)]
    assert run.causes.tolist() == [Cause.SKIPPED if k == skipped else Cause.NONE for k in range(10)]
    assert run.attempts.tolist() == [0 if k == skipped else 1 for k in range(10)]
    assert [name for name, taken in zip(run.names, run.taken_over, strict=True) if taken] == [
        "nothing", "array", "array-2", "skips", "said", "plain",
    ]  # fmt: skip
    assert (run.finish_ns[indptr[:-1] == 0] >= 0).all()
    assert run.start_ns[skipped] == -1
    first = run.sessions[0]
    ((task, attempt, kind, said, text, cause),) = first.errors
    assert (first.names[task], attempt, kind, said, cause) == ("fails", 1, "ValueError", "as wanted", "EXCEPTION")
    assert text.endswith("ValueError: as wanted")
    assert first.skips == [(4, ["skipped"])]
    assert first.ending is not None
    assert first.ending["ending"] == "failed"
    kinds = first.events["kind"].tolist()
    assert kinds[-1] == EventKind.RUN_FINISHED
    counts = {kind: kinds.count(kind) for kind in (EventKind.RUN_STARTED, EventKind.SUCCEEDED, EventKind.FAILED)}
    assert counts == {EventKind.RUN_STARTED: 1, EventKind.SUCCEEDED: 7, EventKind.FAILED: 1}


def test_the_results_of_the_sample_of_version_1_are_what_they_were(tmp_path: Path) -> None:
    run = read_run(copied(tmp_path), 1)
    found = {}
    for name, task in zip(run.names, range(len(run.names)), strict=True):
        result = run.result_of(*run.origin(2, task))
        if result is not None:
            found[name] = result
    assert {name: result.codec for name, result in found.items()} == {
        "nothing": Codec.NONE,
        "array": Codec.PARTS,
        "array-2": Codec.FILE,
        "lock": Codec.UNSTORED,
        "skips": Codec.PICKLE,
        "said": Codec.PICKLE,
        "fails": Codec.PICKLE,
        "plain": Codec.PICKLE,
        "last": Codec.PICKLE,
    }
    values = {
        name: decode(result.codec, result.body, result.digest, run.folder / "results")
        for name, result in found.items()
        if result.codec != Codec.UNSTORED
    }
    assert np.array_equal(values.pop("array"), np.arange(10))
    assert np.array_equal(values.pop("array-2"), np.arange(500))
    assert values == {
        "nothing": None, "skips": 1, "said": "hello", "fails": "not wanted", "plain": {"a": 1}, "last": 1,
    }  # fmt: skip
    assert b"cannot be pickled" in bytes(found["lock"].body)


def test_a_pack_is_chained_as_the_document_says(tmp_path: Path) -> None:
    store = copied(tmp_path)
    packs = list(read_packs(store / "runs" / "1"))
    assert {pack.kind for pack in packs} == set(PackKind)
    before = bytes(16)
    for pack in packs:
        head = pack.seq.to_bytes(8, "little") + pack.session.to_bytes(4, "little") + bytes([pack.kind])
        before = blake2b(before + head + pack.body, digest_size=16).digest()
        assert before == pack.digest
    with sqlite3.connect(store / "runs" / "1" / FILE) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,) == (0x70656E73,)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()


def test_listing_says_what_can_be_read_and_what_not_and_changes_nothing(tmp_path: Path) -> None:
    store = copied(tmp_path)
    (store / "runs" / "2").mkdir()
    before = {path: stat.S_IMODE(path.stat().st_mode) for path in SAMPLE.rglob("*")}
    found = dict(list_runs(store))
    assert list(found) == [1, 2]
    assert "there is no such journal" in str(found[2])
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in SAMPLE.rglob("*")} == before
    assert dict(list_runs(tmp_path / "nowhere")) == {}

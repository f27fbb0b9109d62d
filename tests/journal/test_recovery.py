"""A damaged journal gives up its place only to one that is whole."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from penstock import Pipeline, task
from penstock.journal import StoreError, read_run, recovery
from penstock.journal.place import run_folder
from penstock.journal.reading import read_packs
from penstock.journal.schema import FILE

pytestmark = pytest.mark.timeout(60)


@task
def number(n: int) -> int:
    return n


@pytest.fixture
def damaged(store: Path) -> Path:
    """The folder of a run whose sixth pack is not what was written; the packs before it are its good part."""
    with Pipeline("numbers") as p:
        for n in range(5):
            number(n)
    p.run(store=store, progress=False, durability="each")
    folder = run_folder(store, 1)
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE packs SET body = x'00' WHERE seq = 5")
    connection.close()
    return folder


def test_the_good_part_is_in_a_sound_file_and_the_damaged_one_beside_it(damaged: Path) -> None:
    before = (damaged / FILE).read_bytes()
    good = read_run(damaged.parents[1], 1)
    recovery.rebuild(damaged, good.packs).close()
    assert [pack.seq for pack in read_packs(damaged)] == list(range(5))
    again = read_run(damaged.parents[1], 1)
    assert (again.problem, again.packs, again.digest) == (None, 5, good.digest)
    assert recovery.is_sound(damaged)
    assert (damaged / f"{FILE}.damaged-1").read_bytes() == before
    assert oct((damaged / FILE).stat().st_mode & 0o777) == "0o600"
    assert not (damaged / "rebuilt").exists()


@pytest.mark.parametrize("place", ["create", "_put_in_place"])
def test_where_there_is_no_room_for_the_new_file_the_damaged_one_stays_in_its_place(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    good = read_run(damaged.parents[1], 1)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(recovery, place, full)
        with pytest.raises(sqlite3.OperationalError):
            recovery.rebuild(damaged, good.packs)
    assert read_run(damaged.parents[1], 1).packs == good.packs
    recovery.rebuild(damaged, good.packs).close()  # and with room it goes on from there
    assert read_run(damaged.parents[1], 1).problem is None


@pytest.mark.parametrize("call", ["link", "rename", "replace"])
def test_whenever_it_is_cut_off_while_files_change_places_the_good_part_is_still_there(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    good = read_run(damaged.parents[1], 1)
    (damaged / (FILE + "-wal")).touch()  # as a process that was killed leaves it

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os if call == "link" else Path, call, killed)
        with pytest.raises(Killed):
            recovery.rebuild(damaged, good.packs)
    assert read_run(damaged.parents[1], 1).packs == good.packs
    recovery.rebuild(damaged, good.packs).close()
    assert read_run(damaged.parents[1], 1).problem is None


def test_halves_of_large_results_are_removed_when_a_run_goes_on(store: Path) -> None:
    fails = [True]

    @task
    def large() -> bytes:
        return bytes(100_000)

    @task
    def after(data: bytes) -> int:
        if fails:
            raise StoreError("not yet")
        return len(data)

    with Pipeline("halves") as p:
        after(large())
    p.run(store=store, progress=False)
    results = run_folder(store, 1) / "results"
    (whole,) = results.iterdir()
    (results / f".{whole.name}.part").write_bytes(b"half")
    fails.clear()
    result = p.run(store=store, progress=False, resume=1)
    assert (result.ok, list(result.taken_over)) == (True, ["large"])
    assert list(results.iterdir()) == [whole]

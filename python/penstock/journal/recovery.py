"""Goes on with a damaged journal: keeps what verifies, in a new file, and the damaged one beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from penstock.journal.errors import Damaged
from penstock.journal.place import fsync_folder
from penstock.journal.reading import Pack, read_packs
from penstock.journal.schema import FILE, create, open_for_reading, open_for_writing

__all__ = ["is_sound", "rebuild", "remove_halves"]


def is_sound(folder: Path) -> bool:
    """Return whether SQLite finds its own structure in order."""
    connection = open_for_reading(folder)
    try:
        return [row[0] for row in connection.execute("PRAGMA integrity_check(1)")] == ["ok"]
    except sqlite3.Error:
        return False
    finally:
        connection.close()


def rebuild(folder: Path, packs: int) -> sqlite3.Connection:
    """Put the first `packs` packs into a new file in the place of the damaged one, which is kept under another name.

    The new file is whole and on the disk before the damaged one gives up its place, so that whatever ends this process
    meanwhile, or a full disk, leaves one of the two there.

    Returns:
        The new file, open for writing.
    """
    good: list[Pack] = []
    try:
        for pack in read_packs(folder):
            good.append(pack)
            if len(good) == packs:
                break
    except Damaged:
        pass
    apart = folder / "rebuilt"
    shutil.rmtree(apart, ignore_errors=True)  # of one that did not come to its end
    apart.mkdir(mode=0o700)
    connection = create(apart)
    try:
        connection.execute("BEGIN IMMEDIATE")
        rows = [(pack.seq, pack.session, pack.kind, pack.digest, pack.body) for pack in good]
        connection.executemany("INSERT INTO packs VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    finally:
        connection.close()  # the last to close it puts all of it into the one file
    _put_in_place(folder, apart / FILE)
    apart.rmdir()
    return open_for_writing(folder)


def _put_in_place(folder: Path, new: Path) -> None:
    number = 1
    while (folder / f"{FILE}.damaged-{number}").exists():
        number += 1
    kept = folder / f"{FILE}.damaged-{number}"
    os.link(folder / FILE, kept)
    for suffix in ("-wal", "-shm"):  # before the new file is there: it is none of its own
        old = folder / (FILE + suffix)
        if old.exists():
            old.rename(kept.with_name(kept.name + suffix))
    new.replace(folder / FILE)
    fsync_folder(folder)


def remove_halves(folder: Path) -> None:
    """Remove the files of large results whose writing did not come to its end; no row names them."""
    for path in (folder / "results").glob(".*.part"):
        path.unlink(missing_ok=True)

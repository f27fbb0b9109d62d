"""Goes on with a damaged journal: keeps what verifies, in a new file, and the damaged one beside it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from penstock.journal.errors import Damaged
from penstock.journal.place import fsync_folder
from penstock.journal.reading import Pack, read_packs
from penstock.journal.schema import FILE, create, open_for_reading

__all__ = ["is_sound", "rebuild"]


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
    number = 1
    while (folder / f"{FILE}.damaged-{number}").exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        old = folder / (FILE + suffix)
        if old.exists():
            old.rename(folder / f"{FILE}.damaged-{number}{suffix}")
    connection = create(folder)
    connection.execute("BEGIN IMMEDIATE")
    rows = [(pack.seq, pack.session, pack.kind, pack.digest, pack.body) for pack in good]
    connection.executemany("INSERT INTO packs VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    fsync_folder(folder)
    return connection

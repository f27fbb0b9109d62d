"""The SQLite file of one run: its layout, its version, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from penstock.journal.errors import Damaged, StoreError
from penstock.journal.place import fsync_folder

__all__ = ["APPLICATION_ID", "FILE", "VERSION", "create", "open_for_reading", "open_for_writing", "sentence"]

FILE = "journal.sqlite"
APPLICATION_ID = 0x70656E73  # "pens"
VERSION = 1
BUSY_S = 5.0
"""How long another's lock on the file is waited for."""

_LAYOUT = """
CREATE TABLE packs (
    seq INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
)
"""


def create(folder: Path) -> sqlite3.Connection:
    """Make the file of a new run and open it for writing."""
    path = folder / FILE
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # SQLite's own files get the same mode
    connection = _connected(path, "rw")
    try:
        _set_up(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_LAYOUT)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
        fsync_folder(folder)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_writing(folder: Path) -> sqlite3.Connection:
    """Open the file of a run to go on with it.

    Raises:
        Damaged, StoreError: as `open_for_reading`.
    """
    connection = _opened(folder / FILE, "rw")
    try:
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """Open the file of a run, also while it is written; what is read in one transaction is of one instant.

    Raises:
        Damaged: it is no journal.
        StoreError: there is none, it cannot be read, or its version is not known here.
    """
    return _opened(folder / FILE, "ro")


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    # isolation_level=None: transactions are begun and ended here and nowhere else.
    return sqlite3.connect(
        f"file:{quote(str(path.resolve()))}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreError(f"{path}: there is no such journal.")
    try:
        connection = _connected(path, mode)
    except sqlite3.Error as error:
        raise StoreError(sentence(path, error)) from error
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise Damaged(f"{path}: this is no journal of penstock, or its beginning is damaged.")
        if not 1 <= version <= VERSION:
            raise StoreError(
                f"{path}: its format is version {version}, and this penstock reads versions 1 to {VERSION}; "
                "use the penstock that wrote it, or a newer one."
            )
    except sqlite3.Error as error:
        connection.close()
        raise _kind(error)(sentence(path, error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _kind(error: sqlite3.Error) -> type[StoreError]:
    return StoreError if isinstance(error, sqlite3.OperationalError) else Damaged


def sentence(path: Path, error: BaseException) -> str:
    """Return what an error of SQLite or of the system means for a journal, and what can be done."""
    said = str(error)
    if isinstance(error, OSError):
        said = error.strerror or said
    if "locked" in said or "busy" in said:
        return f"{path}: another program has kept it locked for {BUSY_S:g} s ({said}); close that program."
    if "full" in said or "No space" in said:
        return f"{path}: the disk is full ({said}); make room, or give another place by store= or --store."
    if "readonly" in said or "Read-only" in said or "ermission" in said or "unable to open" in said:
        return f"{path}: it cannot be written ({said}); give another place by store= or --store, or 'off'."
    if "malformed" in said or "not a database" in said:
        return f"{path}: it is damaged ({said})."
    return f"{path}: {said}."

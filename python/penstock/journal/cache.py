"""Results of tasks with cache=True, across runs: same function, same arguments, same code gives the stored result."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from penstock.journal.errors import StoreError
from penstock.journal.place import fsync_folder
from penstock.journal.results import Codec, Stored, decode, write_file
from penstock.journal.schema import BUSY_S, sentence

__all__ = ["MISSING", "Cache"]

FILE = "cache.sqlite"
APPLICATION_ID = 0x70656E63  # "penc"
VERSION = 1
MISSING = object()

_LAYOUT = """
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, made REAL NOT NULL, codec INTEGER NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID
"""


class Cache:
    """One store's cache. May be used from any thread and by several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._files = folder / "cache"
        self._files.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / FILE
        self._lock = threading.Lock()
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
        self._connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise StoreError(f"{self._path}: its format is version {version}, and this penstock knows {VERSION}.")
            self._connection.execute(_LAYOUT)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreError(sentence(self._path, error)) from error
        except BaseException:
            self._connection.close()
            raise

    def get(self, key: bytes) -> Any:
        """Return the stored result, or MISSING; one that is damaged, or cannot be loaded any more, is missing."""
        try:
            with self._lock:
                row = self._connection.execute(
                    "SELECT codec, digest, body FROM entries WHERE key = ?", (key,)
                ).fetchone()
            return MISSING if row is None else decode(row[0], row[2], row[1], self._files)
        except Exception:  # noqa: BLE001  a cache that cannot answer has no answer; unpickling runs users' code
            return MISSING

    def put(self, key: bytes, stored: Stored) -> None:
        """Keep a result.

        Raises:
            sqlite3.Error, OSError: it cannot be written.
        """
        if stored.codec == Codec.UNSTORED:
            return
        digest, body = stored.digest, stored.body
        if stored.parts is not None:
            stored = Stored(Codec.FILE, key.hex().encode(), b"", stored.parts)
            digest, body = write_file(self._files, stored), stored.body
            fsync_folder(self._files)
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)",
                (key, time.time(), int(stored.codec), digest, body),
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

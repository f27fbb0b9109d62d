"""Where things lie in a store, who may read them, and who writes a run now.

.penstock/              0700, with a .gitignore that keeps all of it out of version control
  runs/7/               one folder for each run
    journal.sqlite      0600
    results/            large results, one file each, 0600
    lock                held by the process that runs it
  cache.sqlite, cache/  results of tasks with cache=True
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from penstock.journal.errors import StoreError

__all__ = ["RunLock", "fsync_folder", "make_private", "new_run_folder", "remove_run", "run_folder", "run_numbers"]

_held: set[str] = set()
_guard = threading.Lock()


def make_private(folder: Path) -> None:
    """Make a store's folder, unless it is there, so that only its owner can look into it.

    Raises:
        StoreError: it cannot be made, or belongs to somebody else, whose pickles must not be loaded.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid():
            raise StoreError(
                f"store {folder}: it belongs to user {status.st_uid}, and this is user {os.geteuid()}; "
                "loading another's results would run his code. Give a folder of your own by store= or --store."
            )
        if status.st_mode & 0o077:
            folder.chmod(0o700)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            write_private(ignore, b"*\n")
    except OSError as error:
        raise StoreError(
            f"store {folder}: it cannot be written ({error.strerror}); give another by store= or --store, or 'off'."
        ) from error


def write_private(path: Path, content: bytes) -> None:
    """Write a small file for its owner alone."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(number, "wb") as file:
        file.write(content)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def run_numbers(folder: Path) -> list[int]:
    """Return the numbers of the runs in a store, in order; none when there is no such store."""
    try:
        entries = list((folder / "runs").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"store {folder}: it cannot be read ({error.strerror}).") from error
    return sorted(int(entry.name) for entry in entries if entry.name.isdecimal() and entry.name.isascii())


def run_folder(folder: Path, number: int) -> Path:
    """Return the folder of a run.

    Raises:
        StoreError: the store has no such run.
    """
    path = folder / "runs" / str(number)
    if not path.is_dir():
        known = run_numbers(folder)
        there = f"it has runs {', '.join(map(str, known[-5:]))}" if known else "it has none"
        raise StoreError(f"store {folder} has no run {number}; {there}.")
    return path


def new_run_folder(folder: Path) -> tuple[int, Path]:
    """Make the folder of a new run and return its number and path; two processes never get the same.

    Raises:
        StoreError: it cannot be made.
    """
    make_private(folder)
    try:
        (folder / "runs").mkdir(mode=0o700, exist_ok=True)
        number = max(run_numbers(folder), default=0) + 1
        while True:
            path = folder / "runs" / str(number)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
                fsync_folder(folder / "runs")
                return number, path
            number += 1
    except OSError as error:
        raise StoreError(f"store {folder}: a new run cannot be written ({error.strerror}).") from error


def remove_run(folder: Path, number: int) -> None:
    """Remove a run and its results.

    Raises:
        StoreError: there is no such run, it runs now, or it cannot be removed.
    """
    path = run_folder(folder, number)
    with RunLock(path).held(f"run {number} of store {folder}"):
        try:
            # Out of sight first: a run that is half removed must not be listed.
            gone = path.with_name(f".removed-{number}-{os.getpid()}")
            path.rename(gone)
            shutil.rmtree(gone)
        except OSError as error:
            raise StoreError(f"run {number} of store {folder} cannot be removed ({error.strerror}).") from error


class RunLock:
    """Says that a process is running a run. It goes with the process, however that ends.

    A POSIX lock: a process that a task forks does not inherit it, so an orphan never keeps a dead run looking alive.
    Such locks are one process's, so the threads of this one go by a set.
    """

    def __init__(self, path: Path) -> None:
        self._path = path / "lock"
        self._name = os.path.realpath(self._path)
        self._number: int | None = None

    def acquire(self, what: str) -> None:
        """Take it.

        Raises:
            StoreError: another holds it.
        """
        with _guard:
            if self._name in _held:
                raise StoreError(f"{what} is running in this process; wait for it, or stop it first.")
            number = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(number)
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise StoreError(f"{what} cannot be locked ({error.strerror}).") from error
                raise StoreError(f"{what} is running in another process; wait for it, or stop it first.") from None
            self._number = number
            _held.add(self._name)

    def release(self) -> None:
        with _guard:
            if self._number is not None:
                os.close(self._number)
                self._number = None
                _held.discard(self._name)

    @contextlib.contextmanager
    def held(self, what: str) -> Iterator[None]:
        self.acquire(what)
        try:
            yield
        finally:
            self.release()

    @property
    def is_held(self) -> bool:
        """Whether some process holds it now. Takes nothing."""
        with _guard:
            if self._name in _held:
                return True
            try:
                number = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                return False
            try:
                fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
            finally:
                os.close(number)
            return False

"""A live run answers questions of other processes of its user: a socket, one line of JSON in, one out.

It only reads. One thread sleeps in `accept` until somebody asks, so a run that nobody asks does nothing for it. Runs that
were started from the command line or keep a journal have one; where none can be opened, the run goes on without and a
debug line says why.

The sockets of a user lie in a folder that nobody else can look into, as `PID-RANDOM.sock`. One whose process was killed is
left there; who asks next removes it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import socket
import stat
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import OptionError

if TYPE_CHECKING:
    from penstock.observe.protocol import RunView

__all__ = ["PATIENCE_S", "VERSION", "Questions", "folders", "is_private", "open_questions", "read_line"]

VERSION = 1
"""Of the questions and answers. A run answers no other."""

PATIENCE_S = 5.0
"""How long each side waits for the other's next bytes."""

LONGEST = 4 << 20
"""Bytes of a line; more is no question and no answer of ours."""

MOST_NAMES = 10_000
"""Names that are told to who misspelt one. To compare them is left to the one who asks; the run has better things to do."""

_log = logging.getLogger("penstock")
_open: weakref.WeakSet[Questions] = weakref.WeakSet()


def folders() -> list[Path]:
    """Return where sockets can lie, the preferred one first.

    Raises:
        OSError: there is no folder for temporary files.
    """
    found = [Path(tempfile.gettempdir()) / f"penstock-{os.geteuid()}"]
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    with suppress(OSError):
        # After `sudo` it is another user's still, who could put anything there.
        if os.path.isabs(given) and os.stat(given).st_uid == os.geteuid():
            found.insert(0, Path(given) / "penstock")
    return found


def is_private(folder: Path) -> bool:
    """Whether this is a folder of this user, no link to one, that nobody else can look into."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def read_line(connection: socket.socket) -> bytes:
    """Return what comes up to the end of a line, or of the stream.

    Raises:
        OSError: the other side was silent for too long, or is gone.
        ValueError: the line is too long.
    """
    line = bytearray()
    while not line.endswith(b"\n") and (part := connection.recv(65536)):
        line += part
        if len(line) > LONGEST:
            raise ValueError(f"a line of more than {LONGEST} bytes")
    return bytes(line)


def open_questions(view: RunView, id_of: Callable[[str], int], about: Mapping[str, object]) -> Questions | None:
    """Let a run be asked from now on; None where that cannot be, which is logged.

    Args:
        view: the run.
        id_of: the id of the task of a name; raises OptionError where there is none.
        about: plain values that each answer says of the run, beside its pipeline and its process.
    """
    try:
        return Questions(_usable_folder(), view, id_of, about)
    except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
        _log.debug("run %r cannot be asked by `penstock why`: %s", view.name, error)
        return None


def _usable_folder() -> Path:
    tried = folders()
    for folder in tried:
        with suppress(OSError):
            folder.mkdir(mode=0o700)
        if is_private(folder):
            return folder
    shown = " nor ".join(str(folder) for folder in tried)
    raise PermissionError(errno.EACCES, f"neither {shown} is a folder for this user alone (0700)")


class Questions:
    """The open socket of one run.

    Raises:
        OSError: it cannot be made.
        RuntimeError: its thread cannot be started.
    """

    def __init__(self, folder: Path, view: RunView, id_of: Callable[[str], int], about: Mapping[str, object]) -> None:
        self._view, self._id_of = view, id_of
        self._pid = os.getpid()
        self._about = {"pipeline": view.name, "pid": self._pid, "started_at": view.started_at, **about}
        self._closed = False
        self.path = folder / f"{self._pid}-{secrets.token_hex(4)}.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self.path))
            self.path.chmod(0o600)  # before anybody can connect
            self._listener.listen()
            self.thread = threading.Thread(target=self._serve, name="penstock-questions", daemon=True)
            self.thread.start()
        except BaseException:
            self._listener.close()
            self.path.unlink(missing_ok=True)
            raise
        _open.add(self)

    def close(self) -> None:
        """Answer nothing more and take the socket away. Waits for nobody; a second time it does nothing."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # ends `accept` on Linux
        except OSError:  # elsewhere only a caller does
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
                caller.setblocking(False)
                caller.connect(str(self.path))
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def forget(self) -> None:
        """In a process that was forked: let go of the socket, which would else seem alive after the run's process."""
        self._listener.close()

    def _serve(self) -> None:
        with self._listener:
            while not self._closed:
                try:
                    connection, _ = self._listener.accept()
                except ConnectionAbortedError:
                    continue
                except OSError as error:
                    if not self._closed:
                        # No descriptor is left, say. To try again at once would be to spin beside the run.
                        _log.debug("run %r cannot be asked any more: %s", self._view.name, error)
                        self.close()
                    return
                with connection:
                    self._serve_one(connection)

    def _serve_one(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(PATIENCE_S)
            answer = self._answer(read_line(connection))
            connection.sendall(json.dumps({"version": VERSION, **answer}).encode() + b"\n")
        except Exception as error:  # noqa: BLE001  whatever is asked, the next one is answered
            _log.debug("a question to run %r was not answered: %s: %s", self._view.name, type(error).__name__, error)

    def _answer(self, line: bytes) -> dict[str, object]:
        question = json.loads(line)
        asked = question.get("why") if isinstance(question, dict) and question.get("version") == VERSION else None
        if not isinstance(asked, str):
            return {"run": self._about, "problem": f'it answers {{"version": {VERSION}, "why": TASK}} alone'}
        try:
            task = self._id_of(asked)
        except OptionError:
            return {"run": self._about, "names": list(islice(self._view.names, MOST_NAMES))}
        return {"run": self._about, "why": self._view.why(task)}


def _forget_all() -> None:
    for questions in list(_open):
        questions.forget()


os.register_at_fork(after_in_child=_forget_all)

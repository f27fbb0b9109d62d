"""The runs of this user that go on now, asked through their sockets. Executes and unpickles nothing."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.questions import PATIENCE_S, VERSION, folders, is_private, read_line

__all__ = ["Answer", "ask_live_runs"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one live run said of a task.

    Attributes:
        pid: the run's process.
        run: `pipeline`, `pid`, `started_at` (s since the epoch), `target` and `number` (None where it is not recorded);
            empty where the run gave no answer.
        why: the sentence, or None where the run has no such task, or said nothing.
        names: tasks that the run has, where it has no such one; the first of very many.
        problem: why there is no answer, or empty.
    """

    pid: int
    run: dict[str, Any]
    why: str | None = None
    names: tuple[str, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.run['pipeline']!r} (process {self.pid})" if self.run else f"process {self.pid}"


def ask_live_runs(task: str, wanted: str | None = None) -> list[Answer]:
    """Ask each live run about a task, the oldest first. What killed processes have left behind is removed.

    Args:
        task: its name.
        wanted: a process whose runs are asked alone, where it has some; the others may be slow to answer.
    """
    found = list(_sockets())
    found = [(pid, path) for pid, path in found if str(pid) == wanted] or found
    answers = [answer for pid, path in found if (answer := _ask(pid, path, task)) is not None]
    return sorted(answers, key=lambda answer: (answer.run.get("started_at", 0.0), answer.pid))


def _sockets() -> Iterator[tuple[int, Path]]:
    for folder in folders():
        if is_private(folder):
            for path in sorted(folder.glob("*-*.sock")):
                pid = path.name.partition("-")[0]
                if pid.isdecimal():
                    yield int(pid), path


def _ask(pid: int, path: Path, task: str) -> Answer | None:
    """Return what a run says, or None where there is none any more."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
            connection.sendall(json.dumps({"version": VERSION, "why": task}).encode() + b"\n")
            line = read_line(connection)
    except (ConnectionError, FileNotFoundError):  # nobody listens there, or the run ended just now
        if not _lives(pid):
            path.unlink(missing_ok=True)
        return None
    except (TimeoutError, BlockingIOError):  # the latter: many others wait for it as well
        if not _lives(pid):  # a process that it left behind holds the socket open
            path.unlink(missing_ok=True)
            return None
        return Answer(pid, {}, problem=f"it has not answered for {PATIENCE_S:g} s; is it stopped?")
    if not line:
        return None
    return _understood(pid, line)


def _understood(pid: int, line: bytes) -> Answer:
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        said = json.loads(line)
        if said["version"] == VERSION and not said.get("problem"):
            return Answer(pid, dict(said["run"]), said.get("why"), tuple(said.get("names", ())))
    return Answer(pid, {}, problem="it answers in a way that this version of penstock does not know")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # somebody else's, that has got the number since
    return True

"""Ends what an executor started when penstock itself is killed and cannot.

A process that was killed with SIGKILL runs no cleanup, and the system kills none of its children's children. So a
small process in a session of its own holds one end of a pipe and a list of process groups: when the pipe ends, whoever
held the other end is gone, and the guardian kills the groups that are still on its list, and what carries a mark of
this executor in its environment.
"""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import sys
from pathlib import Path

from penstock.executors.family import MARK

__all__ = ["Guardian"]

_SCRIPT = Path(__file__).with_name("guardian_process.py")


class Guardian:
    """The list of process groups that must not outlive this process. For one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)

    def mark(self) -> str:
        """Return a new mark, to be put as `MARK` into the environment of a child that is started next.

        Starts the guardian's process, unless it runs.

        Raises:
            OSError: there can be no more processes or descriptors.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SCRIPT), f"{MARK}={self._name}."],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env={key: value for key, value in os.environ.items() if key != MARK},  # it outlives an outer penstock
                start_new_session=True,
            )
        return f"{self._name}.{next(self._numbers)}"

    def guard(self, group: int) -> None:
        """Add a process group."""
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """Take a process group off the list; to be called before its number can be given to another one."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the guardian's process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode())
        except BrokenPipeError:  # somebody killed it; the attempts themselves need no guardian
            return

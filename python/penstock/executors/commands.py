"""The executor of commands: runs each attempt as a program of its own and returns what it wrote as text."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import IO

from penstock.errors import InternalError, TaskFailed
from penstock.executors.base import ReactorExecutor
from penstock.executors.child import Child, Ending
from penstock.executors.failures import CommandFailed
from penstock.executors.guardian import Guardian
from penstock.executors.memory_group import memory_group
from penstock.executors.protocol import Launch, Report
from penstock.executors.reactor import READ, WRITE, Reactor, Timer
from penstock.executors.worker import failure, over_limit
from penstock.states import Cause
from penstock.template import CommandTemplate

__all__ = ["Commands"]

_AT_ONCE = 1 << 18  # bytes read before other descriptors have their turn
_TAIL = 1 << 14  # bytes kept of standard error
_TAIL_LINES = 20
_OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"Cannot allocate memory", b"out of memory", b"Out of memory")


class Commands(ReactorExecutor):
    """Runs commands; an `Executor`.

    A command leads a session and process group of its own. It is over when its process has ended and its standard
    output and error are closed; what it leaves running in its group is ended with it, though what still holds the
    output is first given the grace time to finish. Standard output is decoded as UTF-8 with replacements.
    """

    def __init__(self, *, grace_s: float = 5.0) -> None:
        """Make an executor; nothing runs before `start`.

        Args:
            grace_s: seconds between SIGTERM and SIGKILL for an attempt that is killed, >= 0.
        """
        super().__init__("penstock-commands", grace_s)
        self._running: dict[tuple[int, int], _Command] = {}

    def roots(self) -> Mapping[tuple[int, int], int]:
        """Return the process of each command; see `Executor.roots`."""
        return {attempt: command.pid for attempt, command in self._running.copy().items()}

    def _begin(self, launch: Launch) -> None:
        template = launch.args[0] if launch.args else None
        if not isinstance(template, CommandTemplate):
            problem = InternalError(f"task {launch.name!r} was launched as a command but has none as its argument")
            self._deliver(failure(launch, problem, Cause.EXCEPTION))
            return
        try:
            command = _Command(self._reactor, self._guardian, launch, template, self._grace_s, self._ended)
        except (OSError, ValueError, MemoryError) as error:
            refused = CommandFailed(launch.name, str(template), _why_not_started(template, launch.env, error))
            self._deliver(failure(launch, refused, Cause.EXCEPTION))
        else:
            self._running[launch.task, launch.attempt] = command

    def _ended(self, report: Report) -> None:
        del self._running[report.task, report.attempt]
        self._deliver(report)
        self._note_empty()

    def _end(self, task: int, attempt: int, within_s: float | None) -> None:
        command = self._running.get((task, attempt))
        if command is not None:
            command.kill(within_s)

    def _hold(self, task: int, attempt: int, held: bool) -> None:
        command = self._running.get((task, attempt))
        if command is not None:
            command.hold(held=held)

    def _end_all(self, kill: bool, within_s: float | None) -> None:
        if kill:
            for command in self._running.values():
                command.kill(within_s)

    def _has_processes(self) -> bool:
        return bool(self._running)


class _Command:
    """One attempt of a command."""

    def __init__(
        self,
        reactor: Reactor,
        guardian: Guardian,
        launch: Launch,
        template: CommandTemplate,
        grace_s: float,
        ended: Callable[[Report], None],
    ) -> None:
        self._reactor = reactor
        self._launch = launch
        self._template = template
        self._grace_s = grace_s
        self._ended = ended
        self._output: list[bytes] = []
        self._tail = b""
        self._tail_cut = False
        self._lingering: Timer | None = None
        self._exited_ns = 0
        self._kill_asked = False
        self._concluded = False  # its report is made, and follows when its control group is empty
        self._input = memoryview(_bytes(template.stdin))
        self._started_ns = time.monotonic_ns()
        self._child = Child(
            reactor,
            guardian,
            _argv(template),
            self._exited,
            env=_environment(template, launch.env),
            cwd=None if template.cwd is None else str(template.cwd),
            stdin=subprocess.PIPE if self._input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cpus=launch.cpus,
        )
        _cap_memory(self._child.pid, launch.spec.memory_limit)
        self._group = memory_group(launch, reactor, self._over_limit)
        if self._group is not None:
            for pid in self._child.family():  # what it has started already; all else begins in the group
                self._group.add(pid)
        self._pipes: dict[IO[bytes], Callable[[bytes], None]] = {}  # of output that is not at its end
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        for pipe, take in ((self._child.stdout, self._output.append), (self._child.stderr, self._take_error)):
            os.set_blocking(pipe.fileno(), False)
            self._pipes[pipe] = take
            reactor.watch(pipe.fileno(), READ, partial(self._read, pipe))
        if self._child.stdin is not None:
            os.set_blocking(self._child.stdin.fileno(), False)
            reactor.watch(self._child.stdin.fileno(), WRITE, self._write)

    @property
    def pid(self) -> int:
        return self._child.pid

    def kill(self, grace_s: float | None = None) -> None:
        """End the command and what it started; the report follows when all are gone."""
        self._kill_asked = True
        if self._exited_ns:  # only what it left behind is there, and is not waited for any more
            if not self._concluded:
                self._conclude()
        else:
            self._child.kill(self._grace_s if grace_s is None else grace_s)

    def hold(self, *, held: bool) -> None:
        """Let the command and what it started stand still, or go on."""
        self._child.hold(held=held)

    def _over_limit(self) -> None:
        self._child.kill(0)  # all of it, as the kernel may have ended one of its processes only

    def _write(self) -> None:
        pipe = self._child.stdin
        assert pipe is not None
        try:
            self._input = self._input[os.write(pipe.fileno(), self._input[:_AT_ONCE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want to read all of it
            self._input = memoryview(b"")
        if not self._input:
            self._reactor.unwatch(pipe.fileno())
            pipe.close()

    def _read(self, pipe: IO[bytes]) -> None:
        try:
            data = os.read(pipe.fileno(), _AT_ONCE)
        except BlockingIOError:
            return
        if data:
            self._pipes[pipe](data)
            return
        self._drop(pipe)
        if self._exited_ns and not self._pipes:
            self._conclude()

    def _take_error(self, data: bytes) -> None:
        whole = self._tail + data
        self._tail_cut = self._tail_cut or len(whole) > _TAIL
        self._tail = whole[-_TAIL:]

    def _drop(self, pipe: IO[bytes]) -> None:
        self._reactor.unwatch(pipe.fileno())
        del self._pipes[pipe]

    def _exited(self) -> None:
        self._exited_ns = time.monotonic_ns()
        if self._pipes and not self._child.killed:
            self._lingering = self._reactor.after(self._grace_s, self._conclude)
        else:
            self._conclude()

    def _conclude(self) -> None:
        self._concluded = True
        if self._lingering is not None:
            self._lingering.cancel()
        for pipe in list(self._pipes):
            self._drop(pipe)
        if self._child.stdin is not None and not self._child.stdin.closed:
            self._reactor.unwatch(self._child.stdin.fileno())
        ending = self._child.finish()
        if self._group is None:
            self._ended(self._report(ending, False))
        else:
            report = self._report(ending, self._group.exceeded)
            self._group.end(partial(self._ended, report))

    def _report(self, ending: Ending, exceeded: bool) -> Report:
        launch = self._launch
        value: str | None = None
        error: BaseException | None = None
        cause = Cause.NONE
        if self._kill_asked:
            cause, error = Cause.CANCELLED, TaskFailed(launch.name, "it was killed", Cause.CANCELLED, launch.attempt)
        elif ending.code == 0 and not exceeded:
            value = b"".join(self._output).decode(errors="replace")
        else:
            cause, error = self._failure(ending, exceeded)
        return Report(launch.task, launch.attempt, value, error, cause, self._started_ns, self._exited_ns, ending.usage)

    def _failure(self, ending: Ending, exceeded: bool) -> tuple[Cause, CommandFailed]:
        code, limit = ending.code, self._launch.spec.memory_limit
        problem = str(ending)
        if code == -signal.SIGKILL:
            problem += ", which penstock did not send; the system's out-of-memory killer sends it too"
        elif code is not None and code > 128 and self._template.shell:
            problem += f", as a shell does when signal {code - 128} killed what it ran"
        cause = Cause.LOST if code is None or code < 0 else Cause.EXCEPTION
        if exceeded:
            problem, cause = over_limit(self._launch), Cause.OOM
        elif limit is not None:
            problem += f"; its memory_limit was {limit} bytes"
            if any(sign in self._tail for sign in _OUT_OF_MEMORY):
                cause = Cause.OOM
        failed = CommandFailed(
            self._launch.name,
            str(self._template),
            problem,
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            stderr=self._last_lines(),
        )
        return cause, failed

    def _last_lines(self) -> str:
        lines = self._tail.decode(errors="replace").splitlines()
        if self._tail_cut:
            lines = lines[1:] or lines
        return "\n".join(lines[-_TAIL_LINES:])


def _bytes(stdin: object) -> bytes:
    if isinstance(stdin, bytes):
        return stdin
    return b"" if stdin is None else str(stdin).encode()


def _argv(template: CommandTemplate) -> list[str]:
    argv = [str(value) for value in template.argv]
    return ["/bin/sh", "-c", *argv] if template.shell else argv


def _environment(template: CommandTemplate, env: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **env, **{key: str(value) for key, value in template.env.items()}}


def _cap_memory(pid: int, limit: int | None) -> None:
    """Cap the private memory of a process that has just begun, and of each that it starts, where the system can."""
    if limit is not None and sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError):  # it has ended already, or the system's own cap is lower
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))


def _why_not_started(template: CommandTemplate, env: Mapping[str, str], error: BaseException) -> str:
    program = _argv(template)[0]
    if template.cwd is not None and not os.path.isdir(str(template.cwd)):
        return f"was not started: its cwd {str(template.cwd)!r} is no folder; make it first or correct the name"
    if isinstance(error, FileNotFoundError):
        if shutil.which(program, path=_environment(template, env).get("PATH")) is not None:
            return f"was not started: the interpreter that the first line of {program!r} names is not there"
        where = "there is no such file" if os.sep in program else "there is no such program on the PATH"
        return f"was not started: {program!r} was not found, {where}; install it or correct the name"
    if isinstance(error, PermissionError):
        return f"was not started: {program!r} may not be run; make it executable, or name its interpreter first"
    return f"was not started: {error}"

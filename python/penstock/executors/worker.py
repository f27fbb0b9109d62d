"""One worker process as the executor of processes sees it: what it runs, and what its replies and its end mean."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import penstock
from penstock.errors import InternalError, PickleError, TaskFailed, message_of
from penstock.executors.child import Child, Ending
from penstock.executors.failures import RemoteTraceback
from penstock.executors.framing import Frame, FrameReader, FrameWriter
from penstock.executors.guardian import Guardian
from penstock.executors.memory_group import MemoryGroup, memory_group
from penstock.executors.pickling import Dumped, load
from penstock.executors.protocol import UNKNOWN, Launch, Report, Usage
from penstock.executors.reactor import READ, WRITE, Reactor, Timer
from penstock.executors.wire import Order, Reply, pack, unpack
from penstock.states import Cause

__all__ = ["Worker", "failure", "over_limit"]

_ROOT = str(Path(penstock.__file__).parent.parent)
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from penstock.executors.process_worker import main; main()"
_HINTS = {
    signal.SIGKILL: ", which penstock did not send; the system's out-of-memory killer sends it too",
    signal.SIGSEGV: ", a crash in native code",
    signal.SIGBUS: ", a crash in native code",
    signal.SIGABRT: ", which native code sends itself when it gives up",
}


class Worker:
    """A worker process. For the reactor's thread.

    Attributes:
        env: what it has in its environment on top of penstock's own.
        usable: whether it can take another attempt.
    """

    def __init__(
        self,
        reactor: Reactor,
        guardian: Guardian,
        env: Mapping[str, str],
        grace_s: float,
        ended: Callable[[Worker, Report], None],
        gone: Callable[[Worker], None],
    ) -> None:
        """Start the process.

        Args:
            reactor: on whose thread this is called.
            guardian: ends the process when this one dies.
            env: added to this process's environment, before anything is imported there.
            grace_s: seconds between SIGTERM and SIGKILL.
            ended: called once for each attempt that `begin` took.
            gone: called once, when the process has ended, after the last `ended`.

        Raises:
            OSError: the process could not be started.
        """
        self.env = env
        self._reactor = reactor
        self._grace_s = grace_s
        self._ended = ended
        self._gone = gone
        self._launch: Launch | None = None
        self._sent_ns = 0
        self._path: list[str] = []
        self._cpu_s, self._io_bytes = 0.0, 0  # up to its last reply
        self._kill_asked = False
        self._writing = False
        self._overdue: Timer | None = None
        self._group: MemoryGroup | None = None  # of the attempt, if it is to keep to a limit
        self._left: list[MemoryGroup] = []  # of earlier ones, in which something still runs
        self._reader = FrameReader()
        self._writer = FrameWriter()
        self._stream, theirs = socket.socketpair()
        try:
            with theirs:
                self._child = Child(
                    reactor,
                    guardian,
                    _argv(theirs.fileno()),
                    self._exited,
                    env={**os.environ, **env},
                    pass_fds=[theirs.fileno()],
                )
        except BaseException:
            self._stream.close()
            raise
        self._stream.setblocking(False)
        reactor.watch(self._stream.fileno(), READ, self._ready)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def usable(self) -> bool:
        return self._launch is None and not (self._kill_asked or self._overdue is not None or self._reader.ended)

    def begin(self, launch: Launch, function: Dumped, arguments: Dumped) -> bool:
        """Send an attempt to the process; False when the process has just died, and nothing was begun."""
        path = [entry or os.getcwd() for entry in sys.path]
        self._group = group = memory_group(launch, self._reactor, self._over_limit)
        order = Order(
            task=launch.task,
            attempt=launch.attempt,
            name=launch.name,
            memory_limit=launch.spec.memory_limit,
            function_parts=len(function),
            path=None if path == self._path else path,
            cpus=launch.cpus,
            groups=None if group is None else (str(group.directory), str(group.home)),
        )
        self._path = path
        self._launch = launch
        self._sent_ns = time.monotonic_ns()
        self._writer.put([pack(order), *function, *arguments])
        if not self._write():
            self._launch = None
            self._leave_group()
            return False
        return True

    def kill(self, grace_s: float | None = None) -> None:
        """End the process and what it started; the attempt's report follows when all are gone."""
        self._kill_asked = True
        self._child.kill(self._grace_s if grace_s is None else grace_s)

    def hold(self, *, held: bool) -> None:
        """Let the process and what it started stand still, or go on."""
        self._child.hold(held=held)

    def retire(self) -> None:
        """End the idle process by closing its socket; if it does not follow in the grace time, by force."""
        self._hang_up()
        self._overdue = self._reactor.after(self._grace_s, lambda: self._child.kill(self._grace_s))

    def _ready(self) -> None:
        if self._writing and not self._write():
            return
        self._receive()
        if self._reader.ended:  # it has died, or the task closed descriptors that are not its own
            self._hang_up()
            self._child.kill(0)

    def _write(self) -> bool:
        """Write what the socket takes, and wait for it to take more; False when there is nobody to read."""
        try:
            done = self._writer.write(self._stream)
        except ConnectionError:
            self._hang_up()
            self._child.kill(0)
            return False
        if self._writing == done:
            self._writing = not done
            self._reactor.watch(self._stream.fileno(), READ if done else READ | WRITE, self._ready)
        return True

    def _receive(self) -> None:
        try:
            for frame in self._reader.read(self._stream):
                self._replied(frame)
        except Exception as error:  # noqa: BLE001  whatever it is, the attempt gets its report
            cause = Cause.OOM if isinstance(error, MemoryError) else Cause.LOST
            self._fail(error, cause)
            self._child.kill(0)

    def _over_limit(self) -> None:
        self._child.kill(0)  # all of it, as the kernel may have chosen another process than the one that grew

    def _leave_group(self) -> bool:
        """Let go of the attempt's control group; return whether the attempt went over its limit."""
        group, self._group = self._group, None
        if group is None:
            return False
        exceeded = group.exceeded
        if not group.close():
            self._left.append(group)
        return exceeded

    def _hang_up(self) -> None:
        if self._stream.fileno() >= 0:
            self._reactor.unwatch(self._stream.fileno())
            self._stream.close()

    def _exited(self) -> None:
        if self._stream.fileno() >= 0:
            self._receive()  # a reply sent just before the end counts
            self._hang_up()
        if self._overdue is not None:
            self._overdue.cancel()
        ending = self._child.finish()
        exceeded = self._leave_group()
        self._conclude(ending, exceeded)

    def _conclude(self, ending: Ending, exceeded: bool) -> None:
        if self._left:  # what it had started goes with it
            self._left.pop().end(partial(self._conclude, ending, exceeded))
            return
        if self._launch is not None:
            if self._kill_asked:
                error = TaskFailed(self._launch.name, "it was killed", Cause.CANCELLED, self._launch.attempt)
                self._fail(error, Cause.CANCELLED, ending.usage)
            elif exceeded:
                error = TaskFailed(self._launch.name, over_limit(self._launch), Cause.OOM, self._launch.attempt)
                self._fail(error, Cause.OOM, ending.usage)
            else:
                self._fail(_lost(self._launch, ending), Cause.LOST, ending.usage)
        self._gone(self)

    def _fail(self, error: BaseException, cause: Cause, life: Usage = UNKNOWN) -> None:
        launch, self._launch = self._launch, None
        if launch is not None:
            cpu_s = None if life.cpu_s is None else max(0.0, life.cpu_s - self._cpu_s)
            usage = Usage(
                cpu_s, life.peak_memory, None if life.io_bytes is None else max(0, life.io_bytes - self._io_bytes)
            )
            self._ended(self, failure(launch, error, cause, self._sent_ns, usage))

    def _replied(self, frame: Frame) -> None:
        launch = self._launch
        reply = unpack(frame)
        if launch is None or not isinstance(reply, Reply):
            raise InternalError(f"a worker process sent {type(reply).__name__} when no reply was due")
        self._cpu_s = reply.total_cpu_s
        self._io_bytes = reply.total_io_bytes or 0
        usage = Usage(reply.cpu_s, reply.peak_memory, reply.io_bytes)
        value: object = None
        error: BaseException | None = None
        cause = Cause(reply.cause)
        if cause is Cause.NONE:
            try:
                value = load(frame[1:])
            except BaseException as problem:  # noqa: BLE001  it makes objects of the user's classes
                cause = Cause.EXCEPTION
                error = PickleError(
                    f"task {launch.name!r}: its result was pickled in the worker process but cannot be made again here: "
                    f"{message_of(problem)}. Its classes must be importable here, and be able to unpickle what they pickle."
                )
        else:
            error = _error_of(launch, reply, frame[1:])
        if self._kill_asked:  # it ended just before the signal came, or survived it
            self._child.kill(0)
        if self._leave_group() and error is not None:
            cause = Cause.OOM  # one that it had started was ended for its limit
        self._child.hold(held=False)  # the attempt had ended before it was to stand still; the next one is to run
        self._launch = None
        self._ended(
            self,
            Report(launch.task, launch.attempt, value, error, cause, reply.started_ns, reply.finished_ns, usage),
        )


def failure(
    launch: Launch, error: BaseException, cause: Cause, started_ns: int | None = None, usage: Usage = UNKNOWN
) -> Report:
    """Return the report of an attempt that failed now."""
    now = time.monotonic_ns()
    return Report(
        launch.task, launch.attempt, None, error, cause, now if started_ns is None else started_ns, now, usage
    )


def over_limit(launch: Launch) -> str:
    """Return why an attempt failed whose processes the kernel ended for its `memory_limit`."""
    return (
        f"its processes needed more than its memory_limit of {launch.spec.memory_limit} bytes together, and were ended; "
        "raise memory_limit= or let them use less"
    )


def _argv(fd: int) -> list[str]:
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [sys.executable, *flags, "-c", _BOOT, _ROOT, str(fd), str(os.getpid())]


def _error_of(launch: Launch, reply: Reply, parts: Frame) -> BaseException:
    error: object = None
    if parts:
        try:
            error = load(parts)
        except BaseException:  # noqa: BLE001  many exceptions pickle but do not unpickle; their text is there
            error = None
    if not isinstance(error, BaseException):
        error = TaskFailed(launch.name, reply.text, Cause(reply.cause), launch.attempt)
    if reply.trace:
        error.__cause__ = RemoteTraceback(reply.trace)
    return error


def _lost(launch: Launch, ending: Ending) -> TaskFailed:
    reason = f"its process {ending}"
    if ending.code is not None and ending.code < 0:
        reason += _HINTS.get(signal.Signals(-ending.code), "") if -ending.code in set(signal.Signals) else ""
    elif ending.code is not None:
        reason += " before the task returned"
    if launch.spec.memory_limit is not None:
        reason += f"; its memory_limit was {launch.spec.memory_limit} bytes"
    code = ending.code
    exit_code, number = (None, None) if code is None else (code, None) if code >= 0 else (None, -code)
    return TaskFailed(launch.name, reason, Cause.LOST, launch.attempt, exit_code, number)

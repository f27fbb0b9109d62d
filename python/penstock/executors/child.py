"""A child process in a session of its own: its start, its end, what it used, and how it is killed with all it started.

Everything here runs on a reactor's thread. Children are also started there, because Linux takes the death of the
starting thread for the death of the parent where a child asks to die with it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from penstock.executors.family import MARK, family_of
from penstock.executors.guardian import Guardian
from penstock.executors.protocol import Usage
from penstock.executors.reactor import READ, Reactor, Timer
from penstock.executors.rusage import io_bytes, peak_bytes

__all__ = ["Child", "Ending"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended.

    Attributes:
        code: its exit code, the negative number of the signal that killed it, or None when something else in this
            process waited for it first and took the answer.
        usage: of its whole life.
    """

    code: int | None
    usage: Usage

    def __str__(self) -> str:
        """Return the second half of a sentence: "its process ..."."""
        if self.code is None:
            return "ended, but something else in this Python process had waited for it, so its exit code is unknown"
        if self.code >= 0:
            return f"exited with code {self.code}"
        try:
            name = f" ({signal.Signals(-self.code).name})"
        except ValueError:
            name = ""
        return f"was killed by signal {-self.code}{name}"


class Child:
    """One child process, the leader of its own session and process group.

    Attributes:
        pid: of the process, its group and its session.
        killed: whether `kill` was called.
        held: whether it stands still, see `hold`.
        stdin, stdout, stderr: this process's ends of its pipes, for those that were asked for.
    """

    def __init__(
        self,
        reactor: Reactor,
        guardian: Guardian,
        argv: Sequence[str],
        exited: Callable[[], None],
        *,
        env: Mapping[str, str],
        cwd: str | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
        cpus: frozenset[int] | None = None,
    ) -> None:
        """Start the process.

        Args:
            reactor: on whose thread this is called.
            guardian: kills the process group when this process dies.
            argv: the program, looked for on the PATH in `env`, and its arguments.
            exited: called once, when the process has ended; when it was killed, after what it started has ended too.
                It must call `finish`.
            env: the whole environment.
            cwd: working directory; None: this process's own.
            stdin, stdout, stderr: as `subprocess.Popen` takes them.
            pass_fds: descriptors that it inherits under the same numbers.
            cpus: numbers of the CPUs that it and all that it starts run on; None for all.

        Raises:
            OSError, ValueError: as `subprocess.Popen` does; nothing was started.
        """
        self._reactor = reactor
        self._guardian = guardian
        self._exited = exited
        self._mark = guardian.mark()
        with _on_cpus(cpus):
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                list(argv),
                env={**env, MARK: self._mark},
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                start_new_session=True,
                bufsize=0,
            )
        # Until a new process has its own program it runs in a copy of this one, whose memory the system counts as a
        # peak of the new one. So its peak is known only when it is above ours, as ours is now that it has its own.
        self._inherited_peak = peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
        self.pid = self._process.pid
        self.stdin: IO[bytes] | None = self._process.stdin
        self.stdout: IO[bytes] | None = self._process.stdout
        self.stderr: IO[bytes] | None = self._process.stderr
        self.killed = False
        self.held = False
        self._gone = False
        self._relatives: dict[int, int] = {}  # pidfds of what it had started when the kill began -> pid
        self._grace: Timer | None = None
        self._kill_due_s = 0.0
        guardian.guard(self.pid)
        try:
            self._exit = _open_exit(self.pid)
        except OSError:  # no descriptor is left
            self._process.kill()
            self._process.wait()
            guardian.release(self.pid)
            self._close_pipes()
            raise
        reactor.watch(self._exit.fd, READ, self._leader_gone)

    def kill(self, grace_s: float) -> None:
        """End the process and all that it started: SIGTERM now, and SIGKILL for what is left after `grace_s` seconds.

        Calling it again can only make the end come earlier. Without effect after the process has ended.
        """
        if self._gone and not self._relatives:
            return
        if not self.killed:
            self.killed = True
            self._relatives = _pidfds(family_of(self.pid, self._mark))
            for fd in self._relatives:
                self._reactor.watch(fd, READ, partial(self._relative_gone, fd))
            self._signal(signal.SIGTERM)
            self.hold(held=False)  # what stands still heeds no SIGTERM
        due_s = time.monotonic() + max(0.0, grace_s)
        if self._grace is None or due_s < self._kill_due_s:
            if self._grace is not None:
                self._grace.cancel()
            self._kill_due_s = due_s
            self._grace = self._reactor.after(max(0.0, grace_s), self._kill_now)

    def hold(self, *, held: bool) -> None:
        """Let the process and all that it started stand still (SIGSTOP), or go on (SIGCONT)."""
        if held == self.held or self._gone or (held and self.killed):
            return
        self.held = held
        number = signal.SIGSTOP if held else signal.SIGCONT
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for pid in self.family():  # what is not stopped yet may start another one meanwhile; what is stopped cannot
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def family(self) -> Iterator[int]:
        """Yield each process of its tree once, and look again for those that were started meanwhile."""
        reached: set[int] = set()
        while found := {self.pid, *family_of(self.pid, self._mark)} - reached:
            reached |= found
            yield from found

    def finish(self) -> Ending:
        """Kill what is left in the process group, and return how the process ended; to be called once, by `exited`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)
        self._guardian.release(self.pid)  # while the number is still ours
        moved = io_bytes(self.pid)  # it has ended, but its counters stay until it is waited for
        code, used = self._exit.collect()
        self._process.returncode = 0 if code is None else code  # Popen asks no more
        self._close_pipes()
        if used is None:
            return Ending(code, Usage(None, None))
        peak = peak_bytes(used)
        return Ending(code, Usage(used.ru_utime + used.ru_stime, peak if peak > self._inherited_peak else None, moved))

    def _close_pipes(self) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for fd, pid in self._relatives.items():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != self.pid:  # it was not reached as part of the group
                    signal.pidfd_send_signal(fd, number)

    def _kill_now(self) -> None:
        self._relatives |= _pidfds(
            family_of(self.pid, self._mark)
        )  # before the first one dies and its children are nobody's
        self._signal(signal.SIGKILL)
        for fd in list(self._relatives):
            self._forget(fd)
        if self._gone:
            self._exited()

    def _leader_gone(self) -> None:
        self._reactor.unwatch(self._exit.fd)
        self._gone = True
        if not self._relatives:
            self._conclude()

    def _relative_gone(self, fd: int) -> None:
        self._forget(fd)
        if self._gone and not self._relatives:
            self._conclude()

    def _conclude(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._exited()

    def _forget(self, fd: int) -> None:
        del self._relatives[fd]
        self._reactor.unwatch(fd)
        os.close(fd)


@contextlib.contextmanager
def _on_cpus(cpus: frozenset[int] | None) -> Iterator[None]:
    """Let this thread, and so what it starts meanwhile, run on these CPUs; where the system can."""
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):  # they were taken away since the machine was looked at
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pidfds(pids: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError, AttributeError):  # it ended meanwhile, or there are no pidfds here
            found[os.pidfd_open(pid)] = pid
    return found


class _PidfdExit:
    """The end of a process as a descriptor that becomes readable."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.fd = os.pidfd_open(pid)

    def collect(self) -> tuple[int | None, resource.struct_rusage | None]:
        """Return the exit code and usage, and close the descriptor. The process must have ended."""
        os.close(self.fd)
        return _wait(self._pid)


class _ThreadExit:
    """The same where the system has no pidfds: a thread waits, and closes its end of a pipe."""

    def __init__(self, pid: int) -> None:
        self._answer: tuple[int | None, resource.struct_rusage | None] = (None, None)
        self.fd, self._ended = os.pipe()
        self._thread = threading.Thread(target=self._wait, args=(pid,), name=f"penstock-wait-{pid}", daemon=True)
        self._thread.start()

    def _wait(self, pid: int) -> None:
        self._answer = _wait(pid)
        os.close(self._ended)

    def collect(self) -> tuple[int | None, resource.struct_rusage | None]:
        """As for a pidfd."""
        self._thread.join()
        os.close(self.fd)
        return self._answer


def _wait(pid: int) -> tuple[int | None, Any]:
    try:
        _, status, used = os.wait4(pid, 0)
    except ChildProcessError:
        return None, None
    return os.waitstatus_to_exitcode(status), used


def _open_exit(pid: int) -> _PidfdExit | _ThreadExit:
    try:
        return _PidfdExit(pid)
    except (AttributeError, OSError):  # another system, an old kernel, or a sandbox that has no pidfds
        return _ThreadExit(pid)

"""Control groups that cap the memory of one attempt, all of its processes together, where we may make them.

The group of an attempt is made below our own; in version 2 beside ours where ours holds processes, which may then have
no groups that limit memory below it. The kernel ends a process of a group that needs more than its limit. In version 2 it
ends them all; in version 1 it tells us, and we end the rest. Charges of what a worker process had before stay with us.

Sources: Linux Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/memory.rst, sections 9 and 10 for its notifications.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.executors.reactor import READ, Reactor

if TYPE_CHECKING:
    from penstock.executors.protocol import Launch

__all__ = ["MemoryGroup", "Place", "memory_group"]

_serials = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where groups for attempts are made.

    Attributes:
        version: of the hierarchy, 1 or 2.
        parent: directory of the group that they are made in.
        home: directory of our own group, to which worker processes return.
        oom_kills: tells how many processes of the group with this directory the kernel has ended for memory; None: unknown.
    """

    version: int
    parent: Path
    home: Path
    oom_kills: Callable[[Path], int | None]

    def make(self, limit: int) -> Path:
        """Make a group with a limit in bytes, and return its directory.

        Raises:
            OSError: it cannot be made here.
        """
        directory = self.parent / f"penstock-{os.getpid()}-{next(_serials)}"
        directory.mkdir()
        try:
            if self.version == 2:
                _write(directory, "memory.max", limit)
                for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):  # older kernels lack them
                    with contextlib.suppress(OSError):
                        _write(directory, name, value)
            else:
                _write(directory, "memory.limit_in_bytes", limit)
                with contextlib.suppress(OSError):  # swap is not accounted for
                    _write(directory, "memory.memsw.limit_in_bytes", limit)
        except BaseException:
            directory.rmdir()
            raise
        return directory


def memory_group(launch: Launch, reactor: Reactor, over: Callable[[], None]) -> MemoryGroup | None:
    """Return a group for an attempt with a `memory_limit`, or None: it has none, or no group can be made.

    Args:
        launch: the attempt; it says where groups are made.
        reactor: on whose thread this is called.
        over: called there when the group has reached its limit and the kernel may end one of its processes only.
    """
    place, limit = launch.groups, launch.spec.memory_limit
    if limit is None or place is None:
        return None
    try:
        return MemoryGroup(place, place.make(limit), reactor, over)
    except OSError:  # the hierarchy has changed since; what there is without groups still holds
        return None


class MemoryGroup:
    """The group of one attempt.

    Attributes:
        directory: of the group.
        home: of the group that this process is in.
    """

    def __init__(self, place: Place, directory: Path, reactor: Reactor, over: Callable[[], None]) -> None:
        self.directory = directory
        self.home = place.home
        self._oom_kills = place.oom_kills
        self._reactor = reactor
        self._over = over
        self._news = -1
        self._told_of = False
        self._ended: set[int] = set()  # members that were told to end
        self._waiting = 0  # so many of them are waited for
        if place.version == 1:
            # Where no descriptor is left, or the C library has none of that kind, the end of the attempt tells.
            with contextlib.suppress(OSError, AttributeError):
                self._listen()

    @property
    def exceeded(self) -> bool:
        """Whether the kernel has ended a process of the group for its limit, or would have if we had not been faster."""
        return self._told_of or bool(self._oom_kills(self.directory))

    def add(self, pid: int) -> None:
        """Take in a process, and so all that it starts from now on."""
        with contextlib.suppress(OSError):  # it has ended already
            _write(self.directory, "cgroup.procs", pid)

    def close(self) -> bool:
        """Remove the group unless something runs in it; return whether it is gone."""
        self._stop_listening()
        try:
            self.directory.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def end(self, then: Callable[[], None]) -> None:
        """End what runs in the group, remove it, and call `then`; at once where nothing runs in it."""
        self._stop_listening()
        for pid in self._members():
            try:
                fd = os.pidfd_open(pid)
            except (AttributeError, OSError):  # there are no pidfds, so nothing can be waited for; or it has just ended
                continue
            self._ended.add(pid)
            self._waiting += 1
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            self._reactor.watch(fd, READ, partial(self._one_gone, fd, then))
        if not self._waiting:
            self.close()
            then()

    def _members(self) -> list[int]:
        try:
            found = (self.directory / "cgroup.procs").read_text().split()
        except OSError:
            return []
        return [pid for pid in map(int, found) if pid not in self._ended]

    def _one_gone(self, fd: int, then: Callable[[], None]) -> None:
        self._reactor.unwatch(fd)
        os.close(fd)
        self._waiting -= 1
        if not self._waiting:
            self.end(then)  # it may have started another one meanwhile

    def _stop_listening(self) -> None:
        if self._news >= 0:
            self._reactor.unwatch(self._news)
            os.close(self._news)
            self._news = -1

    def _listen(self) -> None:
        news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            control = os.open(self.directory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _write(self.directory, "cgroup.event_control", f"{news} {control}")
            finally:
                os.close(control)
        except BaseException:
            os.close(news)
            raise
        self._news = news
        self._reactor.watch(news, READ, self._told)

    def _told(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._news)
        self._told_of = True  # just before the kernel ends one of them
        self._over()


def _write(directory: Path, name: str, value: object) -> None:
    fd = os.open(directory / name, os.O_WRONLY | os.O_CLOEXEC)  # never makes the file: it is the kernel's, or not there
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)

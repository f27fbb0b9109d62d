"""A worker process: runs one attempt after another for the executor of processes, until its socket ends.

Started as `python -c BOOT ROOT FD PARENT`, where BOOT makes penstock importable from ROOT. It is a fresh interpreter:
nothing of the parent is in it but the environment, the working directory and, with the first order, `sys.path`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from penstock import context
from penstock.errors import PenstockError, PickleError, failure_of, message_of
from penstock.executors.failures import traceback_text
from penstock.executors.framing import Frame, receive, send
from penstock.executors.own_process import Meter, Outlets, Pin, die_with_parent, memory_capped, within_group
from penstock.executors.pickling import Dumped, dump, dump_result, load
from penstock.executors.rusage import cpu_s
from penstock.executors.wire import Order, Reply, pack, unpack
from penstock.states import Cause

__all__ = ["main"]

_MOST_FUNCTIONS = 256


class _Terminated(BaseException):
    """SIGTERM came while a task ran: it is raised in the task, so that its `finally` and `with` blocks run."""


class _Context:
    """The running task, as `penstock.current()` shows it in a worker process; see `context.TaskContext`."""

    def __init__(self, order: Order) -> None:
        self.name = order.name
        self.task = order.task
        self.attempt = order.attempt

    def submit(self, task: Any, /, *args: Any, **kwargs: Any) -> NoReturn:
        raise PenstockError(
            f"task {self.name!r} runs in a process of its own, from where current().submit(...) does not reach the run. "
            "Return the call, or a list of calls, from the task; or use executor='threads'."
        )

    def skip(self, *targets: object) -> NoReturn:
        raise PenstockError(
            f"task {self.name!r} runs in a process of its own, from where skip() does not reach the run. "
            "Return the decision and skip in a task with executor='threads'."
        )


class _Worker:
    """The loop and what it keeps between attempts."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._pid = os.getpid()
        self._outlets = Outlets()
        self._home = os.getcwd()
        self._main_thread = threading.get_ident()
        self._context: _Context | None = None
        self._pin = Pin()
        self._functions: dict[bytes, Callable[..., Any]] = {}
        context.install(self._current)

    def run(self) -> None:
        """Serve until the parent closes the socket or is gone."""
        while (frame := receive(self._stream)) is not None:
            order = unpack(frame)
            assert isinstance(order, Order)
            reply, parts = self._attempt(order, frame)
            if os.getpid() != self._pid:  # the task forked, and its child came back here
                os._exit(0)
            del frame
            send(self._stream, [pack(reply), *parts])
            del parts

    def _current(self) -> _Context | None:
        return self._context if threading.get_ident() == self._main_thread else None

    def _attempt(self, order: Order, frame: Frame) -> tuple[Reply, Dumped]:
        if order.path is not None:
            sys.path[:] = order.path
        self._pin.to(order.cpus)
        meter = Meter()
        started = time.monotonic_ns()
        finished = 0
        cause, text, trace = Cause.NONE, "", ""
        parts: Dumped
        try:
            with within_group(*order.groups or (None, None)), memory_capped(order.memory_limit):
                function, args, kwargs = self._loaded(order, frame)
                frame.clear()
                value = self._call(order, function, args, kwargs)
                finished = time.monotonic_ns()
                del args, kwargs
                parts = dump_result(order.name, value)
        except _Terminated:
            _die_of(signal.SIGTERM)
        except BaseException as error:  # noqa: BLE001  a task may raise anything, and the worker lives on
            trace = "" if isinstance(error, PickleError) and error.__cause__ is not None else traceback_text(error)
            shown = _presentable(order, error)
            cause = Cause.OOM if isinstance(error, MemoryError) else Cause.EXCEPTION
            text = f"{type(error).__name__}: {message_of(shown)}"
            parts = _dumped_error(shown)
        finished = finished or time.monotonic_ns()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
                stream.flush()
        self._outlets.restore()
        with contextlib.suppress(OSError):
            os.chdir(self._home)
        used_s, peak = meter.read()
        moved, moved_ever = meter.read_io()
        return Reply(int(cause), started, finished, used_s, peak, moved, cpu_s(), moved_ever, text, trace), parts

    def _loaded(self, order: Order, frame: Frame) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        end = 1 + order.function_parts
        try:
            function = self._function(frame[1:end])
        except (MemoryError, _Terminated):
            raise
        except BaseException as error:
            raise PickleError(
                f"task {order.name!r}: its function cannot be made again in a worker process: {message_of(error)}. "
                "What it needs must be importable there."
            ) from error
        try:
            args, kwargs = load(frame[end:])
        except (MemoryError, _Terminated):
            raise
        except BaseException as error:
            raise PickleError(
                f"task {order.name!r}: its arguments cannot be made again in a worker process: {message_of(error)}. "
                "Their classes must be importable there, and be able to unpickle what they pickle."
            ) from error
        return function, args, kwargs

    def _function(self, parts: Frame) -> Callable[..., Any]:
        """Return the function, the same object for the same pickle, as a module's function is."""
        if len(parts) > 1:
            made: Callable[..., Any] = load(parts)
            return made
        key = bytes(parts[0])
        known = self._functions.get(key)
        if known is None:
            if len(self._functions) >= _MOST_FUNCTIONS:
                self._functions.clear()
            known = self._functions[key] = load([key])
        return known

    def _call(
        self, order: Order, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> object:
        self._context = _Context(order)
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return function(*args, **kwargs)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._context = None


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _die_of(number: signal.Signals) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _presentable(order: Order, error: BaseException) -> BaseException:
    """Return the error to report: `error`, or one that says more and that is safe to raise in the parent."""
    if isinstance(error, MemoryError) and order.memory_limit is not None:
        return MemoryError(
            f"task {order.name!r} needed more than its memory_limit of {order.memory_limit} bytes"
            f"{f' ({error})' if str(error) else ''}; raise memory_limit= or let it use less."
        )
    return failure_of(order.name, order.attempt, error)


def _dumped_error(error: BaseException) -> Dumped:
    try:
        return dump(error)
    except Exception:  # noqa: BLE001  its text travels in any case
        return []


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN this is not inherited by programs that a task starts."""


def main() -> None:
    """Run the loop with the arguments of the command line."""
    fd, parent = int(sys.argv[-2]), int(sys.argv[-1])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, _ignore)  # what Ctrl-C means is decided by the parent
    os.set_inheritable(fd, False)
    stream = socket.socket(fileno=fd)
    sys.argv[:] = [""]
    with contextlib.suppress(OSError):  # the parent is gone, or the task has closed the socket: nobody to talk to
        _Worker(stream).run()

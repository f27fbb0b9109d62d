"""The two messages between the executor of processes and a worker, and their frames.

A frame's first part is the pickled message; then follow the pickles that it speaks of, each with its buffers.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from penstock.executors.framing import Frame

__all__ = ["Order", "Reply", "pack", "unpack"]


@dataclass(frozen=True, slots=True)
class Order:
    """Run this attempt. Behind it: the function with `function_parts` parts, then the arguments.

    Attributes:
        task, attempt: which one.
        name: the call's name.
        memory_limit: bytes that the process may use while it runs, or None.
        groups: directories of the control groups of memory to be in while it runs, and afterwards; None: where it is.
        function_parts: the function's pickle and its buffers.
        path: the `sys.path` to use from now on, or None when it has not changed.
        cpus: numbers of the CPUs to run on, or None for all that the process began with.
    """

    task: int
    attempt: int
    name: str
    memory_limit: int | None
    function_parts: int
    path: list[str] | None
    cpus: frozenset[int] | None = None
    groups: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The attempt has ended. Behind it: the result, or the error if it could be pickled.

    Attributes:
        cause: as a number; 0 when it succeeded.
        started_ns, finished_ns: `time.monotonic_ns` around making the function and its arguments again, which may import
            a great deal, and the call.
        cpu_s, peak_memory, io_bytes: as in `Usage`.
        total_cpu_s: seconds of CPU time of the process since it began, this attempt included.
        total_io_bytes: bytes that it moved since then.
        text: the error as `TypeName: message`, for the case that the error itself cannot be unpickled.
        trace: its traceback as text, or an empty string.
    """

    cause: int
    started_ns: int
    finished_ns: int
    cpu_s: float
    peak_memory: int | None
    io_bytes: int | None
    total_cpu_s: float
    total_io_bytes: int | None
    text: str
    trace: str


def pack(message: Order | Reply) -> bytes:
    """Return the first part of a frame."""
    return pickle.dumps(message, 5)


def unpack(frame: Frame) -> Order | Reply:
    """Return the message of a frame; the frame is this executor's own, from its own worker or parent."""
    message: Order | Reply = pickle.loads(frame[0])
    return message

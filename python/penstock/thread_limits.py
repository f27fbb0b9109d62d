"""Thread counts of numeric libraries to match `cpu=n`, for tasks on threads.

In a process of its own a task finds the counts in its environment. On a thread it shares the libraries with its
neighbours, and they are told while it runs, by threadpoolctl (the extra `threads`; without it nothing is told). OpenMP keeps
a count for each thread that calls it. The BLAS libraries have one for all: while tasks with different `cpu=` run side by
side, that is the smallest of theirs, since too many threads slow everything down and too few only that one task.

Only tasks that say `cpu=` with at least one core come here; all others run without a word to anyone.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, wraps
from importlib.util import find_spec
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.options import TaskSpec

__all__ = ["ThreadLimits", "runs"]


class ThreadLimits:
    """Keeps the libraries of this process to the counts of the tasks that run. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Counter[int] = Counter()
        self._modules = 0  # how many there were when libraries were last looked for
        self._blas: list[Any] = []
        self._openmp: list[Any] = []
        self._own: list[int] = []  # the counts of `_blas` when no task ran
        self._told: int | None = None
        self._local = threading.local()

    def enter(self, threads: int) -> None:
        """A task begins on this thread."""
        with self._lock:
            if len(sys.modules) != self._modules:
                self._look()
            self._running[threads] += 1
            self._tell()
            openmp = self._openmp
        if getattr(self._local, "told", None) != (threads, len(openmp)):
            for library in openmp:
                library.set_num_threads(threads)
            self._local.told = (threads, len(openmp))

    def leave(self, threads: int) -> None:
        """It has ended. The thread keeps its own OpenMP count: it belongs to penstock, and the next task sets it."""
        with self._lock:
            self._running[threads] -= 1
            if not self._running[threads]:
                del self._running[threads]
            self._tell()

    def _tell(self) -> None:
        wanted = min(self._running, default=None)
        if wanted == self._told:
            return
        if self._told is None:
            self._own = [library.get_num_threads() for library in self._blas]
        for library, own in zip(self._blas, self._own, strict=True):
            _set(library, own if wanted is None else wanted)
        self._told = wanted

    def _look(self) -> None:
        """Find the libraries that are loaded; when modules have been imported, there may be more of them."""
        from threadpoolctl import ThreadpoolController

        self._modules = len(sys.modules)
        found = ThreadpoolController().lib_controllers
        if len(found) == len(self._blas) + len(self._openmp):
            return
        for library, own in zip(self._blas, self._own, strict=False):
            _set(library, own)
        self._told, self._own = None, []
        self._blas = [library for library in found if library.user_api == "blas"]
        self._openmp = [library for library in found if library.user_api == "openmp"]
        self._modules = len(sys.modules)


def _set(library: Any, threads: int) -> None:
    """Set a library's count for the whole process, from whatever thread.

    threadpoolctl from 3.7 on lets only the first thread that sets a count set it again, so that threads which know nothing of
    each other do not fight. Ours have a lock for that, and none may keep the others from it.
    """
    let_go = getattr(library, "clear_controlling_thread", lambda **_: None)
    let_go(force=True)
    library.set_num_threads(threads)
    let_go()


limits = ThreadLimits()
"""Those of this process: its libraries are one and the same for all runs in it."""


def runs(spec: TaskSpec, function: Any) -> Any:
    """Return what a worker thread calls for a task: its function, with thread counts to match if it asks for cores.

    Args:
        spec: the task's.
        function: its own, or what stands in for it.
    """
    if "cpu" not in spec.declared or spec.executor != "threads" or spec.demand.cpu < 1000 or not callable(function):
        return function
    if not _can_limit():
        return function
    try:
        return _limited(function, ceil(spec.demand.cpu / 1000))
    except TypeError:  # the function cannot be hashed
        return _limited.__wrapped__(function, ceil(spec.demand.cpu / 1000))


@lru_cache(maxsize=1)
def _can_limit() -> bool:
    return find_spec("threadpoolctl") is not None


@lru_cache(maxsize=256)
def _limited(function: Callable[..., Any], threads: int) -> Callable[..., Any]:
    @wraps(function, updated=())
    def within(*args: Any, **kwargs: Any) -> Any:
        limits.enter(threads)
        try:
            return function(*args, **kwargs)
        finally:
            limits.leave(threads)

    return within

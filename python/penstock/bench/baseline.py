"""A task scheduler in pure Python, as fast as we know to make one: what the native core is measured against.

It does the same work as `Runtime` does for tasks on threads: tasks with priorities, demands and predecessors that may
be added at any time, alone or by the million; results kept and passed along the edges; a failure that ends what
depends on it; futures. It is event-driven: workers sleep on a condition and nothing polls.

What makes it fast: tables (lists by task id) in place of objects; one lock, held once for a whole batch of tasks,
not once for each; in-degree counts; one heap for each demand, so that what does not fit is not looked at again and
again; keys are tuples made by `zip`, hence built and compared in C; `heapify` when much becomes ready at once; the
garbage collector paused while tables grow.

What it leaves out, in its own favour: an event log, times, retries, timeouts, cancelling, changes of priority.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from itertools import chain, repeat
from time import perf_counter
from typing import Any

__all__ = ["Baseline", "BaselineReadiness"]

MOST_AT_ONCE = 256
LONG_S = 0.001  # a batch that took longer is followed by one of one task

Key = tuple[float, int]  # priority, then task id: smaller first, and first come first served among equals
Arguments = Sequence[Any]


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector from walking the growing tables again and again: 3 to 5 times faster."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Baseline:
    """A scheduler with its own worker threads; leaving the block waits for all tasks.

    Args:
        workers: threads.
        capacity: of the one resource, in whatever unit the demands are given in. A worker holds the demand of the
            task that it runs.
    """

    def __init__(self, workers: int = 2, capacity: int = 1 << 30) -> None:
        self.functions: list[Callable[..., Any]] = []
        self.arguments: list[Arguments | None] = []  # None: the results of the predecessors
        self.predecessors: list[Sequence[int]] = []
        self.successors: list[list[int] | None] = []
        self.unmet: list[int] = []
        self.keys: list[Key] = []
        self.demands: list[int] = []
        self.results: list[Any] = []
        self.ended = bytearray()
        self.errors: dict[int, BaseException] = {}
        self.futures: dict[int, Future[Any]] = {}
        self._heaps: dict[int, list[Key]] = {}
        self._free = capacity
        self._capacity = capacity
        self._unfinished = 0
        self._idle = 0
        self._closed = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._done = threading.Condition(self._lock)
        self._workers = workers
        self._threads = [threading.Thread(target=self._run, name=f"baseline-{k}", daemon=True) for k in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, function: Callable[..., Any], *arguments: Any, priority: float = 0.0, demand: int = 1,
        after: Sequence[int] = (),
    ) -> Future[Any]:  # fmt: skip
        """Add one task and return its future; `after` are ids of tasks that it waits for."""
        future: Future[Any] = Future()
        self.add(function, arguments, priority=priority, demand=demand, after=after, future=future)
        return future

    def add(
        self, function: Callable[..., Any], arguments: Arguments | None = (), priority: float = 0.0, demand: int = 1,
        after: Sequence[int] = (), future: Future[Any] | None = None,
    ) -> int:  # fmt: skip
        """Add one task, without a future unless one is given, and return its id.

        With arguments=None it is called with its predecessors' results.
        """
        self._check(demand)
        with self._lock:
            task = len(self.functions)
            self.functions.append(function)
            self.arguments.append(arguments)
            self.predecessors.append(after)
            self.successors.append(None)
            self.keys.append((priority, task))
            self.demands.append(demand)
            self.results.append(None)
            self.ended.append(0)
            if future is not None:
                self.futures[task] = future
            self.unmet.append(self._link(task, after))
            self._unfinished += 1
            if self.unmet[task] == 0:
                heappush(self._heap(demand), self.keys[task])
                if self._idle:
                    self._work.notify()
        return task

    def submit_many(
        self, functions: Sequence[Callable[..., Any]], *, arguments: Sequence[Arguments] | None = None,
        priority: Sequence[float] | None = None, demand: int = 1, indptr: Sequence[int] | None = None,
        indices: Sequence[int] = (),
    ) -> range:  # fmt: skip
        """Add n tasks of one demand and return their ids.

        Args:
            arguments: for each task; without them, and with edges, a task is called with its predecessors' results.
            priority: n numbers; None: all 0.
            indptr, indices: task k waits for the tasks `indices[indptr[k]:indptr[k + 1]]`: j, the j-th of this batch,
                for j < k.
        """
        self._check(demand)
        n = len(functions)
        with self._lock, _collector_paused():
            first = len(self.functions)
            self.functions += functions
            self.keys += zip(repeat(0.0, n) if priority is None else priority, range(first, first + n), strict=True)
            self.demands += [demand] * n
            self.results += [None] * n
            self.ended += bytes(n)
            self._unfinished += n
            heap = self._heap(demand)
            if indptr is None:
                self.arguments += repeat((), n) if arguments is None else arguments
                self.predecessors += repeat((), n)
                self.successors += repeat(None, n)
                self.unmet += repeat(0, n)
                ready = self.keys[first:]
            else:
                self.arguments += repeat(None, n) if arguments is None else arguments
                ready = self._add_edges(first, n, indptr, indices)
            if len(ready) > len(heap):
                heap += ready
                heapify(heap)
            else:
                for key in ready:
                    heappush(heap, key)
            if self._idle:
                self._work.notify_all()
        return range(first, first + n)

    def wait(self) -> None:
        """Block until all tasks have ended."""
        with self._lock:
            while self._unfinished:
                self._done.wait()

    def close(self) -> None:
        """Wait for all tasks and end the workers."""
        self.wait()
        with self._lock:
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Baseline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -------------------------------------------------------------------------------- below: with the lock held

    def _check(self, demand: int) -> None:
        if demand > self._capacity:
            raise ValueError(f"a task demands {demand} of {self._capacity}; it can never start")

    def _heap(self, demand: int) -> list[Key]:
        heap = self._heaps.get(demand)
        if heap is None:
            heap = self._heaps[demand] = []
        return heap

    def _link(self, task: int, after: Sequence[int]) -> int:
        unmet = 0
        for p in after:
            if not self.ended[p]:
                followers = self.successors[p]
                if followers is None:
                    self.successors[p] = [task]
                else:
                    followers.append(task)
                unmet += 1
        return unmet

    def _add_edges(self, first: int, n: int, indptr: Sequence[int], indices: Sequence[int]) -> list[Key]:
        if first:
            indices = [first + p for p in indices]
        rows = list(map(slice, indptr[:-1], indptr[1:]))
        predecessors = list(map(indices.__getitem__, rows))
        followers: list[list[int]] = [[] for _ in range(n)]
        appends = [row.append for row in followers]
        for task, row in enumerate(predecessors, first):
            for p in row:
                appends[p - first](task)
        self.predecessors += predecessors
        self.successors += followers
        counts = list(map(len, predecessors))
        self.unmet += counts
        return [key for key, count in zip(self.keys[first:], counts, strict=True) if not count]

    def _take(self, most: int) -> tuple[list[int], int]:
        """Take the next tasks of one demand, most urgent first, and hold that demand; or nothing."""
        best: list[Key] | None = None
        demand = 0
        for wanted, heap in self._heaps.items():
            if heap and wanted <= self._free and (best is None or heap[0] < best[0]):
                best, demand = heap, wanted
        if best is None:
            return [], 0
        self._free -= demand
        count = min(most, len(best) // self._workers + 1)
        if count >= len(best):
            tasks = [task for _, task in sorted(best)]
            best.clear()
        else:
            tasks = [heappop(best)[1] for _ in range(count)]
        return tasks, demand

    def _finish(self, tasks: list[int]) -> None:
        """End tasks, and make ready what waited for them alone."""
        ended, unmet, keys, successors = self.ended, self.unmet, self.keys, self.successors
        for task in tasks:
            ended[task] = 1
        demands, heaps = self.demands, self._heaps
        for s in chain.from_iterable(filter(None, map(successors.__getitem__, tasks))):
            count = unmet[s] - 1
            unmet[s] = count
            if not count:
                heappush(heaps[demands[s]], keys[s])
        self._unfinished -= len(tasks)
        if not self._unfinished:
            self._done.notify_all()

    # ------------------------------------------------------------------------------------- workers, without it

    def _run(self) -> None:
        functions, arguments, predecessors = self.functions, self.arguments, self.predecessors
        results, errors, futures, lock = self.results, self.errors, self.futures, self._lock
        result_of = results.__getitem__
        tasks: list[int] = []
        held = 0
        most = 1  # tasks taken at once: few while they are long, or the other workers would stand idle
        while True:
            with lock:
                if tasks:
                    self._free += held
                    self._finish(tasks)
                tasks, held = self._take(most)
                while not tasks:
                    if self._closed:
                        return
                    self._idle += 1
                    self._work.wait()
                    self._idle -= 1
                    tasks, held = self._take(most)
                if self._idle and any(self._heaps.values()):
                    self._work.notify()
            begun = perf_counter()
            for task in tasks:
                if errors and self._inherit(task):
                    continue
                try:
                    given = arguments[task]
                    if given is None:
                        results[task] = functions[task](*map(result_of, predecessors[task]))
                    else:
                        results[task] = functions[task](*given)
                except BaseException as error:  # noqa: BLE001 - it belongs to the task
                    errors[task] = error
            most = min(4 * most, MOST_AT_ONCE) if perf_counter() - begun < LONG_S else 1
            if futures:
                for task in tasks:
                    future = futures.pop(task, None)
                    if future is not None:
                        if task in errors:
                            future.set_exception(errors[task])
                        else:
                            future.set_result(results[task])

    def _inherit(self, task: int) -> bool:
        """A task whose predecessor failed does not run and fails with the same error."""
        for p in self.predecessors[task]:
            if p in self.errors:
                self.errors[task] = self.errors[p]
                return True
        return False


class BaselineReadiness:
    """Dependency counting alone, with the dict of counts and the dict of successors that most Python code has.

    Args:
        predecessors: for each task, what it waits for.
    """

    def __init__(self, predecessors: Mapping[int, Sequence[int]]) -> None:
        with _collector_paused():
            self.counts = {task: len(row) for task, row in predecessors.items()}
            self.successors: dict[int, list[int]] = {task: [] for task in predecessors}
            successors = self.successors
            for task, row in predecessors.items():
                for p in row:
                    successors[p].append(task)

    def drain(self) -> int:
        """Complete everything in topological order; return how many tasks there were."""
        counts, successors = self.counts, self.successors
        wave = [task for task, count in counts.items() if not count]
        done = 0
        while wave:
            done += len(wave)
            freed = []
            for task in wave:
                for s in successors[task]:
                    count = counts[s] - 1
                    counts[s] = count
                    if not count:
                        freed.append(s)
            wave = freed
        return done

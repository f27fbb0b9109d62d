"""The native core as Python sees it. Numbers in, numbers out; what they stand for is kept by the callers.

Conventions: a task is its id (from 0, in order of submission); an instant is nanoseconds of `time.monotonic_ns()`;
`now=None` means the instant of the call. Columns of a batch are None, one number for all, or a contiguous
one-dimensional buffer (numpy, `array.array`, memoryview) of the length of the batch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

_T = TypeVar("_T")

__version__: str
EVENT_SIZE: int  # bytes of one row of EventLog.read_bytes
EVENT_VERSION: int  # version of that row's layout
MAX_RESOURCES: int  # length of a full demand
NO_TASK: int  # the task of events that are about none
THREAD_SLOTS: int  # the resource that counts workers of the threads lane

class _Column(Protocol):
    """Anything with the buffer protocol."""

    def __len__(self) -> int: ...

class CycleError(ValueError):
    """Tasks wait for each other; `args[0]` lists them: positions in a refused batch, or ids from `defer`."""

class EventLog:
    """The record of a run: rows of 32 bytes, see `penstock.observe.events`."""

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def append(
        self,
        kind: int,
        *,
        task: int = ...,
        attempt: int = 0,
        worker: int = 0,
        value: int = 0,
        cause: int = 0,
        state: int = 0,
        time: int | None = None,
    ) -> int:
        """Add a row of a driver's own and return its number."""

    def read_bytes(self, start: int, limit: int = -1) -> bytes:
        """Return whole rows from row `start` on, at most `limit` of them (-1: all)."""

    def wait(self, seen: int, timeout_s: float | None = None, settle_s: float = 0.0) -> int:
        """Block until more than `seen` rows are there, the log is closed, or time is up; return the length.

        With `settle_s`, a burst is left to gather for so many seconds first.
        """

    def trim(self, before: int) -> None:
        """Forget rows below `before`, by whole chunks."""

    @property
    def first(self) -> int:
        """The first row that has not been trimmed."""

    def close(self) -> None:
        """Say that no row will follow, and wake those who wait."""

    @property
    def closed(self) -> bool: ...

class Scheduler:
    """The door; see cpp/include/penstock/scheduler.hpp. Safe from any thread."""

    def __init__(self, devices: int = 0) -> None: ...
    def __len__(self) -> int: ...
    def shape(self, demand: Sequence[int], lane: int = 0, family: int = 0) -> int:
        """Return the number of a demand on a lane (0 threads, 1 processes, 2 commands).

        Tasks of one family, if it is not 0, can be given another demand while they wait: `set_demand`.
        """

    def submit(
        self,
        count: int,
        *,
        shape: _Column | int | None = None,
        priority: _Column | float | None = None,
        indptr: _Column | None = None,
        indices: _Column | None = None,
        expected: _Column | int | None = None,
        deadline: _Column | int | None = None,
        timeout: _Column | int | None = None,
        tolerant: _Column | int | None = None,
        forgiven: _Column | int | None = None,
        place: _Column | None = None,
        now: int | None = None,
    ) -> tuple[int, list[int]]:
        """Add tasks; returns the first id, and those that ended at once because a predecessor had failed.

        `indices` has an earlier task's id, or ~k for the k-th task of this batch.
        """

    def take(self, lane: int, worker: int, most: int = 1, now: int | None = None) -> list[tuple[int, int, int, int]]:
        """Start tasks of one shape under one lease: (task, attempt, lease, bit mask of GPUs) each."""

    def finish(
        self, task: int, attempt: int, lease: int | None, started: int = 0, finished: int = 0, now: int | None = None
    ) -> int:
        """Report a success; returns how many tasks became ready."""

    def fail(
        self,
        task: int,
        attempt: int,
        lease: int | None,
        cause: int,
        retry_at: int | None = None,
        started: int = 0,
        finished: int = 0,
        shape: int | None = None,
        now: int | None = None,
    ) -> tuple[bool, list[int]]:
        """Report a failure; returns whether it counted, and the tasks that ended with it.

        `shape`: what the next attempt asks for, when that is to be something else.
        """

    def suspend(self, task: int, attempt: int, lease: int, now: int | None = None) -> bool:
        """Take CPU, disk and network back from a running attempt that stands still; whether it did."""

    def proceed(self, task: int, attempt: int, now: int | None = None) -> bool:
        """Give them to it again, when they are free and it is its turn; whether it may go on."""

    def defer(
        self, task: int, attempt: int, lease: int | None, children: Sequence[int], now: int | None = None
    ) -> tuple[bool, list[int]]:
        """Let a running task wait for others and then start again; returns as `fail`."""

    def cancel(
        self, tasks: Sequence[int], cause: int, now: int | None = None
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """End tasks, as failed when the cause is TIMEOUT; returns the running attempts to kill, and the tasks that ended."""

    def expire(self, now: int | None = None) -> list[tuple[int, int, int]]:
        """Return (task, attempt, lane) of attempts whose timeout has passed, each once."""

    def rerank(self, tasks: Sequence[int], priorities: _Column | float, now: int | None = None) -> None: ...
    def expect(self, tasks: _Column, expected: _Column | int, now: int | None = None) -> None:
        """Say how long tasks are expected to run, in ns; 0: unknown. Longest paths and ranks follow."""

    def forget_plan(self) -> bool:
        """Let ranks follow longest paths again; False where there is no plan, or the policy keeps to it."""

    def set_policy(
        self,
        form: int,
        priority_raw: bool,
        priority: float,
        demand: float,
        critical_path: float,
        age: float,
        deadline: float,
        fit: float,
        submitted: float,
        reserve_after: int,
        now: int | None = None,
    ) -> None: ...
    def set_capacity(self, resource: int, amount: int | None, now: int | None = None) -> None: ...
    def set_demand(self, family: int, demand: Sequence[int], now: int | None = None) -> None:
        """Let what starts from now on of a family take this; what runs keeps what it took."""

    def set_device_capacity(self, device: int, share: int, memory: int, now: int | None = None) -> None: ...
    def pause(self, now: int | None = None) -> None: ...
    def resume(self, now: int | None = None) -> None: ...
    def guard(self, closed: bool, used: int = 0, now: int | None = None) -> None:
        """Close or open the guard: while closed, a task starts only when none runs. `used`: bytes, for the log."""

    def blocked(self, now: int | None = None) -> list[int]:
        """Return the first task of each demand that is ready and does not fit, the most urgent first."""

    def demand(self, task: int) -> list[int]:
        """Return what the next start of a task takes, by resource."""

    def open_tasks(self, states: Sequence[int]) -> list[int]:
        """Return the tasks in one of these states, none of them final, by a look at all that are not released."""

    def release(self, tasks: Sequence[int]) -> None:
        """Let go of tasks, once they have ended, that nobody will name any more; only their states stay known."""

    def release_range(self, first: int, last: int) -> None:
        """As `release`, for all tasks from `first` to before `last`."""

    def explain(self, task: int, now: int | None = None) -> dict[str, Any]:
        """Return why a task is not running, as the fields of `Explanation` in scheduler.hpp."""

    def state(self, task: int) -> int: ...
    def cause(self, task: int) -> int: ...
    def attempt(self, task: int) -> int: ...
    def priority(self, task: int) -> float: ...
    def queued(self, lane: int) -> int: ...
    def held(self, resource: int) -> int: ...
    def take_peak_held(self, resource: int) -> int:
        """Return the most that was held at once of cpu, memory, disk or network since the last call."""

    def device_free(self, device: int) -> tuple[int, int]:
        """Return the share, in thousandths, and the bytes that are free of a GPU."""

    def free(self, resource: int) -> int: ...
    def capacity(self, resource: int) -> int: ...
    def successors(self, task: int) -> list[int]: ...
    def count_state(self, first: int, last: int, state: int) -> int: ...
    def want_idle(self, wanted: bool) -> None:
        """One more, or one less, wants the control thread to be woken when nothing is unfinished."""

    def tell_all(self) -> None:
        """From now on the control thread is woken by whatever becomes ready or free, on any lane."""

    def unfinished_up_to(self, first: int, last: int) -> int:
        """One more than the last task of the range that has not ended; `first` when all have."""

    def check(self) -> None:
        """Raise RuntimeError naming the broken invariant; for tests, at rest."""

    def control_epoch(self) -> int: ...
    def wait_control(self, seen: int, until: int | None = None) -> None: ...
    def ring(self) -> None: ...
    @property
    def unfinished(self) -> int: ...
    @property
    def late_reports(self) -> int: ...
    @property
    def next_wakeup(self) -> int | None: ...
    @property
    def log(self) -> EventLog: ...

def simulate(
    scheduler: Scheduler,
    count: int,
    *,
    duration: _Column,
    shape: _Column | None = None,
    priority: _Column | None = None,
    indptr: _Column | None = None,
    indices: _Column | None = None,
    expected: _Column | None = None,
    deadline: _Column | None = None,
    arrival: _Column | None = None,
    failures: _Column | None = None,
    retries: _Column | None = None,
    failed_share: float = 1.0,
    retry_wait: int = 0,
    capacity: Sequence[tuple[int, int, int]] = ...,
    place: _Column | None = None,
    told: Callable[[int], None] | None = None,
) -> tuple[bytes, bytes, bytes, int, int]:
    """Play tasks against a new scheduler in virtual time; see cpp/include/penstock/simulator.hpp.

    `indices` are positions of the batch. Returns the starts and ends (int64) and the attempts (uint32) by task, the
    makespan, and how many tasks never ended.
    """

class Inputs:
    """Says that each task of a batch is called with the results of its predecessors, in order."""

    def __init__(self, first: int, indptr: _Column, indices: _Column) -> None: ...
    def of(self, task: int) -> list[int]: ...

class Watch:
    """The tasks whose end somebody waits for."""

    def __init__(self) -> None: ...
    def add(self, task: int) -> None: ...
    def remove(self, task: int) -> None: ...

class ObjectTable(Generic[_T]):
    """One object for each task id; a thousand equal neighbours cost one pointer."""

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> list[_T]: ...
    def __iter__(self) -> Iterator[_T]: ...
    def __setitem__(self, index: int, value: _T) -> None: ...
    def append(self, value: _T) -> None: ...
    def fill(self, value: _T, count: int) -> None: ...
    def extend(self, values: Iterable[_T]) -> None: ...
    def set_range(self, first: int, last: int, value: _T) -> None:
        """Put one object in the places from `first` to before `last`; a whole page of them holds it once."""

    def share(self, first: int, last: int) -> None:
        """Hold one object once again in each whole page of entries between these two that are all the same."""

    def truncate(self, size: int) -> None: ...

class Crew:
    """The native worker loop of the threads lane.

    `deferred`: the type that, anywhere in a result, stands for further work. `hooks` has bind, failed, deferred, settled
    and end_copy.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        functions: ObjectTable[Any],
        arguments: ObjectTable[Any],
        results: ObjectTable[Any],
        watch: Watch,
        deferred: type,
        hooks: object,
        most_workers: int,
        tell_each: bool = False,
    ) -> None: ...
    def work(self, worker: int) -> None: ...
    def ends_soon(self, task: int) -> bool:
        """Look for some 60 microseconds, without the GIL, whether a task ends."""

    def stop(self) -> None: ...

def current_task() -> int: ...
def current_attempt() -> int: ...
def current_devices() -> int: ...

class Readiness:
    """Who waits for whom, alone."""

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def grow(
        self, count: int, indptr: _Column | None = None, indices: _Column | None = None
    ) -> tuple[int, list[int]]: ...
    def complete(self, tasks: Sequence[int]) -> list[int]: ...
    def drain(self, ready: Sequence[int]) -> int: ...
    def unmet(self, task: int) -> int: ...
    def edges(self) -> int: ...

def bottom_levels(
    count: int, indptr: _Column | None, indices: _Column | None, weights: _Column | None = None
) -> bytes: ...

class Ledger:
    """Capacities and what is held of them, alone."""

    def __init__(self, devices: int = 0) -> None: ...
    def set_capacity(self, resource: int, amount: int | None) -> None: ...
    def set_device_capacity(self, device: int, share: int, memory: int) -> None: ...
    def capacity(self, resource: int) -> int: ...
    def held(self, resource: int) -> int: ...
    def free(self, resource: int) -> int: ...
    def try_acquire(self, demand: Sequence[int]) -> int | None: ...
    def release(self, demand: Sequence[int], devices: int = 0) -> None: ...
    def lacking(self, demand: Sequence[int]) -> int | None: ...

def squash(priority: float) -> float: ...
def urgency(priority: float) -> float: ...
def frozen_rank(
    form: int,
    priority_raw: bool,
    w_priority: float,
    w_demand: float,
    w_critical_path: float,
    w_age: float,
    w_deadline: float,
    w_fit: float,
    w_submitted: float,
    reserve_after: int,
    *,
    priority: float = 0.0,
    demand: float = 0.0,
    bottom_level: float = 0.0,
    submitted: int = 0,
    deadline: int | None = None,
    remaining: int = 0,
) -> float: ...

class StopFlag:
    """Ends `make_plan` from any thread."""

    def __init__(self) -> None: ...
    def set(self) -> None: ...
    def is_set(self) -> bool: ...

def make_plan(
    durations: _Column,
    demands: _Column,
    capacity: _Column,
    indptr: _Column | None = None,
    indices: _Column | None = None,
    release: _Column | None = None,
    *,
    budget_s: float | None = None,
    iterations: int = 0,
    seed: int = 0,
    greedy: bool = False,
    stop: StopFlag | None = None,
) -> tuple[bool, bytes, bytes, int, int, int]:
    """Search for a short schedule; see `penstock.planning.schedule_arrays`. `indices` are positions in the batch.

    Returns (whether there is one, starts as int64, order as uint32, makespan, lower bound, schedules made). Works
    without the GIL and looks for signals every 20 ms.
    """

def list_schedule(
    durations: _Column,
    demands: _Column,
    capacity: _Column,
    ranks: _Column,
    indptr: _Column | None = None,
    indices: _Column | None = None,
    release: _Column | None = None,
    *,
    serial: bool = False,
) -> tuple[bool, bytes, bytes, int, int, int]:
    """Make one schedule by ranks, see `penstock.planning.schedule_by_rank`; returns what `make_plan` does."""

def plan_levels(
    durations: _Column,
    indptr: _Column | None = None,
    indices: _Column | None = None,
    *,
    budget_s: float | None = None,
) -> bytes | None:
    """Return the longest chain of durations from each task's start, int64, or None when time was up."""

class PriorityHeap:
    """The native priority heap alone: a smaller rank leaves first, equal ranks first in, first out.

    A push gives a handle for cancel and rerank. The handle of an entry that has left stays known as such.
    """

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def push(self, rank: float, value: int) -> int:
        """Add a 64-bit value and return its handle. Raises ValueError for a rank that is NaN."""

    def push_many(self, ranks: _Column, values: _Column) -> bytes:
        """Add values, ranks float64 and values int64 of equal length, at one instant; returns their handles as int64."""

    def pop(self) -> tuple[float, int]:
        """Take out (rank, value) of the smallest. Raises IndexError when the heap is empty."""

    def pop_many(self, count: int) -> tuple[bytes, bytes]:
        """Take out the smallest in order, at most `count`: ranks as float64 and values as int64."""

    def peek(self) -> tuple[float, int] | None:
        """Return (rank, value) of the smallest, which stays, or None."""

    def cancel(self, handle: int) -> bool:
        """Take one out; False when it has left already."""

    def rerank(self, handle: int, rank: float) -> bool:
        """Give one another rank; False when it has left already."""

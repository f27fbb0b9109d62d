"""What a reader sees of a run: the log, the names behind its numbers, and two questions.

The runtime (and later the simulator and the journal) provides a `RunView`; readers depend on nothing
else of it. Every member may be used from any thread and never blocks the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.task import TaskSpec

__all__ = ["EventLog", "RunView", "Table"]

T_co = TypeVar("T_co", covariant=True)


class EventLog(Protocol):
    """The append-only log of a run, as the core publishes it to readers."""

    def __len__(self) -> int:
        """Rows published so far; they can all be read."""
        ...

    def read_bytes(self, start: int, limit: int = -1) -> bytes:
        """Return whole rows from row `start` on, at most `limit` of them (-1: all)."""
        ...

    def wait(self, seen: int, timeout_s: float | None = None, settle_s: float = 0.0) -> int:
        """Block until more than `seen` rows are there, the log is closed, or time is up; return the length.

        With `settle_s` it then waits that much longer, so that one wake-up takes a whole burst.
        """
        ...

    @property
    def first(self) -> int:
        """The first row that is still there; a long-lived runtime lets go of old ones."""
        ...

    @property
    def closed(self) -> bool:
        """True when no row will follow."""
        ...


class Table(Protocol[T_co]):
    """Something for each task id."""

    def __len__(self) -> int: ...

    def __getitem__(self, task: int, /) -> T_co: ...

    def __iter__(self) -> Iterator[T_co]: ...


class RunView(Protocol):
    """One run, as its readers see it. Task ids index `names` and `specs`, which only grow."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        ...

    @property
    def started_at(self) -> float:
        """`time.time()` at which the run started."""
        ...

    @property
    def log(self) -> EventLog: ...

    @property
    def names(self) -> Table[str]: ...

    @property
    def specs(self) -> Table[TaskSpec]: ...

    @property
    def workers(self) -> int: ...

    @property
    def capacity(self) -> Mapping[str, int | None]:
        """What the machine has, by resource: milli-cores, bytes, bytes/s, milli-GPUs; None is unknown."""
        ...

    @property
    def limits(self) -> Mapping[str, int]:
        """What the run may bring the machine to, by resource, in the same units."""
        ...

    def predecessors(self, task: int) -> Sequence[int]:
        """Ids of the tasks that `task` waits for."""
        ...

    def error(self, task: int) -> BaseException | None:
        """The error of the task's latest failed attempt, or None."""
        ...

    def why(self, task: int) -> str:
        """One sentence: why the task is not running now."""
        ...

"""The tables beside the core: what a task id stands for, its arguments, its result, its error.

Lists by task id, which the native worker loop reads and writes as they are. Nothing here schedules.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from penstock import _core
from penstock.call_ids import CallIds
from penstock.errors import InternalError, OptionError
from penstock.inputs import bind, inputs_of
from penstock.observe.events import EventKind
from penstock.states import State
from penstock.task import Call
from penstock.template import CommandTemplate
from penstock.thread_limits import runs

if TYPE_CHECKING:
    from penstock.executors import Report, Usage
    from penstock.options import TaskSpec

__all__ = ["Bookkeeping", "Waiter"]

_log = logging.getLogger("penstock")

KEPT_ERRORS = 256
"""Errors of released tasks that are kept for observers, who come to them a little later. They hold whole frames."""


class Waiter(Protocol):
    """Someone who waits for one task's end."""

    def settle(self) -> None: ...


class Bookkeeping:
    """What the engine keeps by task id. Written with the engine's lock held, but for results, which workers write."""

    def __init__(self) -> None:
        self.functions: _core.ObjectTable[Any] = _core.ObjectTable()
        self.arguments: _core.ObjectTable[Any] = (
            _core.ObjectTable()
        )  # None, a tuple, _core.Inputs, or an object that `bound` knows
        self.results: _core.ObjectTable[Any] = _core.ObjectTable()
        self.specs: _core.ObjectTable[TaskSpec] = _core.ObjectTable()
        self.names: _core.ObjectTable[str] = _core.ObjectTable()
        self.errors: dict[int, BaseException] = {}  # of the latest failed attempt
        self.failures: dict[int, int] = {}  # failed attempts so far
        self.fell_back: dict[int, int] = {}  # how many of its fallbacks a task has come to
        self.watch = _core.Watch()
        self._waiters: dict[int, list[Waiter]] = {}
        self.usage: dict[int, Usage] = {}
        self.gathered: dict[int, list[int]] = {}  # attempts that only put together what returned calls gave
        self._rows_before: dict[int, tuple[Any, Any]] = {}  # function and arguments of tasks whose row is such a gather
        self._children: dict[int, list[int]] = {}  # what a task that returned calls has waited for since
        self.ids = CallIds()
        self._released_errors: deque[int] = deque()
        self.bug: InternalError | None = None
        self._calls: dict[int, Call[Any]] = {}
        self._used_names: dict[str, int] = {}
        self._by_name: dict[str, int] = {}
        self._let_go: deque[int] = deque()  # released here, and in the core as soon as somebody comes by
        self.log: _core.EventLog
        self.scheduler: _core.Scheduler

    # ---------------------------------------------------------------------------------------------------- adding

    def unique_names(self, wanted: Iterable[str]) -> list[str]:
        """Return each name as it is, or with the first free number behind it."""
        names: list[str] = []
        for name in wanted:
            free, count = name, self._used_names.get(name, 0)
            while free in self._used_names:
                count += 1
                free = f"{name}-{count + 1}" if count else name
            self._used_names[name] = count
            self._used_names.setdefault(free, 0)
            names.append(free)
        return names

    def edges(self, calls: Sequence[Call[Any]]) -> tuple[array[int], array[int]]:
        """Return the CSR of what the calls wait for: ids of tasks that are here, ~k for the k-th of `calls`."""
        position = {call: k for k, call in enumerate(calls)}
        indptr, indices = array("q", [0]), array("q")
        for call in calls:
            for before in dict.fromkeys([*call.inputs, *call.follows]):
                k = position.get(before)
                indices.append(self.ids[before] if k is None else ~k)
            indptr.append(len(indices))
        return indptr, indices

    def add_calls(self, calls: Sequence[Call[Any]], names: Sequence[str]) -> None:
        """Append a row for each call."""
        for call, name in zip(calls, names, strict=True):
            task = len(self.functions)
            self.ids[call] = task
            self._calls[task] = call
            self._by_name[name] = task
            self._used_names.setdefault(name, 0)
            self.functions.append(self.callable_of(call.spec, call.spec.function))
            # A command that may fall back is looked up anew for each attempt: its argument is the command itself.
            fixed = not call.inputs and not call.kwargs and not (call.spec.command is not None and call.spec.fallbacks)
            self.arguments.append((call.args or None) if fixed else call)
            self.results.append(None)
            self.specs.append(call.spec)
            self.names.append(name)

    def add_plain(self, spec: TaskSpec, name: str, args: tuple[object, ...]) -> None:
        """Append the row of a task that no call stands for."""
        task = len(self.functions)
        self._by_name[name] = task
        self.functions.append(self.callable_of(spec, spec.function))
        self.arguments.append(args or None)
        self.results.append(None)
        self.specs.append(spec)
        self.names.append(name)

    def add_many(
        self,
        count: int,
        functions: Callable[..., Any] | Sequence[Callable[..., Any]],
        arguments: Sequence[Any] | _core.Inputs | None,
        spec: TaskSpec,
    ) -> None:
        """Append rows that share one spec and one name; a function or an entry that is given alone, they share too."""
        if callable(functions):
            self.functions.fill(self.callable_of(spec, functions), count)
        else:
            self.functions.extend([self.callable_of(spec, function) for function in functions])
        if arguments is None or isinstance(arguments, _core.Inputs):
            self.arguments.fill(arguments, count)
        else:
            self.arguments.extend(arguments)
        self.results.fill(None, count)
        self.specs.fill(spec, count)
        self.names.fill(spec.name, count)

    def callable_of(self, spec: TaskSpec, function: Any) -> Any:
        """Return what stands in the functions table for a task of this spec."""
        return runs(spec, function)

    def forget(self, first: int) -> None:
        """Take back the rows from `first` on, which the core has refused."""
        for task in range(first, len(self.functions)):
            call = self._calls.pop(task, None)
            if call is not None:
                del self.ids[call]
                del self._by_name[self.names[task]]
        for table in (self.functions, self.arguments, self.results, self.specs, self.names):
            table.truncate(first)

    def put_instead(self, task: int, function: Callable[..., Any], arguments: tuple[object, ...] | None) -> None:
        """Let a row that was just appended call something else."""
        self.functions[task], self.arguments[task] = function, arguments

    # --------------------------------------------------------------------------------------------------- asking

    def call_of(self, task: int) -> Call[Any] | None:
        """Return the call that a task stands for, or None for one that was added without."""
        return self._calls.get(task)

    def id_of(self, target: object) -> int:
        """Return the id of a call or a name.

        Raises:
            OptionError: this run has no such task.
        """
        task = self.ids.find(target) if isinstance(target, Call) else self._by_name.get(str(target))
        if task is None:
            shown = target.name if isinstance(target, Call) else target
            raise OptionError(f"{shown!r} is no task of this run; give a call of its pipeline or the name of one.")
        return task

    def lookup(self, call: Call[Any]) -> object:
        task = self.ids[call]
        if call.spec.allow_failure and self.scheduler.state(task) != State.SUCCEEDED:
            return None
        return self.results[task]

    def _lookup_any(self, call: Call[Any]) -> object:
        """As `lookup`, for a task that runs though some of its inputs have no result: None stands for those.

        A thread that was given up on may have left a value all the same.
        """
        task = self.ids[call]
        return self.results[task] if self.scheduler.state(task) == State.SUCCEEDED else None

    def bound(self, task: int) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the arguments of a task with results in the places of calls."""
        entry = self.arguments[task]
        if entry is None:
            return (), {}
        if isinstance(entry, tuple):
            return entry, {}
        if isinstance(entry, _core.Inputs):
            return tuple([self.results[p] for p in entry.of(task)]), {}
        if isinstance(entry, _Gather):
            return bind((entry.value,), {}, self.lookup)
        assert isinstance(entry, Call)
        lookup = self.lookup if self.specs[task].needs == "all" else self._lookup_any
        command = self.specs[task].command
        if command is not None:
            instead = self.stand_in(task)
            if isinstance(instead, CommandTemplate):
                command = instead
            return (command.resolve(lookup),), {}
        return entry.bind(lookup)

    def predecessors(self, task: int) -> Sequence[int]:
        """Return the ids of what a task waits for, the calls that it returned included."""
        call = self._calls.get(task)
        if call is not None:
            before = [self.ids[known] for known in dict.fromkeys([*call.inputs, *call.follows])]
            return before + self._children.get(task, [])
        entry = self.arguments[task]
        return entry.of(task) if isinstance(entry, _core.Inputs) else ()

    def attempts(self, task: int) -> int:
        """Return how many times the task's function was started."""
        started = self.scheduler.attempt(task)
        return started - sum(attempt <= started for attempt in self.gathered.get(task, ()))

    def failed_before(self, task: int) -> str:
        """Return the names of what `task` waited for that ended without a result, for a message."""
        lost = (State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED)
        names = [repr(self.names[p]) for p in self.predecessors(task) if self.scheduler.state(p) in lost]
        return ", ".join(names) or "a task that it needs"

    # -------------------------------------------------------------------------------------------- while it runs

    def await_end(self, task: int, waiter: Waiter) -> None:
        """Let `waiter` hear when a task ends.

        A task may end at any time, so the caller looks at its state after this, and settles it when it has ended.
        """
        self._waiters.setdefault(task, []).append(waiter)
        self.watch.add(task)

    def waiters(self, task: int) -> Sequence[Waiter]:
        """Return who waits for a task's end."""
        return self._waiters.get(task, ())

    def settled(self, tasks: Iterable[int]) -> None:
        """Tell those who wait for these tasks that they have ended."""
        if not self._waiters:
            return
        for task in tasks:
            for waiter in self._waiters.pop(task, ()):
                self._tell(waiter, task)
            self.watch.remove(task)

    def _tell(self, waiter: Waiter, task: int) -> None:
        try:
            waiter.settle()
        except BaseException:  # noqa: BLE001  a user's callback, and sys.exit() in it must not end this thread
            _log.exception("a callback on the future of task %r raised", self.names[task])

    def awaited(self) -> list[int]:
        """Return the tasks that somebody waits for."""
        return list(self._waiters)

    def give_up_waiting(self, task: int, waiter: Waiter) -> None:
        """Forget a waiter that has not heard yet."""
        waiters = self._waiters.get(task, [])
        if waiter in waiters:
            waiters.remove(waiter)

    def fall_back(self, task: int) -> bool:
        """Let the task's next attempt be its next fallback, with the same arguments; False when there is none."""
        came_to = self.fell_back.get(task, 0)
        fallbacks = self.specs[task].fallbacks
        if came_to == len(fallbacks):
            return False
        self.fell_back[task] = came_to + 1
        if self.specs[task].command is None:
            self.functions[task] = fallbacks[came_to]
        return True

    def stand_in(self, task: int) -> object:
        """Return the fallback that the task has come to, or None."""
        came_to = self.fell_back.get(task)
        return None if came_to is None else self.specs[task].fallbacks[came_to - 1]

    def calls_in(self, value: object) -> list[Call[Any]]:
        """Return the calls inside a returned value; none when a container of the user's own cannot be looked into."""
        try:
            return inputs_of((value,), {})
        except Exception:  # noqa: BLE001  whatever its methods raise
            return []

    def unsubmitted(self, wanted: Sequence[Call[Any]]) -> list[Call[Any]]:
        """Return the calls among `wanted` and what they depend on that are not in the tables, predecessors first."""
        order: dict[Call[Any], None] = {}
        stack = [(call, False) for call in reversed(wanted)]
        entered: set[Call[Any]] = set()
        while stack:
            call, expanded = stack.pop()
            if self.ids.find(call) is not None or call in order:
                continue
            if expanded or call in entered:
                order.setdefault(call)
                continue
            entered.add(call)
            stack.append((call, True))
            stack.extend((before, False) for before in (*call.inputs, *call.follows))
        return list(order)

    def become_gather(self, task: int, value: object, children: list[int]) -> None:
        """Let the task's next attempt return `value` with the results of its calls, which wait in `children`."""
        self.gathered.setdefault(task, []).append(self.scheduler.attempt(task) + 1)
        self._children[task] = children
        self._rows_before[task] = (self.functions[task], self.arguments[task])
        self.functions[task], self.arguments[task] = _identity, _Gather(value)

    def undo_gather(self, task: int) -> None:
        """Take `become_gather` back, when the core did not let the task wait."""
        self.leave_gather(task)
        self.gathered[task].pop()
        del self._children[task]

    def leave_gather(self, task: int) -> None:
        """Let the task's next attempt call its function again, if the last one only gathered."""
        row = self._rows_before.pop(task, None)
        if row is not None:
            self.functions[task], self.arguments[task] = row

    def is_gather(self, task: int) -> bool:
        """Return whether the task's next attempt only puts together what its calls gave."""
        return isinstance(self.arguments[task], _Gather)

    def release(self, task: int) -> None:
        """Let go of what an ended task was made of and what came of it: its future has that, and nobody can ask us."""
        call = self._calls.pop(task, None)
        if call is not None:
            self.ids.pop(call, None)
        if self._by_name.get(self.names[task]) == task:
            del self._by_name[self.names[task]]
            if self.names[task] != self.specs[task].name:
                self._used_names.pop(self.names[task], None)
        self.functions[task] = self.arguments[task] = self.results[task] = None
        self._rows_before.pop(task, None)
        if self.gathered:
            self.gathered.pop(task, None)
            self._children.pop(task, None)
        if self.usage:
            self.usage.pop(task, None)
        self._let_go.append(task)
        if task in self.errors:
            self._released_errors.append(task)
            if len(self._released_errors) > KEPT_ERRORS:
                self.errors.pop(self._released_errors.popleft(), None)

    def release_in_core(self) -> None:
        """Let the core go of the tasks that have been released here."""
        let_go = self._let_go
        self.scheduler.release([let_go.popleft() for _ in range(len(let_go))])

    def let_calls_go(self, tasks: Iterable[int]) -> list[int]:
        """Hold the calls of ended tasks no longer, so that these are released once nobody else holds them; returns those of
        the tasks that have not ended yet, or whose end somebody has still to hear of.
        """
        left: list[int] = []
        for task in tasks:
            call = self._calls.get(task)
            if call is None:
                continue
            if task in self._waiters or not State(self.scheduler.state(task)).is_final:
                left.append(task)
                continue
            del self._calls[task]
            self.arguments[task] = None
            self.ids.let_go(call)
        return left

    def release_many(self, tasks: range) -> None:
        """Let go of tasks that were added from arrays and have ended, and of their results."""
        for table in (self.functions, self.arguments, self.results):
            table.set_range(tasks.start, tasks.stop, None)
        for by_task in (self.errors, self.usage):
            for task in [task for task in by_task if task in tasks]:
                by_task.pop(task, None)
        self.scheduler.release_range(tasks.start, tasks.stop)

    def note_usage(self, report: Report) -> None:
        """Keep what an attempt used, here and in the log; of one that only gathered what others gave, nothing is known."""
        usage = report.usage
        if usage.cpu_s is not None or usage.peak_memory is not None or report.task not in self.usage:
            self.usage[report.task] = usage
        if usage.cpu_s is not None:
            self.log.append(
                int(EventKind.CPU_USED), task=report.task, attempt=report.attempt, value=int(usage.cpu_s * 1e9)
            )
        if usage.peak_memory is not None:
            self.log.append(
                int(EventKind.PEAK_MEMORY), task=report.task, attempt=report.attempt, value=usage.peak_memory
            )
        if usage.io_bytes is not None:
            self.log.append(int(EventKind.IO_USED), task=report.task, attempt=report.attempt, value=usage.io_bytes)
        if usage.gpu_memory is not None:
            self.log.append(
                int(EventKind.PEAK_GPU_MEMORY), task=report.task, attempt=report.attempt, value=usage.gpu_memory
            )


class _Gather:
    """Stands in the arguments table for a value that a task returned with calls in it."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _identity(value: object) -> object:
    return value

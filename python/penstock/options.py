"""The options of a task: their types for the type checker, their rules, and the `TaskSpec` that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from penstock.breaker import Breaker
from penstock.errors import OptionError, ResourceError, did_you_mean
from penstock.fallback import Fallback, Value
from penstock.resources import Demand
from penstock.retry import Retry, RetryOn, RetryRule, parse_retry_on
from penstock.tenacity_retry import TenacityRetry, is_tenacity
from penstock.units import MILLI, parse_bytes, parse_duration

if TYPE_CHECKING:
    from penstock.template import CommandTemplate

__all__ = [
    "COMMAND_OPTIONS",
    "TASK_OPTIONS",
    "CommandOptions",
    "TaskOptions",
    "TaskSpec",
    "WithOptions",
    "is_name",
    "make_spec",
]


Duration = float | int | str | timedelta
"""Seconds as a number, text such as "250ms", "90s", "5m", "1h30m", or a `datetime.timedelta`."""


class _Common(TypedDict, total=False):
    """What every task can be given. All are optional."""

    priority: float  # a smaller number starts first; any finite int or float; default 0
    cpu: float  # cores that it keeps busy, fractions allowed; default 1
    memory: int | str  # bytes, or "2GiB"; what it is expected to use. Default: none is set aside
    gpu: float  # 1 = a whole device, 0.5 = half of one, 2 = two devices
    gpu_memory: int | str  # bytes, or "10GiB", on each device
    disk: int | str  # bytes a second, or "200MB/s"
    network: int | str  # bytes a second, or "50MB/s"
    resources: Mapping[str, float]  # your own, such as {"licence": 1}; what there is of them is said by limits=
    affinity: bool  # CPUs of its own, as many as cpu= says, for processes and commands on Linux; default False
    preemptible: (
        bool  # may be paused or put back for a much more urgent task, see preempt=; not in threads; default False
    )
    memory_limit: int | str  # hard cap, for processes and commands: more is a failure with cause OOM
    retries: int  # further attempts after the first; default 0
    retry: Retry | object  # the waits between attempts; with retries= and retry_on= those two win. Or tenacity's rules
    retry_on: RetryOn | Sequence[RetryOn]  # exception types and causes: (ValueError, "OOM"); default: all
    timeout: Duration  # seconds, or "5m", for each attempt; a thread is given up on but cannot be stopped
    total_timeout: Duration  # seconds, or "1h", for all attempts and the waits between them, from the first one's start
    duration: Duration  # how long it is expected to run; orders tasks, stops nothing
    deadline: (
        Duration  # when it should be done, counted from its submission; orders tasks and is reported, stops nothing
    )
    breaker: str | Breaker  # a circuit breaker that it shares with others of the same breaker name
    allow_failure: bool  # what depends on it runs though it fails, with None in place of its result
    cache: bool  # keep its result for other runs: same code, same arguments, same result; default False
    needs: Literal["all", "any"]  # which predecessors must succeed; default "all"


class TaskOptions(_Common, total=False):
    """What `@task` takes."""

    name: str  # default: the function's name
    executor: Literal["threads", "processes"]  # default "threads"
    fallback: (
        Fallback | Sequence[Fallback]
    )  # called with the same arguments when every attempt has failed; or penstock.value(x)


class WithOptions(TaskOptions, total=False):
    """What `Task.with_options` takes."""

    after: Sequence[object]  # calls that must have succeeded first, though no result of theirs is an argument


class CommandOptions(_Common, total=False):
    """What `command` takes."""

    after: Sequence[object]  # as in WithOptions
    fallback: (
        Sequence[object] | CommandTemplate | Value | str
    )  # another argument list, or several, run when every attempt has failed
    shell: bool  # argv is one line for /bin/sh; default False
    env: Mapping[str, object]  # added to penstock's own environment
    cwd: object  # working directory; default penstock's own
    stdin: object  # text or bytes for standard input; default empty


TASK_OPTIONS = frozenset(TaskOptions.__annotations__)
"""What `@task` can be given."""

COMMAND_OPTIONS = frozenset(CommandOptions.__annotations__)
"""What `command` can be given; its name is an argument."""

DEFAULT_DEMAND = Demand(cpu=MILLI)
"""One core, and nothing that the user did not mention."""

NO_RETRY = Retry(attempts=1)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task's options, checked and in one unit each. What the scheduler and the executors read.

    Attributes:
        function: what runs; None for a command.
        name: the task's name, the beginning of its calls' names.
        priority: finite; a smaller number starts first.
        demand: what one attempt asks of the machine.
        executor: "threads", "processes" or "commands".
        retry: attempts, waits and causes; `attempts=1` when the task has no retries.
        fallbacks: functions for a function, commands for a command, or values; tried in turn.
        timeout_s: seconds for each attempt, or None.
        total_timeout_s: seconds for all attempts, fallbacks excepted, or None.
        duration_s: seconds that it is expected to run, or None.
        deadline_s: seconds from submission until it should be done, or None.
        needs: "all" or "any" of its predecessors must succeed.
        cache: whether its result is kept for other runs.
        breaker: the circuit breaker that it shares with others, or None.
        allow_failure: what depends on it runs though it fails.
        memory_limit: bytes, or None.
        command: what a command task runs, or None.
        declared: the resources of which the user said what the task needs.
        affinity: its process runs on CPUs of its own.
        preemptible: it may be paused or put back for the sake of a much more urgent task.
    """

    function: Callable[..., Any] | None
    name: str
    priority: float = 0
    demand: Demand = DEFAULT_DEMAND
    executor: str = "threads"
    retry: RetryRule = NO_RETRY
    fallbacks: tuple[Callable[..., Any] | CommandTemplate | Value, ...] = ()
    timeout_s: float | None = None
    total_timeout_s: float | None = None
    duration_s: float | None = None
    deadline_s: float | None = None
    needs: str = "all"
    cache: bool = False
    breaker: Breaker | None = None
    allow_failure: bool = False
    memory_limit: int | None = None
    command: CommandTemplate | None = None
    declared: frozenset[str] = frozenset()
    affinity: bool = False
    preemptible: bool = False

    @property
    def fallback(self) -> Callable[..., Any] | CommandTemplate | Value | None:
        """The first of the fallbacks, or None."""
        return self.fallbacks[0] if self.fallbacks else None

    @property
    def is_watched(self) -> bool:
        """Whether something is asked when an attempt begins or has succeeded; see `attempts`."""
        return self.breaker is not None or self.total_timeout_s is not None or isinstance(self.retry, TenacityRetry)


_DEMANDS = ("cpu", "memory", "disk", "network", "gpu", "gpu_memory", "resources")


def make_spec(
    function: Callable[..., Any] | None,
    name: str,
    options: Mapping[str, Any],
    command: CommandTemplate | None = None,
) -> TaskSpec:
    """Return the checked options of one task.

    Args:
        function: what the task runs, or None with `command`.
        name: the task's name when `options` gives none.
        options: keys of `TaskOptions`, `WithOptions` or `CommandOptions`. A value of None counts as not given.
        command: what a command task runs.

    Raises:
        OptionError: an option is unknown, or its value not allowed; names the task, the option, its value, what is
            allowed.
        ResourceError: an amount cannot be read; names the task and the amount.
    """
    given = options.get("name")
    return _Reader(name if given is None else given, function, command, options).spec()


def is_name(value: object) -> bool:
    """Return whether a task or pipeline can be called that: printable text on one line that is not blank."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


class _Reader:
    """Reads one task's options, one method a kind of value."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any] | None,
        command: CommandTemplate | None,
        options: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.function = function
        self.command = command
        allowed = TASK_OPTIONS if command is None else COMMAND_OPTIONS
        for option in options:
            if option not in allowed and not (option == "name" and command is not None):
                raise OptionError(f"task {name!r}: there is no option {option!r}.{_hint(option, allowed, options)}")
        self.options = {option: value for option, value in options.items() if value is not None}

    def spec(self) -> TaskSpec:
        executor = self.choice("executor", "threads", ("threads", "processes"))
        return TaskSpec(
            function=self.function,
            name=self.checked_name(),
            priority=self.priority(),
            demand=self.demand(),
            executor=executor if self.command is None else "commands",
            retry=self.retry(),
            fallbacks=self.fallbacks(),
            timeout_s=self.seconds("timeout"),
            total_timeout_s=self.seconds("total_timeout"),
            duration_s=self.seconds("duration"),
            deadline_s=self.seconds("deadline"),
            needs=self.choice("needs", "all", ("all", "any")),
            cache=self.flag("cache"),
            breaker=self.breaker(),
            allow_failure=self.flag("allow_failure"),
            memory_limit=self.memory_limit(executor),
            command=self.command,
            declared=frozenset(_DEMANDS) & self.options.keys(),
            affinity=self.affinity(executor),
            preemptible=self.preemptible(executor),
        )

    def refuse(self, option: str, allowed: str) -> OptionError:
        return OptionError(f"task {self.name!r}: {option}={self.options[option]!r}; allowed is {allowed}.")

    def checked_name(self) -> str:
        name = self.name
        if not is_name(name):
            raise OptionError(
                f"task {name!r}: name={name!r}; allowed is any printable text on one line that is not blank."
            )
        return name

    def choice(self, option: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.options.get(option, default)
        if not isinstance(value, str) or value not in allowed:
            raise self.refuse(option, " or ".join(repr(one) for one in allowed))
        return value

    def priority(self) -> float:
        value = self.options.get("priority", 0)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                if math.isfinite(value):
                    return value
            except OverflowError:  # an int beyond all floats
                pass
        raise self.refuse("priority", "any finite int or float; a smaller number starts first")

    def demand(self) -> Demand:
        given = {option: self.options[option] for option in _DEMANDS if option in self.options}
        if not given:
            return DEFAULT_DEMAND
        try:
            return Demand.parse(**{"cpu": 1, **given})
        except (ResourceError, OptionError) as error:
            raise type(error)(f"task {self.name!r}: {error}") from None

    def seconds(self, option: str) -> float | None:
        value = self.options.get(option)
        if value is None:
            return None
        if isinstance(value, timedelta):
            value = value.total_seconds()
        try:
            return parse_duration(value, option)
        except (ResourceError, OptionError) as error:
            raise OptionError(f"task {self.name!r}: {error}") from None

    def memory_limit(self, executor: str) -> int | None:
        value = self.options.get("memory_limit")
        if value is None:
            return None
        if self.command is None and executor == "threads":
            raise self.refuse(
                "memory_limit", "only with executor='processes', since the memory of a thread cannot be capped"
            )
        try:
            return parse_bytes(value, "memory_limit")
        except ResourceError as error:
            raise ResourceError(f"task {self.name!r}: {error}") from None

    def affinity(self, executor: str) -> bool:
        value = self.options.get("affinity", False)
        if not isinstance(value, bool):
            raise self.refuse("affinity", "True or False")
        if value and self.command is None and executor == "threads":
            raise self.refuse(
                "affinity", "only with executor='processes', since threads share what a library's threads run on"
            )
        return value

    def preemptible(self, executor: str) -> bool:
        value = self.flag("preemptible")
        if value and self.command is None and executor == "threads":
            raise self.refuse("preemptible", "only with executor='processes', since a thread cannot be stopped")
        return value

    def flag(self, option: str) -> bool:
        value = self.options.get(option, False)
        if not isinstance(value, bool):
            raise self.refuse(option, "True or False")
        return value

    def breaker(self) -> Breaker | None:
        value = self.options.get("breaker")
        if value is None or isinstance(value, Breaker):
            return value
        if not is_name(value):
            raise self.refuse("breaker", "a name, or a penstock.Breaker, such as Breaker('api', failures=3)")
        return Breaker(value)

    def retry(self) -> RetryRule:
        retry = self.options.get("retry", NO_RETRY)
        if is_tenacity(retry):
            return self.tenacity(retry)
        if not isinstance(retry, Retry):
            raise self.refuse(
                "retry", "a penstock.Retry, such as Retry(attempts=4, first_wait_s=1), or rules of tenacity"
            )
        if "retries" in self.options:
            retries = self.options["retries"]
            if type(retries) is not int or retries < 0:
                raise self.refuse("retries", "a whole number from 0 up: the attempts after the first")
            retry = replace(retry, attempts=retries + 1)
        if "retry_on" in self.options:
            try:
                retry = replace(retry, on=parse_retry_on(self.options["retry_on"]))
            except ValueError as error:
                raise OptionError(f"task {self.name!r}: retry_on={self.options['retry_on']!r}; {error}") from None
            if retry.attempts == 1:
                raise self.refuse("retry_on", "only with retries= or retry=; as it is, nothing is ever retried")
        return retry

    def tenacity(self, rules: object) -> TenacityRetry:
        for option in ("retries", "retry_on"):
            if option in self.options:
                raise self.refuse(
                    option, "only with a penstock.Retry; tenacity's own rules say how often and after what"
                )
        try:
            return TenacityRetry.of(rules)
        except ValueError as error:
            raise OptionError(f"task {self.name!r}: retry={rules!r}; {error}.") from None

    def fallbacks(self) -> tuple[Callable[..., Any] | CommandTemplate | Value, ...]:
        value = self.options.get("fallback")
        if value is None:
            return ()
        return tuple([self.fallback(one) for one in (value if isinstance(value, (list, tuple)) else (value,))])

    def fallback(self, value: object) -> Callable[..., Any] | CommandTemplate | Value:
        if isinstance(value, Value):
            return value
        if self.command is not None:
            if hasattr(value, "argv"):
                return value  # type: ignore[return-value]
            raise self.refuse("fallback", "an argument list, as the command itself has")
        function = getattr(value, "function", value)  # a Task stands for its function; its own options do not apply
        if not callable(function):
            raise self.refuse(
                "fallback",
                "a function, or a task of one, that takes the same arguments; penstock.value(x); or a list of these",
            )
        return function


def _hint(option: str, allowed: frozenset[str], given: Mapping[str, object]) -> str:
    near = did_you_mean(option, allowed)
    if near:
        return near
    if isinstance(given[option], (int, float)):
        return f" A resource of your own is written resources={{{option!r}: {given[option]!r}}}."
    return f" The options are {', '.join(sorted(allowed))}."

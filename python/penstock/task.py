"""Tasks and calls of them: what a user writes, as data. Nothing here runs anything but a plain function call."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar, cast, overload

from penstock import context
from penstock.arguments import Arguments
from penstock.errors import OptionError
from penstock.fallback import Value
from penstock.inputs import Input, Lookup, bind, inputs_of, snapshot
from penstock.options import CommandOptions, TaskOptions, TaskSpec, WithOptions, make_spec
from penstock.template import CommandTemplate, Text

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from penstock.pipeline import Pipeline

__all__ = ["Call", "CommandTemplate", "Part", "Recorder", "Task", "TaskSpec", "Text", "call_of", "command", "task"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Recorder(Protocol):
    """Takes the calls that are made inside `with Pipeline(...)`."""

    def record(self, call: Call[Any], /) -> None:
        """Take one call and give it its name, or raise and leave everything as it was."""


recorder: ContextVar[Recorder | None] = ContextVar("penstock_recorder", default=None)
"""Where calls of tasks go in this context; None outside every `with Pipeline(...)`."""


class Call(Input, Generic[R_co]):
    """One use of a task with its arguments: a node of the pipeline, and its result's place in others' arguments.

    Tasks make calls; users pass them on. `call["key"]` and `call[0]` stand for a part of the result. Nothing else can
    be done with a result before it is there, and trying says so. Two calls are equal only if they are the same one.

    Attributes:
        task: the task.
        spec: its options.
        name: unique in its pipeline; before it is part of one, the task's name.
        args, kwargs: the arguments; calls stand in them.
        inputs: the calls in the arguments, each once, in order of first appearance.
        follows: calls that come first though no result of theirs is used; see `after`.
        pipeline: the pipeline that recorded it, or None.
    """

    __slots__ = (
        "__weakref__",
        "_nested",
        "_position",
        "args",
        "follows",
        "inputs",
        "kwargs",
        "name",
        "pipeline",
        "spec",
        "task",
    )

    def __init__(
        self,
        task: Task[..., R_co],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
        follows: Iterable[object] = (),
    ) -> None:
        self._position = -1  # in its pipeline
        self.task = task
        self.spec: TaskSpec = task.spec
        self.name: str = task.spec.name
        self.pipeline: Pipeline | None = None
        self.kwargs: Mapping[str, object] = kwargs if kwargs is not None else {}
        self.inputs: tuple[Call[Any], ...] = tuple(inputs_of(args, self.kwargs))
        self._nested = bool(self.inputs) and _any_nested(args, self.kwargs)
        if self._nested:
            args, self.kwargs = snapshot(args, self.kwargs)
        self.args = args
        for fallback in self.spec.fallbacks:
            if isinstance(fallback, CommandTemplate):
                self.inputs = tuple(dict.fromkeys([*self.inputs, *fallback.sources()]))
        self.follows: tuple[Call[Any], ...] = ()
        if follows:
            self.after(*follows)

    def after(self, *calls: object) -> Call[R_co]:
        """Let this call start only when the given calls have succeeded, though it uses no result of theirs.

        Args:
            calls: calls of the same pipeline, or lists of them.

        Returns:
            This call.

        Raises:
            OptionError: one of them is no call.
        """
        self.follows = tuple(dict.fromkeys([*self.follows, *_only_calls(self.name, calls)]))
        return self

    def bind(self, lookup: Lookup) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the arguments with results in the places of calls.

        Args:
            lookup: gives the result of a call in `inputs`.
        """
        if not self.inputs:
            return self.args, dict(self.kwargs)
        if self._nested:
            return bind(self.args, self.kwargs, lookup)
        return (
            tuple([value.resolve(lookup) if isinstance(value, Input) else value for value in self.args]),
            {key: value.resolve(lookup) if isinstance(value, Input) else value for key, value in self.kwargs.items()},
        )

    def sources(self) -> Iterable[Call[Any]]:
        return (self,)

    def resolve(self, lookup: Lookup) -> object:
        return lookup(self)

    def __getitem__(self, key: object) -> Any:
        return Part(self, key)

    def __iter__(self) -> Iterator[NoReturn]:
        raise TypeError(
            f"the result of {self.name!r} is not known yet, so it cannot be unpacked or looped over here; "
            "take its parts by index, as in result[0], or loop in a task."
        )

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"the result of {self.name!r} is not known yet, so it cannot decide anything here; "
            "decide in a task, which can penstock.skip() what should not run."
        )

    def __getattr__(self, attribute: str) -> NoReturn:
        if attribute in Call.__slots__:  # asked for while it is being made; name is not there yet
            raise AttributeError(attribute)
        raise AttributeError(
            f"the result of {self.name!r} is not known yet, so it has no {attribute!r} here; "
            "pass the call to a task that uses it."
        )

    def __repr__(self) -> str:
        return f"<Call {self.name!r} of {self.task!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what was asked for, without the pipeline; calls built by a task in a process of its own travel so."""
        return _restored_call, (self.task, self.args, dict(self.kwargs), self.follows, self.name)


class Part(Input):
    """A part of a result that is not there yet: `call["train"]`, `call[0]`, and parts of parts."""

    __slots__ = ("key", "whole")

    def __init__(self, whole: Input, key: object) -> None:
        self.whole = whole
        self.key = key

    def sources(self) -> Iterable[Call[Any]]:
        return self.whole.sources()

    def resolve(self, lookup: Lookup) -> object:
        return cast("Any", self.whole.resolve(lookup))[self.key]

    def __getitem__(self, key: object) -> Any:
        return Part(self, key)

    __iter__ = Call.__iter__
    __bool__ = Call.__bool__

    @property
    def name(self) -> str:
        """What it is called in messages: `split[0]`."""
        return f"{cast('Call[Any] | Part', self.whole).name}[{self.key!r}]"

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Task(Generic[P, R]):
    """A function, or a command, with its options. Made by `@task` and `with_options`.

    Calling it inside `with Pipeline(...)` records a call; inside a running task it makes a call that the task can
    return or hand to `penstock.current().submit`; everywhere else it just calls the function. For a type checker it is
    always the function.

    Attributes:
        spec: the options, checked.
        function: the function itself, without penstock.
    """

    spec: TaskSpec
    function: Callable[P, R]
    __name__: str
    __qualname__: str
    _arguments: Arguments

    def __init__(
        self,
        function: Callable[P, R] | None,
        options: Mapping[str, Any] | None = None,
        *,
        command: CommandTemplate | None = None,
        base: Task[P, R] | None = None,
    ) -> None:
        self._options = dict(options or {})
        self._follows: Iterable[object] = ()
        if base is not None or command is not None:  # no call exists yet where a function is decorated
            self._follows = self._options.pop("after", None) or ()
        self._base = base
        self._command = command
        self.spec = make_spec(function, _name_of(function), self._options, command)
        spec = self.spec
        self.is_plain = (
            function is not None
            and spec.executor == "threads"
            and not self._follows
            and spec.needs == "all"
            and spec.timeout_s is None
            and spec.duration_s is None
            and spec.deadline_s is None
            and not spec.is_watched
            and not spec.allow_failure
        )
        """Whether its calls say no more to the scheduler than their demand and priority, unless an argument does."""
        if function is None:
            return
        self.function = function
        functools.update_wrapper(self, function, updated=())
        self._arguments = Arguments(function) if base is None else base._arguments
        self._fallback_arguments = [Arguments(cast("Callable[..., Any]", one)) for one in self.spec.fallbacks]

    @property
    def name(self) -> str:
        """The task's name; its calls are named after it: "train", "train-2", and so on."""
        return self.spec.name

    @property
    def is_named_by_call(self) -> bool:
        """Whether the name was given for one call, by `with_options(name=...)` or by `command`, and must be unique."""
        return self._command is not None or (self._base is not None and "name" in self._options)

    def with_options(self, **options: Unpack[WithOptions]) -> Task[P, R]:
        """Return this task with other options; those not mentioned stay as they are.

        Args:
            options: those of `@task`, and `after=[...]`, calls that must have succeeded first. `name=` names the one
                call that is made of the result.

        Raises:
            OptionError, ResourceError: as `@task` does.
        """
        base = self._base or self
        return Task(self.spec.function, {**self._options, **options}, command=self._command, base=base)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Record a call, make one, or call the function; see the class.

        Raises:
            TypeError: the function, or its fallback, does not take these arguments. Raised here and not when it runs.
        """
        target = recorder.get()
        if target is None and not context.running():
            return self.function(*args, **kwargs)
        call = self.call(*args, **kwargs)
        if target is not None:
            target.record(call)
        return cast("R", call)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Return a call that is part of no pipeline yet, as a running task makes them.

        Raises:
            TypeError: as calling the task does.
        """
        if self._command is not None:
            return Call(self, (self._command,), {}, self._follows)
        self.check_arguments(args, kwargs)
        return Call(self, args, kwargs, self._follows)

    def check_arguments(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """Raise TypeError when the function, or its fallback, does not take these arguments."""
        problem = self._arguments.check(args, kwargs)
        if problem is not None:
            raise TypeError(f"task {self.name!r}: {problem}; it is {self.name}{inspect.signature(self.function)}.")
        for arguments in self._fallback_arguments:
            problem = arguments.check(args, kwargs)
            if problem is not None:
                raise TypeError(f"task {self.name!r}: its fallback does not take the same arguments: {problem}.")

    def __repr__(self) -> str:
        spec = self.spec
        return f"<Task {spec.name!r} priority={spec.priority:g} {spec.demand}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by reference when a worker can import it, else by value (which needs cloudpickle for the function)."""
        if self._base is not None:
            return _restored_options, (self._base, self._options)
        if self._command is not None:
            return _restored_command, (self._command, self._options)
        if _importable(self):
            return self.__qualname__
        return Task, (self.spec.function, self._options)


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task: `@task`, or `@task(priority=-1, cpu=2, memory="2GiB", retries=3)`.

    It builds a `Task` and does nothing else. All options may be left out:

    Args:
        function: the function, when used without options.
        name: the beginning of the calls' names; default the function's name.
        priority: a smaller number starts first; any finite int or float, default 0.
        cpu: cores that one attempt keeps busy, default 1, fractions allowed.
        memory: bytes, or text such as "2GiB", that it is expected to use; default none set aside.
        gpu: GPUs: a share of one up to 1, or a whole number of them.
        gpu_memory: bytes, or text such as "10GiB", on each of them.
        disk, network: bytes per second, or text such as "200MB/s".
        resources: amounts of resources of your own: {"licence": 1}.
        affinity: run its process on CPUs of its own, as many as `cpu` says; for executor="processes", on Linux.
        preemptible: it may be paused or put back for a much more urgent task, where the run says so with `preempt`; for
            executor="processes".
        memory_limit: hard cap in bytes, or text, for executor="processes"; going over it is a failure with cause OOM.
        executor: "threads" (default) or "processes".
        retries: attempts after the first, default 0.
        retry: a `Retry` with the waits between them; or a `tenacity.Retrying`, or one or a list of its stop, wait and
            retry rules, which penstock asks and then does the waiting.
        retry_on: what is retried: exception types and causes, such as (ValueError, "OOM"); default every exception,
            TIMEOUT, OOM and LOST.
        fallback: a function that takes the same arguments; called when every attempt has failed, and its result counts.
            Or `penstock.value(x)`, a result without a call. Or a list of these, each tried once, in turn.
        timeout: seconds, or text such as "5m", for each attempt. A process is killed; a thread cannot be: its attempt
            counts as failed at once, but the thread goes on until the function returns.
        total_timeout: seconds, or text, for all attempts and the waits between them, counted from the start of the first.
            What runs then is ended as by `timeout`, and no retry follows; a fallback still does.
        duration: seconds, or text, that it is expected to run; only used to order tasks.
        deadline: seconds, or text, from submission until it should be done. It becomes more urgent as that nears, and an
            event says when it is at risk and when it is missed; it stops nothing.
        breaker: the name of a circuit breaker, or a `Breaker` with settings. After so many failures in a row of tasks
            that share it, none is tried for a while: they go straight to their fallback, or fail with BreakerOpen.
        allow_failure: True: when it fails, what depends on it runs all the same and finds None in the place of its
            result, and the run counts as ok.
        cache: keep its result in the store for other runs: the same code and arguments give it without running.
        needs: "all" (default) or "any" of the calls that it depends on must succeed.

    Raises:
        OptionError: an option is unknown or its value not allowed; names the task, the option and what is allowed.
        ResourceError: an amount cannot be read.
    """
    if function is None:
        return functools.partial(_decorated, options)
    return _decorated(options, function)


def command(name: str, argv: Sequence[object] | str, /, **options: Unpack[CommandOptions]) -> str:
    """Record a task that runs a program. What it writes to standard output, as text, is its result.

    Args:
        name: the call's name, unique in its pipeline.
        argv: the program and its arguments: text, paths, numbers, and calls, whose results are written out without
            newlines at the end. With `shell=True` one line for /bin/sh; results get into it through `env`.
        options: those of `@task` but `name` and `executor`, and: `after`, a list of calls that must have succeeded
            first; `fallback`, another argument list, `penstock.value(text)`, or a list of these; `shell`; `env`, added to penstock's environment; `cwd`; `stdin`,
            text or bytes, or a call whose result is that.

    Returns:
        The call, typed as the text that it stands for. Outside `with Pipeline(...)` it is part of no pipeline yet, and
        can be given to `Runtime.submit` or, in a running task, to `penstock.current().submit`.

    Raises:
        OptionError: an option is unknown, or a value not allowed; names the command, the option and what is allowed.
        ResourceError: an amount cannot be read.
    """
    given: dict[str, Any] = dict(options)
    if "name" in given:
        raise OptionError(f"task {name!r}: name={given['name']!r}; the name is the first argument of command().")
    shell, fallback = given.pop("shell", False), given.get("fallback")
    if not isinstance(shell, bool):
        raise OptionError(f"task {name!r}: shell={shell!r}; allowed is True or False.")
    surroundings = {key: given.pop(key) for key in ("env", "cwd", "stdin") if given.get(key) is not None}
    template = _template(name, "argv", argv, shell, surroundings)
    if fallback is not None:
        several = isinstance(fallback, (list, tuple)) and any(
            isinstance(one, (list, tuple, CommandTemplate, Value)) for one in fallback
        )
        given["fallback"] = [
            one if isinstance(one, (CommandTemplate, Value)) else _template(name, "fallback", one, shell, surroundings)
            for one in (fallback if several else [fallback])
        ]
    made: Task[..., str] = Task(None, {**given, "name": name}, command=template)
    call = made.call()
    target = recorder.get()
    if target is not None:
        target.record(call)
    return cast("str", call)


def call_of(target: object, args: tuple[object, ...] = (), kwargs: Mapping[str, object] | None = None) -> Call[Any]:
    """Return the call that a driver is asked to submit.

    Args:
        target: a `Call`, which takes no further arguments, a `Task`, or a plain function, which becomes a task.
        args, kwargs: arguments of the task or function.

    Raises:
        OptionError: it is none of these.
        TypeError: the function does not take these arguments, or a call was given some.
    """
    if isinstance(target, Call):
        if args or kwargs:
            raise TypeError(f"call {target.name!r} has its arguments already; submit it alone.")
        return target
    made: Task[..., Any] = target if isinstance(target, Task) else _decorated({}, target)
    return made.call(*args, **(kwargs or {}))


def as_task(function: Callable[P, R]) -> Task[P, R]:
    """Return a plain function as a task without options.

    Raises:
        OptionError: it cannot be one, such as an async function.
    """
    return cast("Task[P, R]", _decorated({}, function))


def _decorated(options: Mapping[str, Any], function: Any) -> Task[..., Any]:
    if isinstance(function, Task):
        raise OptionError(f"{function!r} is a task already; use its with_options(...).")
    if not callable(function):
        raise OptionError(
            f"task({function!r}): allowed is a function; options are given by name, as in @task(name=...)."
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise OptionError(
            f"task {_name_of(function)!r} is an async function; penstock calls plain functions. "
            "Write one that calls asyncio.run(...)."
        )
    return Task(function, options)


def _name_of(function: object) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return "lambda" if name == "<lambda>" else str(name)


def _any_nested(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bool:
    containers = (list, tuple, dict, set, frozenset)
    return any(isinstance(value, containers) and bool(inputs_of((value,), {})) for value in (*args, *kwargs.values()))


def _only_calls(name: str, values: Iterable[object]) -> list[Call[Any]]:
    """Return the calls in `values`, which holds nothing but calls and lists of them."""
    found: list[Call[Any]] = []
    for value in values:
        if isinstance(value, Input):
            found.extend(value.sources())
        elif isinstance(value, (list, tuple, set, frozenset)):
            found.extend(_only_calls(name, value))
        else:
            raise OptionError(f"task {name!r}: after={value!r}; allowed are calls of tasks, and lists of them.")
    return found


def _template(name: str, option: str, argv: object, shell: bool, surroundings: Mapping[str, Any]) -> CommandTemplate:
    """Return the command after a look at everything in it that is known already."""
    if shell:
        if not isinstance(argv, str) or not argv.strip():
            raise OptionError(f"task {name!r}: {option}={argv!r}; with shell=True allowed is one line of text.")
        argv = (argv,)
    elif not isinstance(argv, (list, tuple)) or not argv:
        raise OptionError(
            f"task {name!r}: {option}={argv!r}; "
            "allowed is a list that begins with the program, or with shell=True a line of text."
        )
    env = surroundings.get("env", {})
    if not isinstance(env, Mapping) or not all(isinstance(key, str) and key and "=" not in key for key in env):
        raise OptionError(f"task {name!r}: env={env!r}; allowed is a mapping from names of variables to text.")
    template = CommandTemplate(tuple(argv), shell, **{**surroundings, "env": dict(env)})
    try:
        template.check()
    except TypeError as error:
        raise OptionError(f"task {name!r}: {option}: {error}") from None
    return template


def _importable(made: Task[..., Any]) -> bool:
    module_name, qualname = getattr(made, "__module__", None), getattr(made, "__qualname__", "<locals>")
    by_value: set[str] = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", set)()
    if module_name is None or module_name == "__main__" or module_name in by_value:
        return False
    found: object = sys.modules.get(module_name)
    for attribute in qualname.split("."):
        found = getattr(found, attribute, None)
    return found is made


def _restored_call(
    made: Task[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object], follows: Sequence[object], name: str
) -> Call[Any]:
    call = Call(made, args, kwargs, follows)
    call.name = name
    return call


def _restored_options(base: Task[..., Any], options: Mapping[str, Any]) -> Task[..., Any]:
    return Task(base.spec.function, options, command=base._command, base=base)


def _restored_command(template: CommandTemplate, options: Mapping[str, Any]) -> Task[..., Any]:
    return Task(None, options, command=template)

"""`penstock.task`: tasks, their options, the calls that they make, and how both travel."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
from datetime import timedelta
from typing import Any, cast

import cloudpickle
import pytest

from penstock import Pipeline, Retry, command, context, task
from penstock.errors import OptionError, ResourceError
from penstock.states import Cause
from penstock.task import Call, CommandTemplate, Part, Task, call_of


@task
def train(data: list[int], c: float = 1.0) -> float:
    """Train."""
    return len(data) * c


@task(name="fit", priority=-2, cpu=2, memory="2GiB", executor="processes", memory_limit="3GiB")
def fit_model(data: list[int]) -> int:
    return len(data)


def call_in_pipeline(made: Any, *args: Any, **kwargs: Any) -> Call[Any]:
    with Pipeline():
        return cast("Call[Any]", made(*args, **kwargs))


# ------------------------------------------------------------------------------------------------------------ calling


def test_outside_a_pipeline_a_task_is_its_function() -> None:
    assert train([1, 2], c=0.5) == 1.0
    assert train.function is not train
    assert train.__name__ == "train"
    assert train.__doc__ == "Train."
    assert str(inspect.signature(train)) == "(data: 'list[int]', c: 'float' = 1.0) -> 'float'"


def test_inside_a_pipeline_a_call_is_recorded_and_nothing_runs() -> None:
    ran: list[int] = []

    @task
    def note() -> None:
        ran.append(1)

    with Pipeline() as p:
        call: Any = note()
    assert ran == []
    assert list(p) == [call]
    assert call.task is note
    assert call.pipeline is p
    assert note() is None
    assert ran == [1]


def test_calls_keep_arguments_options_and_the_calls_in_them() -> None:
    with Pipeline():
        first: Any = train([1])
        second: Any = train([first, (first,)], c=first)  # type: ignore[list-item]
    assert second.args == ([first, (first,)],)
    assert second.kwargs == {"c": first}
    assert second.inputs == (first,)
    assert second.spec is train.spec
    assert second.bind({first: 7}.__getitem__) == (([7, (7,)],), {"c": 7})


def test_binding_at_the_top_level_leaves_containers_without_calls_alone() -> None:
    numbers = [1, 2]
    with Pipeline():
        first: Any = train(numbers)
        second: Any = train(numbers, c=first)
    assert first.bind({}.__getitem__)[0][0] is numbers
    args, kwargs = second.bind({first: 0.5}.__getitem__)
    assert args[0] is numbers
    assert kwargs == {"c": 0.5}


def test_a_list_filled_after_the_call_changes_nothing() -> None:
    with Pipeline():
        one: Any = train([1])
        two: Any = train([2])
        models = [one]
        last: Any = train(models)
        models.append(two)
    assert last.inputs == (one,)
    assert last.args == ([one],)


def test_arguments_are_checked_where_the_call_is_written() -> None:
    with Pipeline() as p:
        with pytest.raises(TypeError, match=r"^task 'train': missing a required argument: 'data'; it is train\(data"):
            train()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="got an unexpected keyword argument 'x'"):
            train([], x=1)  # type: ignore[call-arg]
    assert len(p) == 0


def test_a_fallback_must_take_the_same_arguments() -> None:
    guess = task(fallback=lambda data: 0.0)(train.function)
    with Pipeline():
        guess([1])
        with pytest.raises(TypeError, match="task 'train': its fallback does not take the same arguments"):
            guess([1], c=2.0)


# --------------------------------------------------------------------------------------- what a result cannot do before


def test_a_part_of_a_result_can_be_passed_on() -> None:
    with Pipeline():
        whole: Any = train([1])
        part = whole["a"][0]
        user: Any = train(part)
    assert type(part) is Part
    assert user.inputs == (whole,)
    assert user.bind(lambda call: {"a": [5]}) == ((5,), {})
    assert repr(part) == "<train['a'][0]>"


@pytest.mark.parametrize("of", [lambda call: call, lambda call: call["part"]])
def test_using_a_result_before_it_is_there_says_what_to_do(of: Any) -> None:
    value = of(call_in_pipeline(train, [1]))
    with pytest.raises(TypeError, match=r"the result of .*train.* is not known yet, so it cannot be unpacked"):
        _a, _b = value
    with pytest.raises(TypeError, match=r"cannot decide anything here; .*penstock.skip"):
        bool(value)


def test_an_attribute_of_a_result_that_is_not_there_says_what_to_do() -> None:
    call: Any = call_in_pipeline(train, [1])
    with pytest.raises(AttributeError, match="the result of 'train' is not known yet, so it has no 'shape' here"):
        _ = call.shape
    assert not hasattr(call, "__array__")


def test_calls_are_equal_only_to_themselves() -> None:
    with Pipeline():
        a: Any = train([1])
        b: Any = train([1])
    assert len({a, b, a}) == 2
    assert (a == b) is False


# ------------------------------------------------------------------------------------------------------------- options


def test_options_become_a_spec_in_one_unit_each() -> None:
    spec = fit_model.spec
    assert (spec.name, spec.priority, spec.executor, spec.needs) == ("fit", -2, "processes", "all")
    assert (spec.demand.cpu, spec.demand.memory, spec.memory_limit) == (2000, 2 * 2**30, 3 * 2**30)
    assert spec.retry.attempts == 1
    assert (spec.timeout_s, spec.duration_s, spec.deadline_s, spec.fallback, spec.command) == (None,) * 5


def test_a_task_without_options_asks_for_one_core() -> None:
    assert str(train.spec.demand) == "cpu=1"
    assert task(memory="1MB")(len).spec.demand.cpu == 1000
    assert str(task(cpu=0)(len).spec.demand) == "nothing"


@pytest.mark.parametrize(("given", "seconds"), [(30, 30.0), ("5m", 300.0), (timedelta(hours=1), 3600.0), (0.25, 0.25)])
def test_times_are_seconds_text_or_a_timedelta(given: Any, seconds: float) -> None:
    spec = task(timeout=given, duration=given, deadline=given)(len).spec
    assert (spec.timeout_s, spec.duration_s, spec.deadline_s) == (seconds,) * 3


def test_retries_count_the_attempts_after_the_first() -> None:
    assert task(retries=3)(len).spec.retry.attempts == 4
    spec = task(retry=Retry(first_wait_s=9, cap_s=10), retries=2, retry_on=(ValueError, "oom"))(len).spec
    assert spec.retry == Retry(attempts=3, first_wait_s=9, cap_s=10, on=(ValueError, Cause.OOM))


def test_a_task_as_fallback_stands_for_its_function() -> None:
    assert task(fallback=train)(len).spec.fallback is train.function


def test_none_as_a_value_means_not_given() -> None:
    options: Any = {"memory": None, "timeout": None, "retries": None}
    assert task(**options)(len).spec == task(len).spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prioriti": 1}, "task 'len': there is no option 'prioriti'. Did you mean 'priority'?"),
        (
            {"licence": 1},
            "task 'len': there is no option 'licence'. A resource of your own is written resources={'licence': 1}.",
        ),
        (
            {"qqq": "x"},
            "task 'len': there is no option 'qqq'. The options are affinity, allow_failure, breaker, cache, cpu",
        ),
        ({"after": []}, "task 'len': there is no option 'after'."),
        (
            {"priority": "high"},
            "task 'len': priority='high'; allowed is any finite int or float; a smaller number starts first.",
        ),
        ({"priority": True}, "priority=True; allowed is any finite int"),
        ({"priority": math.nan}, "priority=nan; allowed is any finite int"),
        ({"priority": 10**400}, "allowed is any finite int"),
        ({"executor": "process"}, "executor='process'; allowed is 'threads' or 'processes'."),
        ({"needs": "some"}, "needs='some'; allowed is 'all' or 'any'."),
        ({"retries": -1}, "retries=-1; allowed is a whole number from 0 up"),
        ({"retries": 1.0}, "retries=1.0; allowed is a whole number"),
        ({"retries": True}, "retries=True; allowed is a whole number"),
        ({"retry": 3}, "retry=3; allowed is a penstock.Retry"),
        (
            {"retry_on": "OMM", "retries": 1},
            "retry_on='OMM'; 'OMM' is neither an exception type nor one of EXCEPTION, TIMEOUT",
        ),
        ({"retry_on": ValueError}, "allowed is only with retries= or retry="),
        ({"timeout": "soon"}, "task 'len': timeout='soon' is no duration"),
        ({"deadline": -1}, "task 'len': deadline=-1 is negative"),
        ({"fallback": 3}, "fallback=3; allowed is a function"),
        ({"memory_limit": "1GB"}, "memory_limit='1GB'; allowed is only with executor='processes'"),
        ({"name": ""}, "name=''; allowed is any printable text"),
        ({"name": " "}, "name=' '; allowed is any printable text"),
        ({"name": "a\nb"}, "allowed is any printable text on one line"),
        ({"resources": {"memory": 1}}, "task 'len': resources={'memory': 1} names a built-in resource"),
    ],
)
def test_an_option_that_is_not_allowed_is_named_with_its_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        task(**options)(len)


def test_an_amount_that_cannot_be_read_names_the_task() -> None:
    with pytest.raises(ResourceError, match=r"^task 'len': memory='2 GG' has the unknown unit"):
        task(memory="2 GG")(len)


def test_task_refuses_what_is_no_plain_function() -> None:
    with pytest.raises(OptionError, match=r"options are given by name, as in @task\(name=...\)"):
        task("train")  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="is a task already; use its with_options"):
        task(train)
    with pytest.raises(OptionError, match="is an async function; penstock calls plain functions"):

        @task
        async def wait() -> None: ...


def test_names_of_partials_lambdas_and_objects() -> None:
    import functools

    assert task(functools.partial(pow, 2)).name == "pow"
    assert task(lambda: None).name == "lambda"

    class Model:
        def __call__(self) -> None: ...

    assert task(Model()).name == "Model"


# -------------------------------------------------------------------------------------------------------- with_options


def test_with_options_changes_what_it_mentions_and_keeps_the_rest() -> None:
    other = fit_model.with_options(priority=5, name="svm")
    assert (other.spec.priority, other.spec.name, other.spec.executor) == (5, "svm", "processes")
    assert other.spec.demand == fit_model.spec.demand
    assert fit_model.spec.priority == -2
    assert other.with_options(cpu=1).spec.priority == 5
    assert other([1, 2]) == 2


def test_with_options_checks_as_the_decorator_does() -> None:
    with pytest.raises(OptionError, match=r"task 'fit': there is no option 'prio'. Did you mean 'priority'\?"):
        fit_model.with_options(prio=1)  # type: ignore[call-arg]


def test_after_orders_calls_without_passing_results() -> None:
    with Pipeline():
        a: Any = train([1])
        b: Any = train([2])
        c: Any = train.with_options(after=[a, [b]])([3])
        assert c.after(a, b) is c
    assert c.inputs == ()
    assert c.follows == (a, b)


def test_after_takes_only_calls() -> None:
    call = call_in_pipeline(train, [1])
    with pytest.raises(OptionError, match="task 'train': after='load'; allowed are calls of tasks"):
        call.after("load")


# ------------------------------------------------------------------------------------------------------------ commands


def test_a_command_is_a_call_with_a_template() -> None:
    with Pipeline() as p:
        path: Any = train([1])
        call: Any = command("sort", ["sort", "-n", path], priority=1, env={"LC_ALL": "C"}, stdin="x", timeout=3)
    assert p["sort"] is call
    assert call.spec.executor == "commands"
    assert call.spec.command == CommandTemplate(("sort", "-n", path), env={"LC_ALL": "C"}, stdin="x")
    assert call.inputs == (path,)
    (resolved,), kwargs = call.bind({path: "file\n"}.__getitem__)
    assert isinstance(resolved, CommandTemplate)
    assert resolved.argv == ("sort", "-n", "file")
    assert kwargs == {}
    assert (call.spec.timeout_s, call.spec.priority) == (3.0, 1)


def test_a_commands_fallback_runs_in_the_same_surroundings_and_its_calls_are_inputs() -> None:
    with Pipeline():
        a: Any = train([1])
        call: Any = command("get", "exit 1", shell=True, cwd="/", fallback="echo $A", env={"A": a})
        other: Any = command("get-2", ["false"], fallback=["cat", a])
    assert call.spec.fallback == CommandTemplate(("echo $A",), shell=True, cwd="/", env={"A": a})
    assert other.inputs == (a,)


def test_a_command_outside_a_pipeline_is_a_call_of_none() -> None:
    call: Any = command("date", ["date"])
    assert type(call) is Call
    assert call.pipeline is None


@pytest.mark.parametrize(
    ("argv", "options", "message"),
    [
        (
            "ls -l",
            {},
            "task 'x': argv='ls -l'; allowed is a list that begins with the program, or with shell=True a line",
        ),
        ([], {}, "argv=[]; allowed is a list that begins with the program"),
        (["ls"], {"shell": True}, "with shell=True allowed is one line of text"),
        (["ls", None], {}, "task 'x': argv: argument 1 is a NoneType; a command takes text"),
        (["ls"], {"shell": 1}, "shell=1; allowed is True or False"),
        (["ls"], {"env": ["A"]}, "env=['A']; allowed is a mapping"),
        (["ls"], {"env": {"A=B": "x"}}, "allowed is a mapping from names of variables"),
        (["ls"], {"fallback": "ls"}, "fallback='ls'; allowed is a list"),
        (["ls"], {"executor": "threads"}, "there is no option 'executor'"),
        (["ls"], {"name": "y"}, "the name is the first argument of command()"),
        (["ls"], {"pripority": 1}, "there is no option 'pripority'. Did you mean 'priority'?"),
    ],
)
def test_a_command_that_is_not_allowed_says_why(argv: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        command("x", argv, **options)


# ------------------------------------------------------------------------------------------------------------- call_of


def test_call_of_takes_calls_tasks_and_plain_functions() -> None:
    call = call_of(train, ([1],), {"c": 2})
    assert call_of(call) is call
    assert call_of(len, ([1],)).spec.name == "len"
    with pytest.raises(TypeError, match="call 'train' has its arguments already"):
        call_of(call, (1,))
    with pytest.raises(OptionError, match=re.escape("task(3): allowed is a function")):
        call_of(3)


# ------------------------------------------------------------------------------------------------------------ pickling


def test_a_task_of_an_importable_module_travels_by_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("some_tasks")
    monkeypatch.setitem(sys.modules, "some_tasks", module)
    exec("from penstock import task\n@task\ndef f(x): return x\n", vars(module))
    assert pickle.loads(pickle.dumps(module.f)) is module.f
    other = pickle.loads(pickle.dumps(module.f.with_options(priority=3)))
    assert other.spec.priority == 3
    assert other.function is module.f.function


def test_a_local_task_travels_by_value() -> None:
    @task(priority=4)
    def local(x: int) -> int:
        return x + 1

    copied = pickle.loads(cloudpickle.dumps(local))
    assert copied is not local
    assert copied(1) == 2
    assert copied.spec.priority == 4


def test_calls_travel_with_what_they_depend_on_and_without_their_pipeline() -> None:
    with Pipeline():
        a: Any = train([1])
        b: Any = train.with_options(name="b", after=[a])([a["k"]], c=a)
        c: Any = command("c", ["echo", b], fallback=["true"])
    copied: Any = pickle.loads(cloudpickle.dumps(c))
    (b2,) = copied.inputs
    (a2,) = b2.inputs
    assert (copied.name, b2.name, a2.name) == ("c", "b", "train")
    assert b2.follows == (a2,)
    assert copied.pipeline is None
    assert b2.bind({a2: {"k": 3}}.__getitem__) == (([3],), {"c": {"k": 3}})
    assert copied.spec.fallback.argv == ("true",)


def test_copying_a_call_does_not_recurse_into_its_missing_attributes() -> None:
    call: Any = call_in_pipeline(train, [1])
    assert copy.copy(call).args == ([1],)


def test_with_a_provider_gone_a_task_is_a_function_again() -> None:
    before = context.install(lambda: None)
    try:
        assert train([1]) == 1.0
    finally:
        context.install(before)


def test_representations_name_the_thing() -> None:
    assert repr(fit_model) == "<Task 'fit' priority=-2 cpu=2, memory=2GiB>"
    assert repr(call_in_pipeline(train, [1])) == "<Call 'train' of <Task 'train' priority=0 cpu=1>>"
    assert isinstance(train, Task)

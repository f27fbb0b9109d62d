"""`penstock.pipeline_yaml`: the YAML format, and its complaints with line and column."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.breaker import Breaker
from penstock.errors import CycleError, PipelineFileError
from penstock.pipeline import Pipeline
from penstock.pipeline_file import load_pipeline
from penstock.pipeline_yaml import read_yaml
from penstock.retry import Retry
from penstock.states import Cause
from penstock.task import Call, CommandTemplate, Text

HERE = Path(__file__).parent


def read(text: str) -> Pipeline:
    return read_yaml(text, "p.yaml")


def template(call: Call[Any]) -> CommandTemplate:
    assert call.spec.command is not None
    return call.spec.command


def bound(call: Call[Any], results: dict[Call[Any], object]) -> CommandTemplate:
    """The command as it would run when these are the results so far."""
    (resolved,), kwargs = call.bind(results.__getitem__)
    assert kwargs == {}
    assert isinstance(resolved, CommandTemplate)
    return resolved


def refused(text: str) -> PipelineFileError:
    with pytest.raises(PipelineFileError) as caught:
        read(text)
    return caught.value


# -------------------------------------------------------------------------------------------------------- what is read


def test_version_1_of_the_format_stays_readable() -> None:
    p = load_pipeline(HERE / "data" / "pipeline_v1.yaml")
    assert (p.name, p.workers, p.limits) == ("sample", 3, {"cpu": 0.5, "memory": "1GiB", "licence": 2})
    assert p.policy is not None
    assert (p.policy.name, p.policy.age, p.policy.reserve_after_s) == ("mine", 0.02, 2)
    assert [call.name for call in p] == ["report", "numbers", "sorted"]
    report, numbers, ordered = p

    spec = numbers.spec
    assert template(numbers) == CommandTemplate(
        ("printf", "%s\n", "3", "1.0", "yes", "${TMPDIR}", "{a,b}"), env={"LC_ALL": "C", "MODE": "loud"}, cwd="/"
    )
    assert (spec.priority, spec.timeout_s, spec.duration_s, spec.deadline_s) == (-1.5, 90.0, 2.0, 3600.0)
    assert str(spec.demand) == "cpu=0.5, memory=9.54MiB, disk=1MB/s, network=2MB/s, licence=1"
    assert spec.memory_limit == 100_000_000
    assert spec.retry == Retry(
        attempts=4, first_wait_s=0.5, factor=3, cap_s=4, jitter_s=0, on=(Cause.TIMEOUT, Cause.OOM)
    )
    assert spec.fallback == CommandTemplate(("echo", "none"), env={"LC_ALL": "C", "MODE": "loud"}, cwd="/")

    assert template(report).shell
    assert template(report).argv == ("printf '%s' \"${PENSTOCK_INPUT_1}\" | wc -c; echo '${{ kept }}'",)
    assert template(report).env == {"LC_ALL": "C", "MODE": "plain", "PENSTOCK_INPUT_1": numbers}
    assert report.inputs == (numbers,)
    assert report.follows == (numbers, ordered)
    assert (report.spec.needs, report.spec.demand.cpu) == ("any", 500)

    assert template(ordered).stdin is numbers
    assert (ordered.spec.demand.gpu, ordered.spec.demand.gpu_memory) == (500, 2**30)


def test_tasks_are_submitted_in_the_order_of_the_file_also_when_they_refer_forward() -> None:
    p = read("tasks:\n  b: {command: [echo, '${{ a.stdout }}']}\n  a: {command: [date]}\n")
    frozen = p.freeze()
    assert frozen.names == ("b", "a")
    assert list(frozen.predecessors(0)) == [1]


def test_a_reference_within_text_keeps_what_is_around_it() -> None:
    p = read(
        "tasks:\n  a: {command: [date]}\n  b: {command: [x, '<${{a.stdout}}|${{ a.stdout }}>'], cwd: '${{ a.stdout }}/d'}\n"
    )
    a, b = p
    assert template(b).argv == ("x", Text(("<", a, "|", a, ">")))
    resolved = bound(b, {a: "/data\n"})
    assert resolved.argv == ("x", "</data|/data>")
    assert resolved.cwd == "/data/d"


def test_names_of_tasks_may_have_spaces_and_dots() -> None:
    p = read("tasks:\n  'a b.stdout': {command: [date]}\n  c: {command: [echo, '${{ a b.stdout.stdout }}']}\n")
    assert p["c"].inputs == (p["a b.stdout"],)


def test_a_result_in_a_shell_line_is_never_run_as_code() -> None:
    p = read("tasks:\n  a: {command: [date]}\n  b: {shell: 'echo \"got: ${{ a.stdout }}\"'}\n")
    a, b = p
    evil = '$(touch x); "; echo `id` #\n'
    resolved = bound(b, {a: evil})
    assert resolved.argv == ('echo "got: ${PENSTOCK_INPUT_1}"',)
    done = subprocess.run(
        str(resolved.argv[0]),
        shell=True,
        env={key: str(value) for key, value in resolved.env.items()},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "got: " + evil


def test_a_fallback_may_refer_to_other_tasks() -> None:
    p = read(
        "tasks:\n  a: {command: [date]}\n  b: {command: ['false'], fallback: {shell: 'echo ${{ a.stdout }}'}, env: {E: x}}\n"
    )
    a, b = p
    assert b.spec.fallback == CommandTemplate(
        ("echo ${PENSTOCK_INPUT_1}",), shell=True, env={"E": "x", "PENSTOCK_INPUT_1": a}
    )
    assert b.inputs == (a,)
    assert template(b).env == {"E": "x"}


def test_anchors_and_merges_work() -> None:
    p = read("tasks:\n  a: &a {command: [date], priority: 3, cpu: 2}\n  b: {<<: *a, priority: 4}\n")
    assert [(call.spec.priority, call.spec.demand.cpu) for call in p] == [(3, 2000), (4, 2000)]
    two = "tasks:\n  a: &a {command: [date]}\n  b: &b {<<: *a, cpu: 2}\n  c: {<<: *a, <<: *b, priority: 1}\n"
    assert read(two)["c"].spec.demand.cpu == 2000


def test_a_policy_is_a_name_or_weights() -> None:
    tasks = "tasks: {a: {command: [date]}}\n"
    named, own, none = read("policy: fifo\n" + tasks), read("policy: {age: 2}\n" + tasks), read(tasks)
    assert named.policy is not None
    assert named.policy.name == "fifo"
    assert own.policy is not None
    assert (own.policy.name, own.policy.age) == ("custom", 2)
    assert none.policy is None


def test_the_example_of_commands_is_read() -> None:
    p = load_pipeline(HERE.parent / "examples" / "commands.yaml")
    p.freeze()
    assert p["publish"].spec.retry.attempts == 5
    assert p["distinct"].spec.timeout_s == 1.0
    assert isinstance(p["distinct"].spec.fallback, CommandTemplate)
    assert len({call.spec.priority for call in p}) >= 3
    assert p["sort-ab"].spec.command == CommandTemplate(
        ("sort", "-n", "-o", "sorted-ab", "part-ab"), env={"LC_ALL": "C"}, cwd=p["folder"]
    )


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_ring_of_tasks_is_named_edge_by_edge() -> None:
    text = (
        "tasks:\n"
        "  train: {command: [a], after: select}\n"
        "  score: {command: [a, '${{ train.stdout }}']}\n"
        "  select: {command: [a], after: [score]}\n"
    )
    with pytest.raises(CycleError, match=r"^'train' -> 'score' -> 'select' -> 'train' is a cycle"):
        read(text)
    lines = text.splitlines(keepends=True)
    with pytest.raises(CycleError, match=r"^'score' -> 'select' -> 'train' -> 'score' is a cycle"):
        read(lines[0] + lines[2] + lines[3] + lines[1])
    with pytest.raises(CycleError, match=r"^'select' -> 'train' -> 'score' -> 'select' is a cycle"):
        read(lines[0] + "  z: {command: [a], after: train}\n" + lines[3] + lines[2] + lines[1])
    with pytest.raises(CycleError, match=r"^'x' -> 'x' is a cycle"):
        read("tasks: {x: {command: [echo, '${{ x.stdout }}']}}")


T = "tasks:\n  a:\n    command: [date]\n"


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("tasks: [\n", (2, 1), "while parsing a"),
        ("a: b: c\n", (1, 5), "mapping values are not allowed"),
        ("", (None, None), "it is empty; write at least `tasks:` with one task."),
        ("# nothing\n", (None, None), "it is empty"),
        ("a\0b", (None, None), "not allowed"),
        ("- a\n", (1, 1), "the file is a list; allowed is a mapping"),
        ("name: x\n", (1, 1), "the file holds no pipeline; it has no key 'tasks'."),
        ("tasks: {}\n", (1, 8), "'tasks' is empty; a pipeline has at least one task."),
        ("tasks:\n", (1, 7), "'tasks' is empty; allowed is a mapping"),
        ("taks: {}\n", (1, 1), "the file has the unknown key 'taks'. Did you mean 'tasks'?"),
        ("zzz: 1\n", (1, 1), "the file has the unknown key 'zzz'. The keys are version, name,"),
        ("version: 2\n" + T, (1, 10), "version 2 is not understood; this penstock reads version 1."),
        ("name: [a]\n" + T, (1, 7), "'name' is a list; allowed is text."),
        ("name: ''\n" + T, (1, 7), "pipeline name=''; allowed is any printable text"),
        ("workers: many\n" + T, (1, 10), "'workers' is 'many'; allowed is a whole number from 1 up."),
        ("workers: 0\n" + T, (1, 10), "'workers' is 0; allowed is a whole number from 1 up."),
        ("policy: fofo\n" + T, (1, 9), "policy='fofo'; allowed is one of"),
        ("policy: {ages: 1}\n" + T, (1, 10), "'policy' has the unknown key 'ages'. Did you mean 'age'?"),
        ("policy: {age: x}\n" + T, (1, 9), "age='x'; allowed is any finite number"),
        ("defaults: {shell: x}\n" + T, (1, 12), "'defaults' has the unknown key 'shell'."),
        ("defaults: {cwd: '${{ a.stdout }}'}\n" + T, (1, 17), "'defaults' cannot refer to the result of a task."),
        (T + "    comand: [x]\n", (4, 5), "task 'a' has the unknown key 'comand'. Did you mean 'command'?"),
        (T + "    executor: threads\n", (4, 5), "task 'a' has the unknown key 'executor'."),
        (T + "    shell: x\n", (3, 5), "task 'a' has both of 'command' and 'shell'; write one"),
        ("tasks:\n  a: {cpu: 1}\n", (2, 6), "task 'a' has neither of 'command' and 'shell'"),
        ("tasks:\n  a: date\n", (2, 6), "task 'a' is 'date'; allowed is a mapping"),
        ("tasks:\n  a: {command: date}\n", (2, 16), "'command' of task 'a' is 'date'; allowed is a list."),
        ("tasks:\n  a: {command: []}\n", (2, 16), "'command' of task 'a' is empty; the first item is the program."),
        ("tasks:\n  a: {command: [x, [y]]}\n", (2, 20), "item 1 in 'command' of task 'a' is a list; allowed is text."),
        (
            "tasks:\n  a: {command: [x, ~]}\n",
            (2, 20),
            "item 1 in 'command' of task 'a' is empty; write '' for empty text.",
        ),
        ("tasks:\n  a: {shell: }\n", (2, 14), "'shell' of task 'a' is empty"),
        ("tasks:\n  a: {shell: ' '}\n", (2, 3), "with shell=True allowed is one line of text"),
        (T + "    priority: high\n", (4, 15), "task 'a': priority='high'; allowed is any finite int or float"),
        (T + "    memory: 2 GG\n", (4, 13), "task 'a': memory='2 GG' has the unknown unit"),
        (T + "    cpu: 1\n    timeout: soon\n", (5, 14), "task 'a': timeout='soon' is no duration"),
        (
            T + "    timeout: 1:30\n",
            (4, 14),
            "'timeout' of task 'a' is 1:30, which YAML does not read as text; put it in quotes.",
        ),
        (T + "    cpu: [1]\n", (4, 10), "'cpu' of task 'a' is a list; allowed is one value."),
        (T + "    needs: some\n", (4, 12), "task 'a': needs='some'; allowed is 'all' or 'any'."),
        (T + "    retry_on: OMM\n    retries: 1\n", (4, 15), "'OMM' is neither an exception type nor one of"),
        (T + "    retry_on: OOM\n    retries: 1\n    priority: high\n", (6, 15), "priority='high'"),
        (T + "    retry_on: OOM\n", (4, 15), "allowed is only with retries= or retry="),
        (T + "    retry: {first_wait: x}\n", (4, 12), "'retry' of task 'a': Retry(first_wait_s='x')"),
        (T + "    retry: {wait: 1}\n", (4, 13), "'retry' of task 'a' has the unknown key 'wait'."),
        (T + "    resources: {licence: -1}\n", (4, 16), "resources['licence']=-1 is negative"),
        (T + "    fallback: [x]\n", (4, 16), "'fallback' of task 'a' is 'x'; allowed is a mapping"),
        (T + "    fallback: {value: x, shell: y}\n", (4, 15), "both of 'value' and a command"),
        (T + "    breaker: [x]\n", (4, 14), "'breaker' of task 'a' is a list; allowed is one value."),
        (T + "    allow_failure: maybe\n", (4, 20), "allow_failure='maybe'; allowed is True or False"),
        (
            T + "    fallback: {cmd: [x]}\n",
            (4, 16),
            "'fallback' of task 'a' has the unknown key 'cmd'. Did you mean 'command'?",
        ),
        (T + "    after: [b]\n", (4, 13), "task 'a' refers to task 'b', which is not here."),
        (
            T + "    env: {A: '${{ aa.stdout }}'}\n",
            (4, 14),
            "task 'a' refers to task 'aa', which is not here. Did you mean 'a'?",
        ),
        (T + "    stdin: ${{ a }}\n", (4, 12), "'${{ a }}' is not understood; write ${{ task.stdout }}."),
        (T + "    cpu: 1\n    cpu: 2\n", (5, 5), "task 'a' has the key 'cpu' twice; the first is in line 4."),
        (T + "  a:\n    command: [date]\n", (4, 3), "'tasks' has the key 'a' twice; the first is in line 2."),
        (T + "    cwd: !!python/name:os.system x\n", (4, 10), "has the tag tag:yaml.org,2002:python/name:os.system"),
        (T + "    cpu: !x 1\n", (4, 10), "'cpu' of task 'a' has the tag !x; tags are not allowed here."),
        (T + "    cwd: *other\n", (4, 10), "found undefined alias"),
        (
            "tasks:\n  a: {<<: 3, command: [date]}\n",
            (2, 6),
            "task 'a': expected a mapping or list of mappings for merging",
        ),
        ("tasks:\n  ? [a]\n  : {command: [date]}\n", (2, 5), "a key of 'tasks' is a list; allowed is text."),
        ("tasks:\n  '': {command: [date]}\n", (2, 3), "name=''; allowed is any printable text"),
        ("tasks: {a: {command: [date]}}\n---\nb: 1\n", (2, 1), "expected a single document in the stream"),
    ],
)
def test_a_mistake_is_told_with_line_and_column(text: str, place: tuple[int | None, int | None], problem: str) -> None:
    error = refused(text)
    assert problem in error.problem
    assert (error.line, error.column) == place
    assert error.path == "p.yaml"


def test_rules_about_failures_are_read_as_those_of_the_call() -> None:
    p = read_yaml(
        "tasks:\n  a:\n    command: ['false']\n    breaker: api\n    allow_failure: true\n    total_timeout: 5m\n"
        "    retry: {attempts: 3, total: 60}\n    fallback: [{command: ['false']}, {shell: exit 1}, {value: none}]\n",
        "p.yaml",
    )
    spec = p["a"].spec
    assert (spec.breaker, spec.allow_failure, spec.total_timeout_s) == (Breaker("api"), True, 300)
    assert spec.retry == Retry(attempts=3, total_s=60)
    assert spec.fallbacks == (
        CommandTemplate(("false",)),
        CommandTemplate(("exit 1",), shell=True),
        penstock.value("none"),
    )

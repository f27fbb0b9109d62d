"""`penstock.template`: commands with results in them become plain text."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.inputs import inputs_of
from penstock.task import Call, Task
from penstock.template import CommandTemplate, Text, as_text

TASK = Task(lambda: None, {"name": "source"})
A, B = Call(TASK), Call(TASK)
NOTHING: dict[Call[Any], object] = {}


def test_results_are_written_out_without_newlines_at_their_end() -> None:
    template = CommandTemplate(("sort", A, Text(("--rows=", B, "!"))))
    resolved = template.resolve({A: "file.txt\n\n", B: 3}.__getitem__)
    assert resolved.argv == ("sort", "file.txt", "--rows=3!")


def test_fixed_text_keeps_its_newlines() -> None:
    assert CommandTemplate(("printf", "a\n")).resolve(NOTHING.__getitem__).argv == ("printf", "a\n")


def test_standard_input_is_passed_exactly_as_it_is() -> None:
    assert CommandTemplate(("cat",), stdin=A).resolve({A: "a\n\n"}.__getitem__).stdin == "a\n\n"
    assert CommandTemplate(("cat",), stdin=A).resolve({A: b"\xff\n"}.__getitem__).stdin == b"\xff\n"
    assert CommandTemplate(("cat",)).resolve(NOTHING.__getitem__).stdin is None


def test_variables_and_folder_are_resolved_too() -> None:
    template = CommandTemplate(("env",), env={"A": A, "B": 2}, cwd=B)
    resolved = template.resolve({A: "x\n", B: Path("/data")}.__getitem__)
    assert resolved.env == {"A": "x", "B": "2"}
    assert resolved.cwd == "/data"


def test_every_place_is_searched_for_calls() -> None:
    fourth, fifth = Call(TASK), Call(TASK)
    template = CommandTemplate((A, Text((B,))), env={"X": fourth}, cwd=fifth, stdin=A)
    assert inputs_of((template,), {}) == [A, B, fourth, fifth]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (b"a", "a"),
        (Path("a/b"), "a/b"),
        (1, "1"),
        (0.1, "0.1"),
        (np.float64(2.5), "2.5"),
        (np.int64(3), "3"),
    ],
)
def test_text_paths_and_numbers_become_text(value: object, text: str) -> None:
    assert as_text(value, "here") == text


@pytest.mark.parametrize("value", [None, True, ["a"], {"a": 1}, object(), np.zeros(2)])
def test_anything_else_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(TypeError, match=r"argument 1 is a .*; a command takes text, paths and numbers"):
        CommandTemplate(("echo", A)).resolve(lambda _: value)


@pytest.mark.parametrize(
    ("template", "place"),
    [
        (CommandTemplate(("echo", None)), "argument 1"),
        (CommandTemplate((["echo"],)), "the program"),
        (CommandTemplate(("echo",), env={"N": None}), "environment variable N"),
        (CommandTemplate(("echo",), cwd=True), "cwd"),
        (CommandTemplate(("echo",), stdin=[1]), "stdin"),
    ],
)
def test_check_finds_fixed_values_that_no_command_takes(template: CommandTemplate, place: str) -> None:
    with pytest.raises(TypeError, match=f"^{place} is a "):
        template.check()


def test_check_passes_over_results_that_are_not_there_yet() -> None:
    CommandTemplate(("echo", A, A["k"], Text(("x", B))), stdin=B).check()


def test_a_command_shows_on_one_line_with_names_for_results() -> None:
    assert str(CommandTemplate(("sort", Text(("--out=", A)), A["k"]))) == "sort --out=${{ source }} ${{ source }}"
    assert str(CommandTemplate(("cat a |\n  sort\n",), shell=True)) == "cat a | sort"


def test_a_resolved_command_survives_pickling() -> None:
    resolved: Any = CommandTemplate(("a", A), env={"K": "v"}, stdin="x").resolve(lambda _: "b")
    assert pickle.loads(pickle.dumps(resolved)) == resolved

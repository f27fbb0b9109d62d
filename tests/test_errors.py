"""The errors' sentences, and that they cross a process boundary whole."""

from __future__ import annotations

import concurrent.futures
import pickle

import pytest

from penstock import errors
from penstock.errors import (
    Cancelled,
    CycleError,
    ExtraMissingError,
    InternalError,
    PenstockError,
    PipelineFileError,
    ResultError,
    TaskFailed,
    did_you_mean,
)
from penstock.states import Cause

ONE_OF_EACH = [
    errors.OptionError("a"),
    errors.ResourceError("b"),
    CycleError(["train", "score", "select"]),
    errors.DuplicateNameError("c"),
    PipelineFileError("it has an unknown key 'x'", "p.yaml", 3, 7),
    ExtraMissingError("gpu", "the NVML probe"),
    errors.BreakerOpen("call", "api", 3, "ConnectionError: down"),
    errors.ResultRefused("ask", [1]),
    ResultError("this run has no task 'x'."),
    TaskFailed("train", "ValueError: bad", Cause.OOM, 3),
    Cancelled("task 'x' was cancelled."),
    errors.PickleError("d"),
    InternalError("held is below zero", ["1 started", "2 failed"]),
]


def test_the_list_of_this_test_has_one_of_each_error() -> None:
    classes = {getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert {type(error) for error in ONE_OF_EACH} == classes - {PenstockError}


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling_with_its_sentence_and_attributes(error: PenstockError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_every_error_says_when_it_is_raised_and_has_the_common_base(error: PenstockError) -> None:
    assert isinstance(error, PenstockError)
    assert type(error).__doc__


def test_a_cycle_is_named_edge_by_edge_and_closes() -> None:
    assert str(CycleError(["train", "score", "select"])) == (
        "'train' -> 'score' -> 'select' -> 'train' is a cycle; remove one of these edges."
    )
    assert str(CycleError(["x"])) == "'x' -> 'x' is a cycle; remove one of these edges."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PipelineFileError("no such file.", "p.yaml"), "p.yaml: no such file."),
        (PipelineFileError("unknown key.", "p.yaml", 3), "p.yaml:3: unknown key."),
        (PipelineFileError("unknown key.", "p.yaml", 3, 7), "p.yaml:3:7: unknown key."),
    ],
)
def test_a_pipeline_file_error_begins_with_the_place(error: PipelineFileError, text: str) -> None:
    assert str(error) == text


def test_a_missing_extra_says_the_command_that_brings_it() -> None:
    assert str(ExtraMissingError("gpu", "the NVML probe")) == (
        "the NVML probe needs the extra 'gpu': pip install 'penstock[gpu]'"
    )
    assert isinstance(ExtraMissingError("gpu"), ImportError)


def test_a_failed_task_says_how_often_it_tried_and_why() -> None:
    assert str(TaskFailed("t", "x", Cause.TIMEOUT)) == "task 't' failed after 1 attempt (TIMEOUT): x"
    assert str(TaskFailed("t", "x", Cause.LOST, 4)) == "task 't' failed after 4 attempts (LOST): x"
    assert str(TaskFailed("t", "'u' failed", Cause.UPSTREAM, 0)) == "task 't' did not run (UPSTREAM): 'u' failed"


def test_a_result_error_is_a_key_error_that_reads_as_a_sentence() -> None:
    error = ResultError("this run has no task 'x'.")
    assert isinstance(error, KeyError)
    assert str(error) == "this run has no task 'x'."


def test_cancelled_is_what_users_of_futures_catch() -> None:
    assert isinstance(Cancelled("x"), concurrent.futures.CancelledError)


def test_an_internal_error_lists_the_events_in_order() -> None:
    lines = str(InternalError("held is below zero", ["1 started", "2 failed"])).splitlines()
    assert lines[0].startswith("held is below zero (this is a bug in penstock")
    assert lines[1:] == ["  1 started", "  2 failed"]


def test_the_nearest_name_is_offered_only_when_it_is_near() -> None:
    assert did_you_mean("memroy", ["cpu", "memory"]) == " Did you mean 'memory'?"
    assert did_you_mean("retrys", ["retry", "retries", "retry_on"]) == " Did you mean 'retries'?"
    assert did_you_mean("entry", ["retry", "retries"]) == " Did you mean 'retry'?"
    assert did_you_mean("zzz", ["cpu", "memory"]) == ""

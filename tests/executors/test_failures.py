"""Errors that cross from one process to another."""

from __future__ import annotations

import pickle
import traceback

from penstock.executors.failures import CommandFailed, RemoteTraceback, traceback_text


def test_command_failed_survives_pickling_with_its_attributes() -> None:
    error = CommandFailed("sort", "sort -n", "exited with code 2", exit_code=2, stderr="bad line\n")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is CommandFailed
    assert again.__dict__ == error.__dict__
    assert str(again) == "task 'sort' exited with code 2: bad line\ncommand: sort -n"


def test_the_first_line_of_a_failed_command_says_what_happened_however_long_the_command_is() -> None:
    error = CommandFailed(
        "sort", "sort " + "x" * 10_000, "exited with code 2", exit_code=2, stderr="reading\n  no: x\n"
    )
    first, command, *said = str(error).splitlines()
    assert first == "task 'sort' exited with code 2: no: x"
    assert command == f"command: {error.command}"
    assert said == ["the end of its standard error:", "reading", "  no: x"]


def test_a_silent_commands_failure_ends_with_what_happened() -> None:
    assert str(CommandFailed("t", "false", "exited with code 1", exit_code=1)) == (
        "task 't' exited with code 1\ncommand: false"
    )


def test_remote_traceback_is_shown_by_python_above_the_error() -> None:
    error = ValueError("no")
    error.__cause__ = RemoteTraceback("Traceback of the worker")
    shown = "".join(traceback.format_exception(error))
    assert shown.index("Traceback of the worker") < shown.index("direct cause") < shown.index("ValueError: no")


def test_frames_of_penstock_are_left_out_of_the_whole_chain() -> None:
    from penstock.units import parse_bytes

    try:
        try:
            parse_bytes("nonsense", "memory")
        except Exception as error:
            raise LookupError("outer") from error
    except LookupError as error:
        text = traceback_text(error)
    assert "parse_bytes(" in text
    assert "units.py" not in text
    assert "LookupError: outer" in text

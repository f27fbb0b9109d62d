"""Secrets: nothing that penstock says has their values."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from penstock import Pipeline, command, task
from penstock.errors import OptionError, TaskFailed
from penstock.masking import Mask

SECRET = "s3cr3t-value"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", SECRET)


def _say() -> None:
    import os

    try:
        raise OSError(5, "no access", f"/path/{os.environ['API_KEY']}")
    except OSError as error:
        raise ValueError({"key": [os.environ["API_KEY"]]}) from error


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_no_error_alert_log_or_table_has_the_value(
    executor: Any, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    told: list[str] = []
    with Pipeline("p") as p:
        task(executor=executor)(_say)()
        command("shout", f"echo {SECRET} >&2; exit 3", shell=True)
    with caplog.at_level(logging.DEBUG, "penstock.run"):
        result = p.run(secret="API_KEY", alerts=lambda alert: told.append(f"{alert} {alert.error!r}"), progress=True)
    said = [*told, caplog.text, result.table(), capsys.readouterr().out, repr(result.errors)]
    for error in result.errors.values():
        said += ["".join(traceback.format_exception(error)), str(vars(error))]
    for name in result.errors:
        with pytest.raises(TaskFailed) as caught:
            result[name]
        said.append(str(caught.value))
    assert len(result.errors) == 2
    kept = result.errors["_say"]
    assert isinstance(kept, ValueError)  # its own type, with the rest of what it says
    assert kept.args == ({"key": ["***"]},)
    assert "***" in "".join(said)
    assert not [text for text in said if SECRET in text]


def test_a_secret_of_a_commands_own_environment_is_masked_too() -> None:
    with Pipeline("p") as p:
        command("shout", "echo $TOKEN >&2; exit 3", shell=True, env={"TOKEN": "from-the-pipeline"})
    result = p.run(secret=["TOKEN"], progress=False)
    assert "from-the-pipeline" not in str(result.errors["shout"])
    assert "exited with code 3: ***" in str(result.errors["shout"])


def test_an_error_that_makes_its_message_itself_is_replaced() -> None:
    class Stubborn(Exception):
        def __str__(self) -> str:
            return f"with {SECRET}"

    cleaned = Mask("API_KEY").cleaned(Stubborn(), "task")
    assert isinstance(cleaned, TaskFailed)
    assert str(cleaned) == "task 'task' failed after 1 attempt (EXCEPTION): Stubborn: with ***"


def test_an_error_without_secrets_stays_the_same_object_with_its_attributes() -> None:
    error = OSError(2, "none", "file")
    arguments = error.args
    assert Mask("API_KEY").cleaned(error, "task") is error
    assert (error.args, error.filename) == (arguments, "file")


def test_of_two_secrets_one_of_which_contains_the_other_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGER", f"{SECRET}-and-more")
    assert Mask(["API_KEY", "LONGER"]).hides(f"{SECRET}-and-more, {SECRET}") == "***, ***"


def test_a_short_value_is_not_masked_and_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHORT", "abc")
    monkeypatch.setenv("EMPTY", "")
    assert Mask(["SHORT", "EMPTY", "UNSET"]).hides("abcdef") == "abcdef"
    assert len(caplog.records) == 1
    assert "abc" not in caplog.text


@pytest.mark.parametrize("secret", [[3], ["A=B"], [""]])
def test_what_is_no_name_is_refused(secret: Any) -> None:
    with Pipeline("p") as p, pytest.raises(OptionError, match="secret="):
        p.run(secret=secret, progress=False)

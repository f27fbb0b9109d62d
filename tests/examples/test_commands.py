"""`examples/commands.yaml`, run for real: its flaky task, its timeout with a fallback, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.pipeline_file import load_pipeline
from penstock.states import State

EXAMPLE = Path(__file__).parents[2] / "examples" / "commands.yaml"


@pytest.mark.timeout(100)
def test_the_commands_run_and_their_report_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_OUT", str(tmp_path / "out"))
    result = load_pipeline(EXAMPLE).run(progress=False, limits={})
    assert result.ok, result.errors
    assert set(result.states.values()) == {State.SUCCEEDED}
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8").splitlines()
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert report[0].split() == ["lines:", str(len(log))]
    assert report[1].split() == ["distinct:", str(len(set(log)))]  # from the fallback, after the timeout
    assert report[2].split() == ["errors:", str(sum("ERROR" in line for line in log))]
    assert report[3].split() == ["slowest:", *max(log, key=lambda line: (int(line.split()[0]), line)).split()]
    assert "archive:  published after 3 attempts, identical" in report
    assert sum(line.startswith("service-") for line in report) == 13
    assert result["report"] == (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")

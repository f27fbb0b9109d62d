"""The main job: `penstock run examples/digits.py`, for real and once, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="examples/digits.py needs scikit-learn: pip install 'penstock[examples]'")
matplotlib_image = pytest.importorskip(
    "matplotlib.image", reason="examples/digits.py needs matplotlib: pip install 'penstock[examples]'"
)

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"


@dataclass(frozen=True)
class Finished:
    """What the command printed, and the folder that it ran in."""

    folder: Path
    run: dict[str, Any]
    lines: list[str]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return {task["name"]: task for task in self.run["tasks"]}

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.folder / "digits_report" / "report.json").read_text())
        return report


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("digits")
    environment = {name: value for name, value in os.environ.items() if name != "DIGITS_REPORT"}
    command = [sys.executable, "-m", "penstock", "run", str(EXAMPLE), "--json", "--progress", "--trace", "trace.json"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == 0, done.stderr
    return Finished(folder, json.loads(done.stdout), done.stderr.splitlines())


def test_the_final_model_reads_at_least_98_of_100_test_images_right(finished: Finished) -> None:
    report = finished.report
    assert report["test"]["images"] == 360
    assert report["test"]["accuracy"] >= 0.98
    right = sum(report["confusion"][digit][digit] for digit in range(10))
    assert report["test"]["accuracy"] == round(right / 360, 4)
    assert sum(map(sum, report["confusion"])) == 360


def test_precision_and_recall_of_each_digit_agree_with_the_confusion_matrix(finished: Finished) -> None:
    matrix = finished.report["confusion"]
    for digit, entry in enumerate(finished.report["digits"]):
        assert entry["images"] == sum(matrix[digit])
        assert entry["recall"] == round(matrix[digit][digit] / sum(matrix[digit]), 4)
        assert entry["precision"] == round(matrix[digit][digit] / sum(row[digit] for row in matrix), 4)


def test_all_thirty_models_are_ranked_by_validation_accuracy(finished: Finished) -> None:
    models = finished.report["models"]
    assert [model["rank"] for model in models] == list(range(1, 31))
    accuracies = [model["validation_accuracy"] for model in models]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len({(model["model"], model["features"]) for model in models}) == 30
    assert all(model["fit_s"] > 0 for model in models)


def test_the_chosen_model_is_the_finalist_that_cross_validation_found_best(finished: Finished) -> None:
    finalists = finished.report["finalists"]
    assert len(finalists) == 6
    assert finished.report["chosen"] == finalists[0]
    assert finalists[0]["folds_mean"] == max(finalist["folds_mean"] for finalist in finalists)
    assert all(len(finalist["folds"]) == 5 for finalist in finalists)


def test_the_confusion_matrix_is_drawn(finished: Finished) -> None:
    picture = matplotlib_image.imread(finished.folder / "digits_report" / "confusion.png")
    height, width, _ = picture.shape
    assert height > 500
    assert width > 800
    assert len({tuple(pixel) for pixel in picture[::5, ::5].reshape(-1, picture.shape[2])}) > 20


def test_every_task_succeeded_and_only_the_flaky_and_the_failing_one_needed_more_than_one_attempt(
    finished: Finished,
) -> None:
    assert finished.run["ok"]
    assert {task["state"] for task in finished.tasks.values()} == {"succeeded"}
    assert {name: task["attempts"] for name, task in finished.tasks.items() if task["attempts"] != 1} == {
        "label_sheet": 3,
        "bayes/pca": 2,
    }
    assert finished.tasks["bayes/pca"]["outcome"] == "succeeded (fallback)"
    stand_in = [m for m in finished.report["models"] if (m["model"], m["features"]) == ("bayes", "pca")]
    assert [model["estimator"] for model in stand_in] == ["GaussianNB"]


def test_the_finalists_were_cross_validated_by_tasks_that_were_made_while_the_run_went(finished: Finished) -> None:
    made = {name for name in finished.tasks if name.endswith("/folds")}
    assert made == {f"{each['model']}/{each['features']}/folds" for each in finished.report["finalists"]}


def test_the_networks_were_trained_in_processes_whose_memory_was_measured(finished: Finished) -> None:
    for features in ("pixels", "pca", "gradients"):
        task = finished.tasks[f"network/{features}"]
        assert task["peak_memory"] > 50_000_000
        assert task["cpu_s"] > 0.1


def test_the_totals_say_how_long_and_how_much_of_the_limit(finished: Finished) -> None:
    totals = finished.run["totals"]
    assert totals["makespan_s"] >= totals["critical_path_s"] > 0
    assert totals["cpu_used"] > 0
    assert totals["counts"] == {"succeeded": len(finished.tasks)}


def test_progress_is_told_in_plain_lines_when_there_is_no_terminal(finished: Finished) -> None:
    text = "\n".join(finished.lines)
    assert "\x1b[" not in text
    assert "started    svm-10/gradients" in text
    assert f"{len(finished.tasks)}/{len(finished.tasks)} finished" in finished.lines[-1]


def test_it_says_what_it_found_and_where_the_report_is(finished: Finished) -> None:
    accuracy = finished.report["test"]["accuracy"]
    (found,) = [line for line in finished.lines if line.endswith("digits_report/report.json")]
    assert f"reads {accuracy:.1%} of the test images right" in found
    assert any(line.endswith("digits_report/confusion.png") for line in finished.lines)


def test_the_trace_has_each_attempt_on_a_lane_and_an_arrow_for_each_dependency(finished: Finished) -> None:
    trace = json.loads((finished.folder / "trace.json").read_text())
    bars = [entry for entry in trace if entry["ph"] == "X" and entry["cat"] == "task"]
    assert sum(bar["name"] == "label_sheet" for bar in bars) == 3
    assert {bar["name"] for bar in bars} == set(finished.tasks)
    lanes = {entry["tid"]: entry["args"]["name"] for entry in trace if entry.get("name") == "thread_name"}
    assert {lanes[bar["tid"]].split()[0] for bar in bars if bar["name"].startswith("network/")} == {"process"}
    arrows = [entry["ph"] for entry in trace if entry.get("cat") == "dependency"]
    assert arrows.count("s") == arrows.count("f") > 100

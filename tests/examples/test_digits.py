"""examples/digits.py: its own functions, the shape of its pipeline, and (in test_digits_run.py) the real run."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from penstock.task import Part

pytest.importorskip("sklearn", reason="examples/digits.py needs scikit-learn: pip install 'penstock[examples]'")
pytest.importorskip("matplotlib", reason="examples/digits.py needs matplotlib: pip install 'penstock[examples]'")

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def digits() -> Iterator[ModuleType]:
    """The example as a module. Its tasks, called here, are plain functions."""
    spec = importlib.util.spec_from_file_location("digits_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


@pytest.fixture(scope="module")
def loaded(digits: ModuleType) -> Any:
    return digits.load()


@pytest.fixture(scope="module")
def parts(digits: ModuleType, loaded: Any) -> Any:
    return digits.split(loaded)


# --- the data --------------------------------------------------------------------------------------------------------


def test_the_images_that_come_with_scikit_learn_pass_validation(digits: ModuleType, loaded: Any) -> None:
    assert digits.validate(loaded, digits.LABEL_SHEET) is loaded


def test_validation_names_everything_that_is_wrong_at_once(digits: ModuleType, loaded: Any) -> None:
    images, labels = loaded.images.copy(), loaded.labels.copy()
    images[7] = 0
    images[9, 0, 0] = 17
    labels[labels == 3] = 4
    with pytest.raises(ValueError, match="the digits cannot be used: ") as caught:
        digits.validate(digits.Digits(images, labels), digits.LABEL_SHEET)
    message = str(caught.value)
    assert "ink runs from 0.0 to 17.0, not within 0 to 16" in message
    assert "1 images are blank, the first is number 7" in message
    assert "there are [178, 182, 177, 0, 364, 182, 181, 179, 174, 180] images of each digit" in message


@pytest.mark.parametrize("ink", [-1.0, np.nan, np.inf])
def test_ink_that_no_scanner_measures_is_refused(digits: ModuleType, loaded: Any, ink: float) -> None:
    images = loaded.images.copy()
    images[0, 0, 0] = ink
    with pytest.raises(ValueError, match="not within 0 to 16"):
        digits.validate(digits.Digits(images, loaded.labels), digits.LABEL_SHEET)


def test_images_of_another_shape_and_missing_labels_are_refused(digits: ModuleType, loaded: Any) -> None:
    with pytest.raises(ValueError, match=r"shape \(1797, 64\), not \(1797, 8, 8\)"):
        digits.validate(digits.Digits(loaded.images.reshape(-1, 64), loaded.labels), digits.LABEL_SHEET)
    with pytest.raises(ValueError, match="there are 1796 labels for 1797 images"):
        digits.validate(digits.Digits(loaded.images, loaded.labels[1:]), digits.LABEL_SHEET)


def test_every_image_is_in_exactly_one_part(digits: ModuleType, loaded: Any, parts: Any) -> None:
    assert [len(parts[name].labels) for name in ("train", "validation", "test")] == [1077, 360, 360]
    together = sorted(image.tobytes() for part in parts.values() for image in part.images)
    assert together == sorted(image.tobytes() for image in loaded.images)
    assert digits.check_split(parts) is parts


def test_an_image_in_two_parts_is_refused(digits: ModuleType, parts: Any) -> None:
    test = digits.joined(parts["test"], digits.Digits(parts["train"].images[:1], parts["train"].labels[:1]))
    with pytest.raises(ValueError, match="the same image is in train and in test"):
        digits.check_split({**parts, "test": test})


def test_a_part_without_enough_of_one_digit_is_refused(digits: ModuleType, parts: Any) -> None:
    without = parts["test"].labels != 8
    test = digits.Digits(parts["test"].images[without], parts["test"].labels[without])
    with pytest.raises(ValueError, match=r"^test: the digits' shares are \[.*0\.0, "):
        digits.check_split({**parts, "test": test})


@pytest.mark.timeout(30)
def test_the_label_service_turns_two_callers_away_answers_the_third_and_closes(digits: ModuleType) -> None:
    port = digits.label_service()
    service = next(thread for thread in threading.enumerate() if thread.name == "label-service")
    for _ in range(2):
        with pytest.raises(ConnectionError, match=f"service on port {port} hung up without an answer"):
            digits.label_sheet(port)
    assert digits.label_sheet(port) == digits.LABEL_SHEET
    service.join(timeout=20)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


# --- features --------------------------------------------------------------------------------------------------------


def test_gradient_histograms_have_length_one_and_ignore_how_heavy_the_pen_was(digits: ModuleType, loaded: Any) -> None:
    histogram = digits.gradient_histogram(loaded.images)
    assert histogram.shape == (1797, 128)
    np.testing.assert_allclose(np.linalg.norm(histogram, axis=1), 1)
    np.testing.assert_allclose(digits.gradient_histogram(loaded.images / 3), histogram, atol=1e-12)


def test_a_gradient_votes_for_the_two_nearest_directions_by_nearness(digits: ModuleType) -> None:
    across, down = np.meshgrid(np.arange(32.0), np.arange(32.0))
    angle = np.deg2rad(45 + 0.25 * 45)  # a quarter of the way from direction 1 to direction 2
    slope = (across * np.cos(angle) + down * np.sin(angle))[None]
    inner = digits.gradient_histogram(slope).reshape(16, 16, 8)[7, 7]  # a cell far from the rim
    np.testing.assert_allclose(inner / inner.sum(), [0, 0.75, 0.25, 0, 0, 0, 0, 0], atol=1e-12)


def test_turning_an_image_turns_cells_and_directions(digits: ModuleType, loaded: Any) -> None:
    upright = digits.gradient_histogram(loaded.images[:50]).reshape(50, 4, 4, 8)
    turned = digits.gradient_histogram(np.rot90(loaded.images[:50], axes=(1, 2))).reshape(50, 4, 4, 8)
    np.testing.assert_allclose(turned, np.roll(np.rot90(upright, axes=(1, 2)), -2, axis=3), atol=1e-12)


def test_a_blank_image_has_an_empty_histogram(digits: ModuleType) -> None:
    assert not digits.gradient_histogram(np.zeros((2, 8, 8))).any()


@pytest.mark.parametrize("name", ["pixels", "pca", "gradients"])
def test_features_of_an_image_depend_on_that_image_and_what_was_fitted_on_alone(
    digits: ModuleType, parts: Any, name: str
) -> None:
    fit_on, judged = parts["train"].images, parts["validation"].images
    together = digits.extract(name, fit_on, fit_on, judged)[1]
    alone = digits.extract(name, fit_on, judged[40:50])[0]
    np.testing.assert_allclose(together[40:50], alone, atol=1e-12)
    learned = name == "pca"
    elsewhere = digits.extract(name, fit_on[:500], judged[40:50])[0]
    assert np.allclose(elsewhere, alone) != learned


# --- the models and the pipeline -------------------------------------------------------------------------------------


def test_bayes_really_fails_on_pca_and_its_fallback_can_stand_in(digits: ModuleType, parts: Any) -> None:
    bayes = next(family for family in digits.FAMILIES if family.name == "bayes")
    rows = digits.features("pca", parts["train"], parts["validation"])["train"]
    with pytest.raises(ValueError, match="Negative values"):
        digits.train(bayes, rows, parts["train"])
    stand_in = bayes.options["fallback"](bayes, rows, parts["train"])
    assert type(stand_in.model).__name__ == "GaussianNB"
    assert stand_in.model.score(rows, parts["train"].labels) > 0.9


def test_fitting_leaves_the_familys_model_as_it_was(digits: ModuleType, parts: Any) -> None:
    family = digits.FAMILIES[0]
    rows = parts["train"].images.reshape(-1, 64)
    first = digits.train(family, rows, parts["train"])
    assert first.model is not family.model
    assert not hasattr(family.model, "support_")


def test_each_model_has_as_many_threads_as_its_training_asks_cores_for(digits: ModuleType) -> None:
    for family in digits.FAMILIES:
        asked = max(1, family.options.get("cpu", 1))
        assert (getattr(family.model, "n_jobs", None) or 1) == asked, family.name


def test_equal_scores_are_ranked_in_the_order_of_the_families(digits: ModuleType) -> None:
    first, second, third = digits.FAMILIES[:3]

    def score(family: Any, accuracy: float) -> Any:
        return digits.Score(family, family.model, "pixels", accuracy, 0.1)

    ranked = digits.best_first([[score(first, 0.9), score(second, 0.95)], [score(third, 0.95)]])
    assert [each.family for each in ranked] == [second, third, first]


def test_the_pipeline_trains_many_models_with_different_demands(digits: ModuleType) -> None:
    trainings = [call.spec for call in digits.pipeline if call.spec.function is digits.train.function]
    assert len(trainings) == 30
    assert len({spec.name.split("/")[0] for spec in trainings}) == 10
    assert len({spec.priority for spec in trainings}) >= 3
    assert len({spec.demand for spec in trainings}) >= 3
    assert {spec.executor for spec in trainings} == {"threads", "processes"}


def test_only_the_last_three_tasks_are_given_the_test_images(digits: ModuleType) -> None:
    given = {
        call.name: {value.key for value in (*call.args, *call.kwargs.values()) if isinstance(value, Part)}
        for call in digits.pipeline
    }
    assert {name for name, keys in given.items() if "test" in keys} == {
        "refit_and_read",
        "write_report",
        "draw_confusion",
    }
    whole = digits.pipeline["check_split"]
    assert not [call.name for call in digits.pipeline if any(value is whole for value in call.args)]


def test_without_scikit_learn_it_names_the_extra_in_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.modules['sklearn'] = None; from penstock.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(EXAMPLE)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"penstock: \S+digits\.py:\d+: this example needs the extra 'examples': pip install 'penstock\[examples\]'\n",
        done.stderr,
    )

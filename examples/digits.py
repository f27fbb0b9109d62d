"""Read handwritten digits: a whole machine-learning pipeline, from raw images to a written report.

    penstock run examples/digits.py

The images are the 1,797 real scans that come with scikit-learn, so nothing is downloaded. The pipeline checks the
data, makes three sets of features from it, trains thirty models, cross-validates the best of them, fits the winner
once more on everything but the test images, and writes what it found to the folder `digits_report/` (or to the one
that DIGITS_REPORT names). It needs `pip install "penstock[examples]"`.

Read it from the bottom: the pipeline itself is the last thing in the file. Everything above it is ordinary Python;
`@task` only notes what a function needs, and called outside a pipeline it is the function that it was.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock import Pipeline, Retry, errors, task

try:
    import sklearn
    from matplotlib.figure import Figure
except ImportError as missing:
    raise errors.ExtraMissingError("examples", "this example") from missing

from joblib import cpu_count
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

REPORT = Path(os.environ.get("DIGITS_REPORT", "digits_report"))
SEED = 0
FINALISTS = 6
WIDE = 2 if cpu_count() >= 3 else 1  # cores for growing trees: two, where that leaves one for the others


@dataclass(frozen=True)
class Digits:
    """Scanned digits: `images` of shape (n, 8, 8), ink from 0 to 16; `labels` of shape (n,), 0 to 9."""

    images: Array
    labels: Labels


@dataclass(frozen=True)
class Family:
    """A model that is not fitted yet, and what penstock should know about training it."""

    name: str
    model: Any
    options: dict[str, Any]


@dataclass(frozen=True)
class Trained:
    family: Family
    model: Any
    fit_s: float


@dataclass(frozen=True)
class Score:
    """How a trained model did on the validation images; `folds` is filled when it became a finalist."""

    family: Family
    model: Any  # not fitted
    features: str
    accuracy: float
    fit_s: float
    folds: tuple[float, ...] = ()

    @property
    def folds_mean(self) -> float:
        return sum(self.folds) / len(self.folds)


# --- the data: load, check, split ------------------------------------------------------------------------------------


@task(cpu=0.5, memory="20MB")
def load() -> Digits:
    images, labels = load_digits(return_X_y=True)
    return Digits(images.reshape(-1, 8, 8), labels.astype(np.int64))


LABEL_SHEET = {
    "names": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "counts": [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],  # as published with the data
    "images": 1797,
}


@task(cpu=0.25, memory="10MB")
def label_service() -> int:
    """Start a service on this machine that knows what the labels mean; return the port that it listens on."""
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=answer_when_warm, args=(listening,), name="label-service", daemon=True).start()
    return int(listening.getsockname()[1])


def answer_when_warm(listening: socket.socket) -> None:
    """Give the sheet to one caller, and close.

    Like many a service, this one is cold at first: each caller makes it load one of the sheet's three parts, and until
    all are in, callers are turned away without a word.
    """
    loaded: dict[str, Any] = {}
    with listening:
        for part, value in LABEL_SHEET.items():
            caller, _ = listening.accept()
            loaded[part] = value
            with caller:
                if len(loaded) == len(LABEL_SHEET):
                    caller.sendall(json.dumps(loaded).encode())


# The flaky one. Its first two attempts really fail, over a real connection, because the service is still cold. With
# retries= it asks again after a short wait, and while it waits it holds no worker.
@task(cpu=0.25, memory="10MB", retries=4, retry=Retry(jitter_s=0.1), retry_on=OSError, timeout="20s", priority=-5)
def label_sheet(port: int) -> dict[str, Any]:
    """Fetch the label sheet: the digits' names, and how many images of each there should be."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, connection.makefile() as answer:
        text = answer.read()
    if not text:
        raise ConnectionError(f"the label service on port {port} hung up without an answer; is it still warming up?")
    return dict(json.loads(text))


@task(cpu=0.5, memory="20MB")
def validate(digits: Digits, sheet: dict[str, Any]) -> Digits:
    """Return the digits unchanged, or raise ValueError with everything that is wrong with them."""
    images, labels, wrong = digits.images, digits.labels, []
    if images.shape != (sheet["images"], 8, 8):
        wrong.append(f"images have shape {images.shape}, not ({sheet['images']}, 8, 8)")
    if labels.shape != images.shape[:1]:
        wrong.append(f"there are {len(labels)} labels for {len(images)} images")
    if not (images.min() >= 0 and images.max() <= 16):
        wrong.append(f"ink runs from {images.min()} to {images.max()}, not within 0 to 16")
    if blank := np.flatnonzero(images.reshape(len(images), -1).max(axis=1) == 0).tolist():
        wrong.append(f"{len(blank)} images are blank, the first is number {blank[0]}")
    if (counts := [int(np.sum(labels == digit)) for digit in range(10)]) != sheet["counts"]:
        wrong.append(f"there are {counts} images of each digit, not {sheet['counts']}")
    if wrong:
        raise ValueError("the digits cannot be used: " + "; ".join(wrong))
    return digits


@task(cpu=0.5, memory="20MB")
def split(digits: Digits) -> dict[str, Digits]:
    """Three fifths of each digit's images to train on, one to choose by, and one to be tested on."""
    known, test = train_test_split(
        np.arange(len(digits.labels)), test_size=0.2, stratify=digits.labels, random_state=SEED
    )
    train, validation = train_test_split(known, test_size=0.25, stratify=digits.labels[known], random_state=SEED)
    rows = {"train": train, "validation": validation, "test": test}
    return {name: Digits(digits.images[chosen], digits.labels[chosen]) for name, chosen in rows.items()}


@task(cpu=0.5, memory="20MB")
def check_split(parts: dict[str, Digits]) -> dict[str, Digits]:
    """Return the parts unchanged; raise ValueError if they share an image or a digit is rare in one of them."""
    seen: dict[bytes, str] = {}
    for name, part in parts.items():
        for image in part.images:
            if (first := seen.setdefault(image.tobytes(), name)) != name:
                raise ValueError(f"the same image is in {first} and in {name}, so a score would not be fair")
        shares = np.bincount(part.labels, minlength=10) / len(part.labels)
        if shares.min() < 0.08 or shares.max() > 0.12:
            raise ValueError(f"{name}: the digits' shares are {shares.round(3).tolist()}, not about 0.1 each")
    return parts


# --- features --------------------------------------------------------------------------------------------------------


def gradient_histogram(images: Array, *, directions: int = 8, cell: int = 4, stride: int = 2) -> Array:
    """Return where in each image, and in which direction, ink begins: a small cousin of HOG.

    The gradient at each pixel votes, with its length, for the two nearest of `directions`. Votes are gathered in
    overlapping cells of `cell` x `cell` pixels that count their middle more than their rim, and all votes of an image
    are scaled to length 1, so that a light pen and a heavy one look alike.

    Args:
        images: shape (n, height, width), any unit of ink.

    Returns:
        Shape (n, cells * directions), float64, 0 to 1; images of 8 x 8 pixels have 16 cells.

    Source: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
    """
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    down, right = np.gradient(padded, axis=(1, 2))
    length = np.hypot(down, right)
    angle = np.arctan2(down, right) % (2 * np.pi) * directions / (2 * np.pi)
    nearest = np.floor(angle).astype(np.intp)
    votes = np.zeros((*padded.shape, directions))
    n, y, x = np.ix_(*(np.arange(size) for size in padded.shape))
    votes[n, y, x, nearest % directions] += length * (1 - (angle - nearest))
    votes[n, y, x, (nearest + 1) % directions] += length * (angle - nearest)
    slope = np.bartlett(cell + 2)[1:-1]
    weight = np.outer(slope, slope)[:, :, None]
    _, height, width = padded.shape
    cells = [
        np.sum(votes[:, top : top + cell, left : left + cell] * weight, axis=(1, 2))
        for top in range(0, height - cell + 1, stride)
        for left in range(0, width - cell + 1, stride)
    ]
    histogram = np.concatenate(cells, axis=1)
    return np.asarray(histogram / np.linalg.norm(histogram, axis=1, keepdims=True).clip(min=1e-9))


def extract(name: str, fit_on: Array, *images: Array) -> list[Array]:
    """Return the feature set `name` of each of `images`. What has to be learned for it is learned from `fit_on` alone."""
    if name == "gradients":
        return [gradient_histogram(each) for each in images]
    flat = [each.reshape(len(each), -1) / 16 for each in (fit_on, *images)]
    if name == "pixels":
        return flat[1:]
    basis = PCA(n_components=30, random_state=SEED).fit(flat[0])
    return [basis.transform(each) for each in flat[1:]]


@task(memory="50MB", priority=-1)
def features(name: str, train: Digits, validation: Digits) -> dict[str, Array]:
    """Return one row of features an image, shape (n_images, n_features), for both parts."""
    one_core()
    fitting, judging = extract(name, train.images, train.images, validation.images)
    return {"train": fitting, "validation": judging}


# --- models ----------------------------------------------------------------------------------------------------------


def one_core() -> None:
    """Keep BLAS and OpenMP, which would take every core, to one: a task uses what it asked for, or others suffer."""
    threadpool_limits(limits=1)


def fit(family: Family, model: Any, rows: Array, labels: Labels) -> Trained:
    """Fit a copy of `model`, on one core or on its own `n_jobs`."""
    one_core()
    began = time.perf_counter()
    fitted = clone(model).fit(rows, labels)
    return Trained(family, fitted, time.perf_counter() - began)


@task(memory="30MB")
def train(family: Family, rows: Array, digits: Digits) -> Trained:
    return fit(family, family.model, rows, digits.labels)


def train_gaussian(family: Family, rows: Array, digits: Digits) -> Trained:
    """Stand in for the multinomial model, which cannot take negative features."""
    return fit(family, GaussianNB(var_smoothing=1e-3), rows, digits.labels)


FEATURE_SETS = ("pixels", "pca", "gradients")

# `priority`: a smaller number starts earlier. `duration` is a guess in seconds; it orders tasks and stops nothing.
FAMILIES = (
    Family("svm-1", SVC(C=1), {"priority": -2, "duration": 0.1}),
    Family("svm-10", SVC(C=10), {"priority": -2, "duration": 0.1}),
    Family("logistic", LogisticRegression(C=10, max_iter=2000), {"duration": 0.2}),
    Family("neighbours", KNeighborsClassifier(3, weights="distance"), {"cpu": 0.5, "duration": 0.1}),
    Family("lda", LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), {"cpu": 0.5, "duration": 0.1}),
    # PCA makes negative features, and on those multinomial naive Bayes really fails, every time. The fallback is
    # called with the same arguments, and its result stands in.
    Family("bayes", MultinomialNB(), {"cpu": 0.5, "duration": 0.1, "fallback": train_gaussian}),
    # The trees hold the most memory, and where there are cores to spare they are grown on two.
    Family(
        "forest",
        RandomForestClassifier(150, n_jobs=WIDE, random_state=SEED),
        {"cpu": WIDE, "memory": "100MB", "duration": 1, "priority": 1},
    ),
    Family(
        "extra-trees",
        ExtraTreesClassifier(150, n_jobs=WIDE, random_state=SEED),
        {"cpu": WIDE, "memory": "100MB", "duration": 1, "priority": 1},
    ),
    Family(
        "boosting",
        HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=SEED),
        {"memory": "60MB", "duration": 1.5, "priority": 1},
    ),
    # A Python loop over small batches: as a thread it would hold the interpreter's lock and slow all other threads
    # down, so each of these trainings runs in a process of its own.
    Family(
        "network",
        MLPClassifier((256,), learning_rate_init=0.003, max_iter=500, random_state=SEED),
        {"executor": "processes", "memory": "200MB", "duration": 2, "priority": 1, "timeout": "3m"},
    ),
)


# --- judging ---------------------------------------------------------------------------------------------------------


@task(memory="50MB", priority=-1)
def evaluate(features: str, models: list[Trained], rows: Array, digits: Digits) -> list[Score]:
    """Return how well each of the models reads digits that it was not trained on."""
    one_core()
    return [
        Score(each.family, clone(each.model), features, each.model.score(rows, digits.labels), each.fit_s)
        for each in models
    ]


def best_first(scores: list[list[Score]]) -> list[Score]:
    """Return the scores of all feature sets in one list; of equals, the one that was named first comes first."""
    return sorted((score for part in scores for score in part), key=lambda score: -score.accuracy)


@task(cpu=0.25, memory="10MB")
def finalists(scores: list[list[Score]], train: Digits, validation: Digits) -> list[Score]:
    """Cross-validate the best few. Which these are is known only now: a running task may call further tasks.

    What it returns holds calls, and the pipeline goes on when their results have taken their places.
    """
    known = joined(train, validation)
    judged = []
    for score in best_first(scores)[:FINALISTS]:
        options = score.family.options
        as_in_training = {option: options[option] for option in ("cpu", "memory", "executor") if option in options}
        judge = cross_validate.with_options(
            name=f"{score.family.name}/{score.features}/folds", duration=5 * options["duration"], **as_in_training
        )
        judged.append(judge(score, known))
    return judged


def joined(*parts: Digits) -> Digits:
    return Digits(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


@task(memory="50MB")
def cross_validate(score: Score, known: Digits) -> Score:
    """Return the score with the accuracy of five folds; features are made anew in each, so nothing leaks."""
    folds = []
    for fitting, judging in StratifiedKFold(5, shuffle=True, random_state=SEED).split(known.labels, known.labels):
        images, labels = known.images[fitting], known.labels[fitting]
        rows, judged = extract(score.features, images, images, known.images[judging])
        model = fit(score.family, score.model, rows, labels).model
        folds.append(float(model.score(judged, known.labels[judging])))
    return replace(score, folds=tuple(folds))


@task(cpu=0.25, memory="10MB")
def choose(finalists: list[Score]) -> Score:
    """Return the finalist that cross-validation found best. The test images have no say in it."""
    return max(finalists, key=lambda score: score.folds_mean)


@task(memory="100MB")
def refit_and_read(winner: Score, train: Digits, validation: Digits, test: Digits) -> Labels:
    """Fit the winner on everything but the test images; return what it reads on those, shape (n_test,)."""
    known = joined(train, validation)
    rows, judged = extract(winner.features, known.images, known.images, test.images)
    return np.asarray(fit(winner.family, winner.model, rows, known.labels).model.predict(judged))


# --- the report ------------------------------------------------------------------------------------------------------


@task(cpu=0.5, memory="10MB")
def write_report(
    sheet: dict[str, Any], scores: list[list[Score]], finalists: list[Score], winner: Score, test: Digits, read: Labels
) -> Path:
    """Write report.json: what was chosen, how it reads the test images, and all models, best first."""
    precision, recall, _, images = precision_recall_fscore_support(test.labels, read, zero_division=0)
    report = {
        "chosen": described(winner),
        "test": {"images": len(read), "accuracy": round(float(np.mean(read == test.labels)), 4)},
        "digits": [
            {
                "name": name,
                "images": int(images[digit]),
                "precision": round(float(precision[digit]), 4),
                "recall": round(float(recall[digit]), 4),
            }
            for digit, name in enumerate(sheet["names"])
        ],
        "confusion": confusion_matrix(test.labels, read).tolist(),
        "finalists": [described(score) for score in sorted(finalists, key=lambda score: -score.folds_mean)],
        "models": [{"rank": rank, **described(score)} for rank, score in enumerate(best_first(scores), start=1)],
        "training_s": round(sum(score.fit_s for part in scores for score in part), 2),
        "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
    }
    REPORT.mkdir(parents=True, exist_ok=True)
    path = REPORT / "report.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    model, test_accuracy = f"{winner.family.name} on {winner.features}", report["test"]["accuracy"]
    print(f"{model} reads {test_accuracy:.1%} of the test images right; all about it is in {path}")
    return path


def described(score: Score) -> dict[str, Any]:
    """A score as it stands in the report; accuracies are shares of 1, times are seconds."""
    entry = {
        "model": score.family.name,
        "features": score.features,
        "estimator": type(score.model).__name__,
        "validation_accuracy": round(score.accuracy, 4),
        "fit_s": round(score.fit_s, 3),
    }
    if score.folds:
        entry["folds"] = [round(fold, 4) for fold in score.folds]
        entry["folds_mean"] = round(score.folds_mean, 4)
    return entry


@task(cpu=1, memory="60MB")
def draw_confusion(winner: Score, test: Digits, read: Labels) -> Path:
    """Draw confusion.png: how often each digit was read as which, and the images that were misread."""
    matrix, missed = confusion_matrix(test.labels, read), np.flatnonzero(test.labels != read)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    grid = figure.add_gridspec(4, 7)
    table = figure.add_subplot(grid[:, :4])
    table.imshow(np.log1p(matrix), cmap="Blues")
    for true, seen in zip(*np.nonzero(matrix), strict=True):
        count, colour = matrix[true, seen], "white" if true == seen else "firebrick"
        table.text(seen, true, str(count), ha="center", va="center", color=colour)
    table.set(xticks=range(10), yticks=range(10), xlabel="read as", ylabel="is")
    table.set_title(f"{winner.family.name} on {winner.features}: {len(missed)} of {len(read)} test images misread")
    for place, image in enumerate(missed[:12]):
        shown = figure.add_subplot(grid[place // 3, 4 + place % 3])
        shown.imshow(test.images[image], cmap="gray_r", vmin=0, vmax=16)
        shown.set_title(f"is {test.labels[image]}, read as {read[image]}", fontsize=9)
        shown.axis("off")
    REPORT.mkdir(parents=True, exist_ok=True)
    path = REPORT / "confusion.png"
    figure.savefig(path, dpi=120)
    print(f"what was read as what is drawn in {path}")
    return path


# --- the pipeline ----------------------------------------------------------------------------------------------------

with Pipeline("digits") as pipeline:
    sheet = label_sheet(label_service())
    parts = check_split(split(validate(load(), sheet)))
    scores = []
    for name in FEATURE_SETS:
        made = features.with_options(name=f"features/{name}")(name, parts["train"], parts["validation"])
        models = [
            train.with_options(name=f"{family.name}/{name}", **family.options)(family, made["train"], parts["train"])
            for family in FAMILIES
        ]
        judge = evaluate.with_options(name=f"evaluate/{name}")
        scores.append(judge(name, models, made["validation"], parts["validation"]))
    judged = finalists(scores, parts["train"], parts["validation"])
    winner = choose(judged)
    read = refit_and_read(winner, parts["train"], parts["validation"], parts["test"])
    report = write_report(sheet, scores, judged, winner, parts["test"], read)
    picture = draw_confusion(winner, parts["test"], read)

if __name__ == "__main__":
    result = pipeline.run()
    print(result.table())

import json
import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from penstock import Pipeline
from penstock.cli.main import cli
from penstock.errors import PenstockError

pytestmark = pytest.mark.timeout(120)

SECRET = "hush-hush-4711"

FILE = """
import os
import pathlib
from penstock import Pipeline, task

RATE = 2

def note(name):
    with open("ran", "a") as file:
        file.write(name + "\\n")

@task
def load(n):
    note("load")
    return n

@task
def double(x):
    note("double")
    return RATE * x

@task
def check(x):
    note("check")
    if not pathlib.Path("mended").exists():
        raise ValueError("not mended yet: " + os.environ.get("API_KEY", "no key"))
    return x

with Pipeline("sums") as p:
    check(double(load(3)))
"""


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A folder with the pipeline and one failed run of it, in which all three functions ran."""
    folder = tmp_path_factory.mktemp("failed")
    (folder / "sums.py").write_text(FILE)
    options = ["--limits", "cpu=0.5,memory=1GiB", "--workers", "1", "--policy", "fifo", "--durability", "each"]
    command = [sys.executable, "-m", "penstock", "run", "sums.py", "--no-progress", *options, "--secret", "API_KEY"]
    env = {**os.environ, "API_KEY": SECRET}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 1
    assert done.stderr.endswith("penstock: `penstock resume 1` goes on from here.\n")
    assert (folder / "ran").read_text() == "load\ndouble\ncheck\n"
    (folder / "ran").unlink()
    return folder


@pytest.fixture(autouse=True)
def folder(failed, tmp_path, monkeypatch):
    """That folder, as it was then: a run knows the place of its file."""
    before = tmp_path / "before"
    shutil.copytree(failed, before)
    monkeypatch.setenv("API_KEY", SECRET)
    yield failed
    shutil.rmtree(failed)
    shutil.copytree(before, failed)


@pytest.fixture
def ran(folder):
    """Returns the names of the functions that were entered since it was last asked."""

    def names():
        path = folder / "ran"
        found = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    return names


def mended(folder):
    (folder / "mended").touch()


def resumed(penstock, *options):
    done = penstock("resume", "--no-progress", "--json", *options)
    return done, json.loads(done.stdout) if done.stdout else None


def test_what_had_finished_does_not_run_again(penstock, folder, ran):
    mended(folder)
    done, result = resumed(penstock)
    assert done.stderr == "penstock: run 1 goes on; 2 of 3 tasks had finished and do not run again.\n"
    assert (done.returncode, ran()) == (0, ["check"])
    assert (result["ok"], result["run"], result["taken_over"], result["again"]) == (True, 1, ["load", "double"], {})


def test_the_newest_run_that_has_not_succeeded_is_taken_when_none_is_named(penstock, folder, ran):
    for number in (2, 3):
        shutil.copytree(folder / ".penstock" / "runs" / "1", folder / ".penstock" / "runs" / str(number))
    mended(folder)
    assert resumed(penstock, "3")[1]["run"] == 3
    assert resumed(penstock)[1]["run"] == 2
    assert ran() == ["check", "check"]


@pytest.mark.parametrize(
    ("old", "new", "runs", "said"),
    [
        ("RATE = 2", "RATE = 5", ["double", "check"], ["'double' runs again: its code has changed."]),
        (
            "load(3)",
            "load(4)",
            ["load", "double", "check"],
            [
                "'load' runs again: its arguments have changed.",
                "'double' runs again: 'load', which it depends on, runs again.",
            ],
        ),
    ],
)
def test_what_has_changed_in_the_file_runs_again_and_is_said(penstock, folder, ran, old, new, runs, said):
    mended(folder)
    (folder / "sums.py").write_text(FILE.replace(old, new))
    done, result = resumed(penstock)
    assert (done.returncode, ran()) == (0, runs)
    assert done.stderr.splitlines()[1:] == [f"penstock: {line}" for line in said]
    assert result["ok"]


def test_force_and_from_run_what_they_name(penstock, folder, ran):
    mended(folder)
    assert penstock("resume", "--no-progress").returncode == 0
    ran()
    done, _ = resumed(penstock, "1", "--force", "load")  # its result is the same, so what depends on it stays
    assert (done.returncode, ran()) == (0, ["load"])
    done, _ = resumed(penstock, "1", "--from", "double")
    assert (done.returncode, ran()) == (0, ["double", "check"])
    done, _ = resumed(penstock, "1", "--from", "duble")
    assert (done.returncode, ran()) == (2, [])
    assert "the pipeline has no task 'duble'. Did you mean 'double'?" in done.stderr


def test_the_options_of_the_run_hold_for_the_rest_of_it_unless_given_again(folder, monkeypatch):
    given = []

    def run(self, **options):
        given.append(options)
        raise PenstockError("seen")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(Pipeline, "run", run)
    for more in ([], ["--durability", "group", "--workers", "3", "--secret", "OTHER"]):
        assert CliRunner().invoke(cli, ["resume", *more]).exit_code == 2
    first, second = given
    assert (first["workers"], first["durability"], first["on_store_error"]) == (1, "each", "warn")
    assert (first["limits"], list(first["secret"])) == ({"cpu": "0.5", "memory": "1GiB"}, ["API_KEY"])
    assert (second["workers"], second["durability"], list(second["secret"])) == (3, "group", ["API_KEY", "OTHER"])


def test_what_a_run_masks_stays_masked_when_it_is_resumed(penstock, folder, ran):
    done, _ = resumed(penstock)  # it fails once more, and with the same words
    assert (done.returncode, ran()) == (1, ["check"])
    assert "not mended yet: ***" in done.stdout
    for path in (folder / ".penstock").rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_another_working_folder_than_the_runs_own_is_said(penstock, folder, ran):
    mended(folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "resume", "--store", "../.penstock", "--no-progress"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"penstock: run 1 was started in {os.path.realpath(folder)}, and this is" in done.stderr
    assert not (elsewhere / ".penstock").exists()


def test_a_project_that_was_moved_goes_on_where_it_is_now(penstock, folder, ran, tmp_path_factory):
    mended(folder)
    moved = tmp_path_factory.mktemp("elsewhere") / "project"
    shutil.copytree(folder, moved)
    for path in [folder / "sums.py", folder / ".penstock"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    command = [sys.executable, "-m", "penstock", "resume", "--no-progress"]
    done = subprocess.run(command, cwd=moved, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = f"penstock: {os.path.realpath(folder)}/sums.py is not there any more; going on with {moved}/sums.py."
    assert said in done.stderr.splitlines()
    assert (moved / "ran").read_text() == "check\n"
    assert not (folder / ".penstock").exists()


def test_a_pipeline_file_that_is_gone_is_said_by_name(penstock, folder, ran):
    (folder / "sums.py").unlink()
    done, _ = resumed(penstock)
    assert done.returncode == 2
    assert "sums.py" in done.stderr
    assert "there is no such file" in done.stderr

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli

pytestmark = pytest.mark.timeout(120)

FILE = """
import pathlib
from penstock import Pipeline, Retry, task

@task
def load():
    return 2

@task(retry=Retry(attempts=2, first_wait_s=0.01, jitter_s=0))
def double(x):
    if not pathlib.Path("mended").exists():
        raise ValueError("not mended yet")
    return 2 * x

@task
def report(x):
    return x

with Pipeline("sums") as p:
    report(double(load()))
"""


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A folder with a pipeline and one failed run of it."""
    folder = tmp_path_factory.mktemp("failed")
    (folder / "sums.py").write_text(FILE)
    command = [sys.executable, "-m", "penstock", "run", "sums.py", "--no-progress"]
    assert subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False).returncode == 1
    return folder


@pytest.fixture
def folder(failed, tmp_path, monkeypatch):
    """A copy of it, in which the test works."""
    folder = shutil.copytree(failed, tmp_path / "work")
    monkeypatch.chdir(folder)
    return folder


def again(folder, number):
    """Make a copy of the first run another one."""
    shutil.copytree(folder / ".penstock" / "runs" / "1", folder / ".penstock" / "runs" / str(number))


def penstock(*arguments):
    return CliRunner().invoke(cli, arguments)


def test_without_a_store_there_are_no_runs_and_none_is_made(folder):
    shutil.rmtree(folder / ".penstock")
    done = penstock("runs")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "there are no runs in .penstock.\n", "")
    assert json.loads(penstock("runs", "--json").stdout) == []
    assert not (folder / ".penstock").exists()


def test_the_store_is_where_the_environment_or_the_option_says(folder, monkeypatch):
    (folder / ".penstock").rename(folder / "kept")
    assert json.loads(penstock("runs", "--json").stdout) == []
    assert len(json.loads(penstock("runs", "--store", "kept", "--json").stdout)) == 1
    monkeypatch.setenv("PENSTOCK_STORE", str(folder / "kept"))
    assert len(json.loads(penstock("runs", "--json").stdout)) == 1
    assert penstock("runs", "show", "1").stdout.startswith("run 1, sums: failed")
    monkeypatch.setenv("PENSTOCK_STORE", "off")  # for runs to come; where to look is the usual place then
    assert penstock("runs").stdout == "there are no runs in .penstock.\n"


def test_a_run_is_shown_task_by_task_with_the_users_error(folder):
    text = penstock("runs", "show", "1").stdout
    assert text.startswith("run 1, sums: failed; started ")
    rows = [line.split() for line in text.splitlines() if line.startswith(("load", "double", "report"))]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows] == [
        ("load", "succeeded", "1", "sums.load"),
        ("double", "failed", "2", "sums.double"),
        ("report", "upstream_failed", "0", "sums.report"),
    ]
    frames = text.partition("Traceback")[2]
    assert "ValueError: not mended yet" in frames
    assert "penstock/" not in frames  # the user's frames only
    shown = json.loads(penstock("runs", "show", "1", "--json").stdout)
    load, double, report = shown["tasks"]
    assert (load["run_s"] >= 0, load["error"], load["after"]) == (True, None, [])
    assert (double["cause"], double["error"]["type"], double["after"]) == ("EXCEPTION", "ValueError", ["load"])
    assert (report["cause"], report["start_s"], report["run_s"]) == ("UPSTREAM", None, None)
    assert shown["counts"]["all"] == 3


def test_removed_runs_are_gone_with_their_files_and_the_others_stay(folder):
    again(folder, 2)
    again(folder, 3)
    done = penstock("runs", "rm", "1", "3")
    assert (done.exit_code, done.stdout) == (0, "removed run 1.\nremoved run 3.\n")
    assert [path.name for path in (folder / ".penstock" / "runs").iterdir()] == ["2"]
    assert json.loads(penstock("runs", "rm", "2", "--json").stdout) == {"removed": [2]}
    assert json.loads(penstock("runs", "--json").stdout) == []


@pytest.mark.parametrize("verb", [["runs", "show", "9"], ["runs", "rm", "9"], ["resume", "9"]])
def test_a_run_that_is_not_there_is_one_line_that_says_which_are(folder, verb):
    again(folder, 2)
    done = penstock(*verb)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "penstock: store .penstock has no run 9; it has runs 1, 2.\n"


def test_a_damaged_run_is_listed_as_such_and_the_others_as_they_are(folder):
    again(folder, 2)
    (folder / ".penstock" / "runs" / "1" / "journal.sqlite").write_bytes(b"no journal at all" * 500)
    done = penstock("runs")
    assert done.exit_code == 0
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [
        ["1", "-", "unreadable"],
        ["2", "sums", "failed"],
    ]
    assert done.stderr.startswith("run 1: ")
    assert "journal.sqlite" in done.stderr
    assert penstock("runs", "show", "1").exit_code == 2
    assert penstock("runs", "rm", "1").exit_code == 0
    assert len(json.loads(penstock("runs", "--json").stdout)) == 1

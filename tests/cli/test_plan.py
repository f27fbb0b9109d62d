import json
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.timeout(120)

FILE = """
from penstock import Pipeline, task

@task(duration=10, memory="64MiB")
def load():
    raise SystemExit("a plan runs nothing")

@task(duration=60)
def train(x):
    return x

@task
def score(*models):
    return 0

with Pipeline("search") as p:
    data = load()
    score(train(data), train.with_options(name='a "b" <c>', duration=5)(data))
"""


@pytest.fixture(autouse=True)
def file(folder):
    (folder / "search.py").write_text(FILE)


def test_text_has_levels_path_and_demand(penstock):
    done = penstock("plan", "search.py")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "search: 4 tasks on 3 levels, 4 dependencies"
    assert lines[3].split() == ["1", "1", "load"]
    assert '2  train, a "b" <c>' in lines[4]
    assert "critical path: 95.0s (by duration=, 1 task without duration= taken as average)" in lines
    assert "  load -> train -> score" in lines
    assert any(line.split()[:3] == ["cpu", "4", "2"] for line in lines)


def test_json_has_everything_by_name(penstock):
    plan = json.loads(penstock("plan", "search.py", "--json").stdout)
    assert plan["levels"] == [["load"], ["train", 'a "b" <c>'], ["score"]]
    assert plan["critical_path"] == ["load", "train", "score"]
    assert plan["tasks"][3]["needs"] == ["train", 'a "b" <c>']
    assert plan["never_start"] == []


def test_dot_marks_the_critical_path_and_escapes_names(penstock):
    text = penstock("plan", "search.py", "--dot").stdout
    assert 't2 [label="a \\"b\\" <c>"];' in text
    assert "t0 -> t1 [penwidth=2.5];" in text
    assert "t0 -> t2;" in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_dot(penstock):
    text = penstock("plan", "search.py", "--dot").stdout
    drawn = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, timeout=60, check=True)
    assert drawn.stdout.count('class="node"') == 4


def test_mermaid_marks_the_critical_path_and_escapes_names(penstock):
    lines = penstock("plan", "search.py", "--mermaid").stdout.splitlines()
    assert lines[0] == "flowchart LR"
    assert '  t2["a #34;b#34; #60;c#62;"]' in lines
    assert "  t0 ==> t1" in lines
    assert "  t0 --> t2" in lines


def test_what_can_never_start_is_told_with_the_reason_and_exits_with_2(penstock, folder):
    (folder / "big.py").write_text(FILE.replace("64MiB", "900TiB"))
    done = penstock("plan", "big.py", "--limits", "cpu=1")
    assert done.returncode == 2
    assert "1 task can never start on this machine:" in done.stdout
    assert "  task 'load' asks for memory=900TiB, but this machine has " in done.stdout
    assert "never stroke" in penstock("plan", "big.py", "--mermaid").stdout


def test_without_durations_the_path_is_by_number_of_tasks(penstock, folder):
    (folder / "bare.py").write_text(FILE.replace("duration=", "priority="))
    assert "critical path: 3 tasks (no task has a duration=, so by their number)" in penstock("plan", "bare.py").stdout


def test_a_missing_file_is_one_line(penstock):
    done = penstock("plan", "nowhere.py")
    assert done.returncode == 2
    assert done.stderr.startswith("penstock: nowhere.py: there is no such file")


def test_safe_reads_yaml_and_executes_no_python_file(penstock, folder):
    (folder / "touches.py").write_text("open('touched', 'w').close()\n" + FILE)
    done = penstock("plan", "--safe", "touches.py")
    assert done.returncode == 2
    assert done.stderr.startswith("penstock: touches.py: --safe executes nothing, and a file in Python")
    (folder / "nasty.yaml").write_text("tasks: {a: {command: !!python/object/apply:os.mkdir [touched]}}\n")
    penstock("plan", "--safe", "nasty.yaml")
    (folder / "fine.yaml").write_text("tasks: {a: {shell: 'touch touched'}}\n")
    assert penstock("plan", "--safe", "fine.yaml").returncode == 0
    assert not (folder / "touched").exists()

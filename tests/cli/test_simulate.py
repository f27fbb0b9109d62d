import json

import pytest

pytestmark = pytest.mark.timeout(120)

FILE = """
from penstock import Pipeline, task

@task(duration=10)
def load():
    raise SystemExit("a simulation runs nothing")

@task(duration=60)
def train(x): ...

with Pipeline("search") as p:
    data = load()
    for _ in range(3):
        train(data)
"""


@pytest.fixture(autouse=True)
def file(folder):
    (folder / "search.py").write_text(FILE)
    (folder / "again.py").write_text(FILE)


def test_json_is_one_line_for_each_file_and_policy_in_the_order_given(penstock):
    done = penstock("simulate", "search.py", "again.py", "--policy", "fifo,hybrid", "--capacity", "cpu=2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["file"], row["policy"]) for row in rows] == [
        ("search.py", "fifo"), ("search.py", "hybrid"), ("again.py", "fifo"), ("again.py", "hybrid"),
    ]  # fmt: skip
    assert list(rows[0]) == ["file", "policy", "tasks", "makespan", "critical_path", "lower_bound", "seconds"]
    assert (rows[0]["tasks"], rows[0]["makespan"], rows[0]["critical_path"], rows[0]["lower_bound"]) == (4, 130, 70, 95)


def test_a_run_of_a_store_is_played(penstock):
    penstock("run", "search.py", "--plan-budget", "0", "--store", "kept", "--no-progress")  # its first task fails
    done = penstock("simulate", "kept#1", "--policy", "fifo", "--plan-budget", "0", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads(done.stdout)
    assert (row["file"], row["policy"], row["tasks"]) == ("kept#1", "fifo", 4)


def test_a_union_is_one_pool(penstock):
    done = penstock("simulate", "search.py", "again.py", "--union", "--capacity", "cpu=8", "--json")
    (line,) = done.stdout.splitlines()
    row = json.loads(line)
    assert (row["file"], row["tasks"], row["makespan"]) == ("union", 8, 70)


def test_text_table_trace_and_picture(penstock, folder):
    done = penstock("simulate", "search.py", "--capacity", "cpu=2", "--trace", "out.json", "--plot", "out.png")
    assert (done.returncode, done.stderr) == (0, "")
    head, row = done.stdout.splitlines()
    assert head.split() == ["file", "policy", "tasks", "makespan", "lower", "bound", "above", "CPU", "used"]
    assert row.split()[:3] == ["search.py", "hybrid", "4"]
    assert len(json.loads((folder / "out.json").read_text())) > 8
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    table = penstock("simulate", "search.py", "--capacity", "cpu=2", "--table").stdout
    assert [line.split()[0] for line in table.splitlines() if line.startswith("train")] == [
        "train",
        "train-2",
        "train-3",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.sm"], "penstock: none.sm: there is no such file."),
        (["search.py", "--policy", "fifo,fast"], "policy='fast'"),
        (["search.py", "--capacity", "cpu=0.5"], "absolute amounts"),
        (["search.py", "again.py", "--trace", "out.json"], "--trace writes one simulation"),
        (["search.py", "--plot", "out.xyz"], "the picture 'out.xyz' cannot be written"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_are_one_line_and_exit_status_2(penstock, arguments, said):
    done = penstock("simulate", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

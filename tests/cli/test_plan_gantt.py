import json

import pytest

pytestmark = pytest.mark.timeout(120)

FILE = """
from penstock import Pipeline, task

@task(duration=2, cpu=1)
def read(k):
    raise SystemExit("a plan runs nothing")

@task(duration=6, cpu=2)
def train(x):
    return x

@task
def score(*models):
    return 0

with Pipeline("search", limits={"cpu": 2}) as p:
    score(train(read(1)), read(2))
"""


@pytest.fixture(autouse=True)
def file(folder):
    (folder / "search.py").write_text(FILE)


def test_the_static_plan_is_a_picture_and_a_table(penstock):
    done = penstock("plan", "search.py", "--policy", "static")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "search: 4 tasks planned to end after 11.3s; no order is shorter; 1 duration guessed"
    bars = {line.split("|")[0].strip(): line.split("|")[1] for line in lines[2:6]}
    assert set(bars) == {"read", "read-2", "train", "score"}
    assert len({len(bar) for bar in bars.values()}) == 1
    assert bars["read"].startswith("###")
    assert bars["train"].startswith("   ")
    assert bars["score"].endswith("#")
    assert lines[7].split() == ["start", "end", "task"]
    assert ["2.000s", "8.000s", "train"] in [line.split() for line in lines[8:]]
    assert len(lines) == 12


def test_the_static_plan_as_json_has_starts_in_order(penstock):
    plan = json.loads(penstock("plan", "search.py", "--policy", "static", "--json").stdout)
    assert plan["makespan_s"] == pytest.approx(8 + 10 / 3)
    assert plan["optimal"] is True
    assert plan["guessed_durations"] == 1
    starts = [one["start_s"] for one in plan["tasks"]]
    assert starts == sorted(starts)
    assert {one["name"] for one in plan["tasks"]} == {"read", "read-2", "train", "score"}


def test_the_static_plan_is_drawn(penstock, folder):
    pytest.importorskip("matplotlib")
    done = penstock("plan", "search.py", "--policy", "static", "--gantt", "out.png")
    assert done.returncode == 0, done.stderr
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    wrong = penstock("plan", "search.py", "--policy", "static", "--gantt", "out.nothing")
    assert wrong.returncode == 2
    assert "--gantt out.nothing" in wrong.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gantt", "out.png"), "--gantt draws the plan of --policy static; give both"),
        (("--policy", "static", "--dot"), "--policy static has no form --dot"),
        (("--policy", "fifo"), "'fifo'"),
        (("--policy", "static", "--plan-budget", "1e-9"), "no schedule of 4 tasks came about in 1e-09 s"),
    ],
)
def test_options_that_do_not_go_together_are_refused(penstock, options, words):
    done = penstock("plan", "search.py", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr

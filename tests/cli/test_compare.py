import json

import pytest

pytestmark = pytest.mark.timeout(120)

FILE = """
from penstock import Pipeline, task

@task(duration=10)
def load(): ...

@task(duration=60)
def train(x): ...

with Pipeline("search") as p:
    data = load()
    for _ in range(5):
        train(data)
"""


@pytest.fixture(autouse=True)
def file(folder):
    (folder / "search.py").write_text(FILE)


def test_text_says_what_pays_and_draws_it(penstock, folder):
    done = penstock("compare", "search.py", "--capacity", "cpu=2", "--plot", "out.png", "--seeds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "search: 6 tasks, no schedule is shorter than 155 s"
    assert ["spread", "static", "hybrid", "bottom_level", "fifo"] in [line.split() for line in lines]
    assert lines[-1].startswith("Dynamic scheduling pays")
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_one_object(penstock):
    done = penstock("compare", "search.py", "--capacity", "cpu=2", "--policy", "fifo,hybrid", "--json")
    told = json.loads(done.stdout)
    assert told["lower_bound_s"] == 155.0
    assert {row["policy"] for row in told["rows"]} == {"fifo", "hybrid"}


def test_a_wrong_policy_is_one_line_and_exit_status_2(penstock):
    done = penstock("compare", "search.py", "--policy", "quick")
    assert done.returncode == 2
    assert "policy='quick'" in done.stderr
    assert "Traceback" not in done.stderr

import csv

import pytest
from tests.workloads.examples import shared

from penstock.errors import PipelineFileError
from penstock.resources import Demand
from penstock.workloads import read

PROJECT = """\
jobs (incl. supersource/sink ):  4
RESOURCES
  - renewable                 :  2   R
  - nonrenewable              :  0   N
PRECEDENCE RELATIONS:
jobnr.    #modes  #successors   successors
   1        1          2           2   3
   2        1          1           4
   3        1          1           4
   4        1          0
************************************************************************
REQUESTS/DURATIONS:
jobnr. mode duration  R 1  R 2
------------------------------------------------------------------------
  1      1     0       0    0
  2      1     8       4    0
  3      1     4      10    3
  4      1     0       0    0
************************************************************************
RESOURCEAVAILABILITIES:
  R 1  R 2
   12   13
"""


def written(tmp_path, text):
    path = tmp_path / "small.sm"
    path.write_text(text)
    return path


def test_jobs_precedence_requests_and_availabilities_are_read(tmp_path):
    project = read(written(tmp_path, PROJECT))
    assert (project.name, list(project.names)) == ("small", ["1", "2", "3", "4"])
    assert [project.predecessors(job) for job in range(4)] == [[], [0], [0], [1, 2]]
    assert project.duration_ns.tolist() == [0, 8_000_000_000, 4_000_000_000, 0]
    assert project.demands[project.demand_of[2]] == Demand(custom=(("R1", 10_000), ("R2", 3000)))
    assert project.capacity == {"R1": 12_000, "R2": 13_000}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "  3      1     4      10    3",
            "  3      1     4      10",
            r"small.sm:17: expected job 3: .* 2 requests, found '3 ",
        ),
        (
            "   3        1          1           4",
            "   3        2          1           4",
            "small.sm:9: expected one mode for job 3, found '2 modes'",
        ),
        (
            "   2        1          1           4",
            "   2        1          1           9",
            "small.sm:8: expected successors from 1 to 4",
        ),
        ("jobs (incl.", "tasks (incl.", "it ends here; expected a line that begins with 'jobs'"),
        ("   12   13", "   12", "small.sm:22: expected 2 availabilities"),
        (
            "  2      1     8       4",
            "  2      1     " + "8" * 25 + "  4",
            "small.sm:16: expected numbers up to 1000000000",
        ),
        ("):  4", "):  " + "9" * 15, "small.sm:1: expected 'jobs', a colon and a number"),
        ("):  4", "):  999999999", "small.sm:1: expected at most 22 jobs in a file of as many lines"),
        ("  2      1     8       4    0", "  2      1     x       4    0", "small.sm:16: expected job 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, old, new, said):
    assert old in PROJECT
    with pytest.raises(PipelineFileError, match=said):
        read(written(tmp_path, PROJECT.replace(old, new)))


def test_the_shared_projects_are_read():
    folder = shared("psplib/j30")
    files = sorted(folder.glob("*.sm"))
    with (folder / "best_known.csv").open() as file:
        assert len(files) == sum(1 for row in csv.reader(file) if any(cell.isdigit() for cell in row)) == 480
    assert {len(read(file)) for file in files[:40]} == {32}

"""The measuring of schedules of workflows: every method gives a schedule, and no schedule beats the better bound."""

from importlib.util import find_spec

import numpy as np
import pytest
from benchmarks.quality import days
from benchmarks.quality.workflows import better_bound_s, main, rows

from penstock.resources import Demand
from penstock.workloads import Workload

MACHINE = {"cpu": 3, "memory": "1GiB"}


def flow(seed):
    draw = np.random.default_rng(seed)
    before = [sorted({int(draw.integers(0, k)) for _ in range(2)}) if k > 8 else [] for k in range(40)]
    return Workload(
        name="drawn",
        names=[f"t{k}" for k in range(40)],
        indptr=np.cumsum([0, *map(len, before)]).astype(np.int64),
        indices=np.array([task for row in before for task in row], np.int64),
        duration_ns=draw.integers(10**9, 10**10, 40),
        demands=(Demand(cpu=1000, memory=2**28), Demand(cpu=9000)),
        demand_of=(draw.random(40) < 0.1).astype(np.int32),
        capped=True,
    )


def test_every_method_makes_schedules_and_none_beats_the_better_bound():
    load = flow(3)
    least = better_bound_s(load, MACHINE)
    assert least >= load.critical_path_ns() / 1e9
    for name, row in rows(2, 0.0).items():
        if name == "dask's order" and find_spec("dask") is None:  # it is in the extra bench
            continue
        spans = list(row(load, MACHINE))
        assert len(spans) == (10 if "random" in name else 2 if "noise" in name or "corrected" in name else 1), name
        assert all(span >= least - 1e-9 for span in spans), name


def test_the_better_bound_knows_that_tasks_share_cores():
    four = Workload(
        name="four",
        names=list("abcd"),
        indptr=np.zeros(5, np.int64),
        indices=np.zeros(0, np.int64),
        duration_ns=np.full(4, 10**9),
        demands=(Demand(cpu=1000),),
        demand_of=np.zeros(4, np.int32),
    )
    assert better_bound_s(four, MACHINE) == pytest.approx(2.0)  # two of four on one of three cores


def test_without_the_instances_it_says_what_to_give(tmp_path, capsys):
    assert main(["--data", str(tmp_path)]) == 2
    assert "give --data or set PENSTOCK_DATA" in capsys.readouterr().err


def test_days_are_told_as_a_table_of_means(tmp_path, capsys):
    (tmp_path / "two.py").write_text(
        "from penstock import Pipeline, task\n\n@task(duration=2)\ndef step(): ...\n\n"
        "with Pipeline('two') as p:\n    step()\n    step()\n"
    )
    assert days.main(["--files", str(tmp_path / "two.py"), "--capacity", "cpu=2", "--seeds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| | static | hybrid | bottom_level | fifo |"
    assert lines[2] == "| noise 0 | 0.0 | 0.0 | 0.0 | 0.0 |"
    assert lines[-1].startswith("| urgent tasks are done in | 3 s |")  # a second of waiting
    assert len(lines) == 2 + 13 + 1


def test_days_without_the_data_say_what_to_give(tmp_path, capsys):
    assert days.main(["--data", str(tmp_path)]) == 2
    assert "give --data or set PENSTOCK_DATA" in capsys.readouterr().err

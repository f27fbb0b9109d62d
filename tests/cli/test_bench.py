import json

import pytest

from penstock.bench import Case, Comparison
from penstock.cli.bench import table

pytestmark = pytest.mark.timeout(120)


def test_the_table_has_a_row_for_each_other_side_and_the_ratio():
    case = Case("heap", "push and pop", 1000, "tasks", {})
    found = Comparison(case, {"native": (1e-4, 3e-4, 2e-4), "baseline": (1e-3, 2e-3, 9.0), "heapq": (0.1, 0.1, 0.1)})
    rows = [line.split() for line in table([found]).splitlines()]
    assert rows[1] == ["heap", "1,000", "tasks", "baseline", "200", "ns", "2000", "ns", "10.0x"]
    assert rows[2] == ["heap", "1,000", "tasks", "heapq", "200", "ns", "100.0", "µs", "500.0x"]


def test_every_case_is_measured_and_reported(penstock):
    done = penstock("bench", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"independent", "dag", "readiness"} <= {case["case"] for case in report["cases"]}
    for case in report["cases"]:
        assert all(ratio > 0 for ratio in case["ratio"].values())
        assert len(case["seconds"]["native"]) == report["rounds"]

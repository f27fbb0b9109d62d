import gzip
import json

import pytest
from tests.workloads.examples import shared

from penstock.errors import CycleError, PipelineFileError
from penstock.resources import Demand
from penstock.workloads import read
from penstock.workloads.wfformat import MEMORY_STEP


def document(**changes):
    tasks = [
        {"name": "split_ID01", "id": "split_ID01", "parents": [], "children": ["work_ID02"], "inputFiles": ["a", "b"]},
        {"name": "work_ID02", "id": "work_ID02", "parents": ["split_ID01"], "children": [], "inputBytes": 7},
        {"name": "work_ID03", "id": "work_ID03", "parents": ["split_ID01"], "children": []},
    ]
    runs = [
        {"id": "split_ID01", "runtimeInSeconds": 1.5, "coreCount": 2, "memoryInBytes": 3 * MEMORY_STEP + 1},
        {"id": "work_ID02", "runtimeInSeconds": 2, "avgCPU": 225.0},
        {"id": "work_ID03", "runtimeInSeconds": 0, "avgCPU": 226.0},
    ]
    made = {
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": tasks, "files": [{"id": "a", "sizeInBytes": 10}, {"id": "b", "sizeInBytes": 5}]},
            "execution": {"tasks": runs},
        },
    }
    return {**made, **changes}


def written(tmp_path, made, name="flow.json"):
    path = tmp_path / name
    text = made if isinstance(made, str) else json.dumps(made)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["flow.json", "flow.json.gz"])
def test_tasks_run_times_edges_and_demands_are_read(tmp_path, name):
    flow = read(written(tmp_path, document(), name))
    assert (flow.name, list(flow.names)) == ("flow", ["split_ID01", "work_ID02", "work_ID03"])
    assert [flow.predecessors(task) for task in range(3)] == [[], [0], [0]]
    assert flow.duration_ns.tolist() == [1_500_000_000, 2_000_000_000, 0]
    # max(coreCount, ceil(avgCPU / 100 - 0.25), 1), and memory to the next MiB
    assert [flow.demands[kind] for kind in flow.demand_of] == [
        Demand(cpu=2000, memory=4 * MEMORY_STEP),
        Demand(cpu=2000),
        Demand(cpu=3000),
    ]
    assert flow.capped
    assert flow.groups.tolist() == [0, 1, 1]
    assert flow.sizes[:, 0].tolist() == [15, 7, 0]


def test_names_that_tell_every_task_apart_are_grouped_without_their_digits(tmp_path):
    made = document()
    for k, task in enumerate(made["workflow"]["specification"]["tasks"]):
        task["name"] = f"map_s{k}_part_{k}_x"
    assert read(written(tmp_path, made)).groups.tolist() == [0, 0, 0]


def broken(change):
    made = document()
    change(made["workflow"])
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ('{"a": 1,\n  nonsense}', r":2:3: it is no JSON"),
        ("[]", "it holds an array; expected an object"),
        (document(schemaVersion="1.3"), "it is WfFormat 1.3; 1.5 can be read"),
        (document(workflow=None), "the file has no 'workflow'; expected an object"),
        (broken(lambda w: w["execution"]["tasks"].pop()), "'work_ID03' has no entry under execution"),
        (
            broken(lambda w: w["execution"]["tasks"][0].update(runtimeInSeconds=-1)),
            r"'runtimeInSeconds' = -1; expected a number from 0 to 9e\+09",
        ),
        (
            broken(lambda w: w["execution"]["tasks"][0].update(runtimeInSeconds=1e300)),
            r"'runtimeInSeconds' = 1e\+300; expected a number from 0 to 9e\+09",
        ),
        (
            broken(lambda w: w["execution"]["tasks"][0].update(memoryInBytes=10**400)),
            r"'memoryInBytes' = 10+; expected a number from 0 to 1e\+18",
        ),
        ('{"a": ' + "9" * 5000 + "}", "it is no JSON that can be read: .* digits"),
        ("[" * 100_000, "it is no JSON that can be read: maximum recursion depth"),
        (
            broken(lambda w: w["specification"]["tasks"][1].update(parents=[["split_ID01"]])),
            r"has the parent \['split_ID01'\], which is no task",
        ),
        (broken(lambda w: w["execution"]["tasks"][0].update(avgCPU="x")), "'avgCPU' = 'x'; expected a number"),
        (
            broken(lambda w: w["specification"]["tasks"][1].update(parents=["none"])),
            "has the parent 'none', which is no task",
        ),
        (broken(lambda w: w["specification"]["tasks"][1].update(id="split_ID01")), "'split_ID01' is there twice"),
        (
            broken(lambda w: w["specification"]["tasks"][1].pop("parents")),
            "task 'work_ID02' has no 'parents'; expected an array",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, made, said):
    with pytest.raises(PipelineFileError, match=said) as caught:
        read(written(tmp_path, made))
    assert "flow.json" in str(caught.value)


def test_a_ring_of_parents_is_named(tmp_path):
    made = document()
    made["workflow"]["specification"]["tasks"][0]["parents"] = ["work_ID02"]
    with pytest.raises(CycleError, match="is a cycle"):
        read(written(tmp_path, made))


def test_half_a_gzip_file_is_refused(tmp_path):
    path = written(tmp_path, document(), "flow.json.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PipelineFileError, match="no whole gzip file"):
        read(path)


def test_the_shared_traces_are_read():
    files = sorted(shared("wfinstances").glob("*.json.gz"))
    assert sum(len(read(file)) for file in files) == 7539

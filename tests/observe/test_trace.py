import io
import json

import pytest

from penstock import Pipeline, task
from penstock.errors import OptionError
from penstock.observe.events import EventKind
from penstock.observe.trace import TraceWriter, watch_trace, write_trace
from penstock.states import Cause

pytestmark = pytest.mark.timeout(60)


def checked(records):
    """Check the structure of a trace and return its slices by name, in order.

    Slices of a lane follow each other without overlap; both ends of each arrow lie in a slice, the start's before the
    end's; every lane has a name.
    """
    lanes = {r["tid"]: r["args"]["name"] for r in records if r["name"] == "thread_name"}
    slices = [r for r in records if r["ph"] == "X"]
    ends = {}
    for record in slices:
        assert record["tid"] in lanes
        assert record["dur"] > 0
        assert record["ts"] >= ends.get(record["tid"], 0) - 1e-6, f"{record['name']} overlaps in {lanes[record['tid']]}"
        ends[record["tid"]] = record["ts"] + record["dur"]
    arrows = {}
    for record in records:
        if record["ph"] in "sf":
            arrows.setdefault(record["id"], {})[record["ph"]] = record
    for arrow in arrows.values():
        assert sorted(arrow) == ["f", "s"]
        assert arrow["f"]["bp"] == "e"
        assert arrow["s"]["ts"] <= arrow["f"]["ts"]
        for end in arrow.values():
            assert enclosing(slices, end) is not None
    for record in records:
        assert record["pid"] == 1
        assert record["ph"] in ("M", "X", "C", "i", "s", "f")
        if record["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in record["args"].values())
    return {r["name"]: r for r in slices}, arrows


def enclosing(slices, point):
    found = [
        s for s in slices if s["tid"] == point["tid"] and s["ts"] <= point["ts"] + 1e-6 < s["ts"] + s["dur"] + 2e-6
    ]
    return found[-1] if found else None


def traced(scene):
    file = io.StringIO()
    writer = TraceWriter(scene, file)
    writer.feed(scene.rows())
    writer.close()
    return json.loads(file.getvalue())


def test_a_slice_is_an_attempt_and_says_how_it_ended(rehearsal):
    records = traced(rehearsal)
    checked(records)
    assert [
        (r["name"], r["ts"], r["dur"], r["args"]["attempt"], r["args"]["end"]) for r in records if r["ph"] == "X"
    ] == [
        ("load", 100_000, 1_000_000, 1, "succeeded"),
        ("flaky", 1_200_000, 300_000, 1, "failed, retried"),
        ("broken", 1_300_000, 500_000, 1, "failed"),
        ("standby", 1_800_000, 100_000, 1, "failed, retried"),
        ("standby", 1_900_000, 100_000, 2, "succeeded"),
        ("flaky", 2_200_000, 2_000_000, 2, "succeeded"),
    ]


def test_workers_have_a_lane_each(rehearsal):
    records = traced(rehearsal)
    names = {r["tid"]: r["args"]["name"] for r in records if r["name"] == "thread_name"}
    lanes = [names[r["tid"]] for r in records if r["ph"] == "X"]
    assert lanes == ["worker 0", "worker 0", "worker 1", "worker 1", "worker 1", "worker 0"]


def test_an_arrow_leads_from_each_predecessor_to_each_attempt(rehearsal):
    records = traced(rehearsal)
    slices = [r for r in records if r["ph"] == "X"]
    _, arrows = checked(records)
    ends = [(enclosing(slices, a["s"])["name"], enclosing(slices, a["f"])["name"]) for a in arrows.values()]
    assert ends == [("load", "flaky"), ("load", "broken"), ("load", "standby"), ("load", "standby"), ("load", "flaky")]


def test_what_went_wrong_is_an_instant_on_its_lane(rehearsal):
    instants = [(r["name"], r["ts"], r["tid"]) for r in traced(rehearsal) if r["ph"] == "i"]
    assert instants == [
        ("retry: flaky", 1_500_000, 1),
        ("failed: broken", 1_800_000, 2),
        ("fallback: standby", 1_900_000, 2),
        ("retry: standby", 1_900_000, 2),
    ]


def test_counters_are_in_units_that_people_read(rehearsal):
    counters = [(r["ts"], r["args"]) for r in traced(rehearsal) if r["name"] == "cpu in use (cores)"]
    assert counters == [(1e6, {"cores": 1.0}), (2e6, {"cores": 2.0}), (4.2e6, {"cores": 1.0})]


def test_the_number_of_running_tasks_is_a_counter(rehearsal):
    values = [r["args"]["tasks"] for r in traced(rehearsal) if r["name"] == "tasks running"]
    assert max(values) == 2
    assert values[-1] == 0


def test_an_unlimited_capacity_is_not_drawn(scene):
    scene.event(EventKind.CAPACITY_CHANGED, 0, worker=0, value=2500, attempt=0)
    scene.event(EventKind.CAPACITY_CHANGED, 0, worker=2, value=2**63 - 1, attempt=0)
    assert [r["args"] for r in traced(scene) if r["ph"] == "C"] == [{"cores": 2.5}]


def test_processes_that_overlap_get_a_lane_each_and_lanes_are_used_again(scene):
    scene.add("a", "b", "c")
    scene.event(EventKind.STARTED, 0, 0, value=1)
    scene.event(EventKind.STARTED, 1, 1, value=1)
    scene.event(EventKind.SUCCEEDED, 2, 0, value=2_000_000_000)
    scene.event(EventKind.STARTED, 3, 2, value=1)
    scene.event(EventKind.SUCCEEDED, 4, 1, value=3_000_000_000)
    scene.event(EventKind.SUCCEEDED, 5, 2, value=2_000_000_000)
    records = traced(scene)
    checked(records)
    names = {r["tid"]: r["args"]["name"] for r in records if r["name"] == "thread_name"}
    assert [names[r["tid"]] for r in records if r["ph"] == "X"] == ["process 0", "process 1", "process 0"]


def test_tasks_started_together_follow_each_other_in_their_workers_lane(scene):
    scene.add("a", "b")
    scene.event(EventKind.STARTED, 0, 0)
    scene.event(EventKind.STARTED, 0, 1)
    scene.event(EventKind.SUCCEEDED, 1, 0, value=1_000_000_000)
    scene.event(EventKind.SUCCEEDED, 3, 1, value=2_000_000_000)
    slices, _ = checked(traced(scene))
    assert (slices["b"]["ts"], slices["b"]["dur"], slices["b"]["tid"]) == (1e6, 2e6, slices["a"]["tid"])


def test_a_task_of_no_duration_can_still_hold_its_arrows(scene):
    a = scene.add("a")[0]
    b = scene.add("b", needs=[a])[0]
    scene.ran(a, 1, 1, 1)
    scene.ran(b, 1, 1.5, 1.5)
    _, arrows = checked(traced(scene))
    assert len(arrows) == 1


def test_what_is_still_running_at_the_end_is_drawn_as_not_ended(scene):
    scene.add("a", "b")
    scene.event(EventKind.STARTED, 1, 0)
    scene.event(EventKind.GAUGE, 3, worker=0, value=1)
    slices, _ = checked(traced(scene))
    assert slices["a"]["args"]["end"] == "not ended"
    assert slices["a"]["dur"] == 2e6


def test_a_cancelled_task_that_never_ran_is_an_instant_of_the_run(scene):
    scene.add("a")
    scene.event(EventKind.CANCELLED, 1, 0, cause=Cause.SKIPPED)
    (instant,) = [r for r in traced(scene) if r["ph"] == "i"]
    assert (instant["name"], instant["tid"], instant["args"]) == ("cancelled: a", 0, {"cause": "skipped"})


def test_a_trace_cut_short_needs_only_its_bracket(rehearsal):
    file = io.StringIO()
    TraceWriter(rehearsal, file).feed(rehearsal.rows())
    assert len(json.loads(file.getvalue() + "]")) > 10


def test_names_are_escaped(scene):
    scene.add('"quoted" \\ é')
    scene.ran(0, 0, 0, 1)
    slices, _ = checked(traced(scene))
    assert '"quoted" \\ é' in slices


def test_a_path_that_cannot_be_written_is_refused_before_the_run(rehearsal, tmp_path):
    with pytest.raises(OptionError, match=r"trace='.*nowhere/t.json' cannot be written: No such file"):
        watch_trace(rehearsal, tmp_path / "nowhere" / "t.json")


@task
def one(k):
    return k


@task(executor="processes")
def elsewhere(k):
    return k


@task
def total(values):
    return sum(values)


def test_the_trace_of_a_real_run_has_a_slice_for_each_task_and_an_arrow_for_each_edge(tmp_path):
    with Pipeline("real") as pipeline:
        parts = [one(k) for k in range(40)] + [elsewhere(k) for k in range(2)]
        total(parts)
    live, after = tmp_path / "live.json", tmp_path / "after.json"
    result = pipeline.run(trace=live, progress=False)
    assert result["total"] == sum(range(40)) + 1
    slices, arrows = checked(json.loads(live.read_text()))
    assert set(slices) == set(result.states)
    assert len(arrows) == 42
    write_trace(result.view, after)
    assert json.loads(after.read_text()) == json.loads(live.read_text())

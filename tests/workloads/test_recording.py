import time

import numpy as np
import pytest

from penstock import Pipeline, command, simulate, task
from penstock.errors import PipelineFileError
from penstock.observe.events import EventKind
from penstock.workloads import read

SUBMITTED, SUCCEEDED = EventKind.SUBMITTED, EventKind.SUCCEEDED


@task(cpu=0.1)
def rest(seconds, *after):
    time.sleep(seconds)


@task(cpu=0.1, retries=2, retry_on=ValueError)
def stumble(seen=[]):  # noqa: B006  the list is what the task remembers
    seen.append(1)
    if len(seen) < 2:
        raise ValueError


def test_a_run_simulated_with_its_own_run_times_takes_as_long(tmp_path):
    with Pipeline("real") as p:
        first = [rest(0.24), rest(0.1), rest(0.4)]
        second = [rest(0.2, *first[:2]), rest(0.3, first[2]), rest(0.1)]
        rest(0.2, *second)
    apart = []
    for _ in range(3):  # what others do on the machine between two tasks is in no run time
        result = p.run(workers=2, policy="hybrid")
        result.save_events(tmp_path / "run.npz")
        recorded = read(tmp_path / "run.npz")
        assert (recorded.name, recorded.workers, list(recorded.names)) == ("real", 2, list(result.states))
        again = simulate(recorded, policy="hybrid")
        assert again.ok
        assert again.violations() == []
        times = result.events["time"]
        real_s = (times[result.events["kind"] == SUCCEEDED].max() - times[result.events["kind"] == SUBMITTED][0]) / 1e9
        apart.append(abs(again.makespan_s / real_s - 1))
        if apart[-1] < 0.02:
            break
    assert apart[-1] < 0.02, apart


def test_failed_attempts_and_their_waits_are_kept(tmp_path):
    with Pipeline("stumbles") as p:
        stumble()
    result = p.run(workers=1)
    result.save_events(tmp_path / "run.npz")
    recorded = read(tmp_path / "run.npz")
    assert recorded.failures.tolist() == [1]
    assert recorded.retries.tolist() == [1]  # as many as there were
    assert recorded.retry_wait_ns > 0
    again = simulate(recorded)
    assert again.attempts.tolist() == [2]
    assert again.ok


def test_a_run_whose_tasks_made_tasks_is_refused(tmp_path):
    @task
    def more():
        return rest(0.0)

    with Pipeline("grows") as p:
        more()
    p.run(workers=1).save_events(tmp_path / "run.npz")
    with pytest.raises(PipelineFileError, match="task 'more' made tasks while it ran"):
        read(tmp_path / "run.npz")


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(PipelineFileError, match="it is no recorded run"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", version=np.array(99))
    with pytest.raises(PipelineFileError, match="recording of version 99; 1 can be read"):
        read(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", version=np.array(1), name=np.array("x"))
    with pytest.raises(PipelineFileError, match="it lacks demand_of, demands, events"):
        read(tmp_path / "c.npz")


def test_commands_take_no_worker(tmp_path):
    with Pipeline("mixed") as p:
        held = [command("wait", ["sleep", "0.1"], cpu=0.1), rest(0.1), rest(0.1)]
        rest(0.0, *held)
    p.run(workers=1).save_events(tmp_path / "run.npz")
    recorded = read(tmp_path / "run.npz")
    assert recorded.workers is None
    assert [recorded.demands[kind].get("worker", 0) for kind in recorded.demand_of] == [0, 1000, 1000, 1000]
    again = simulate(recorded)
    assert again.violations() == []
    assert again.start_ns[0] == again.start_ns[1] < again.start_ns[2]

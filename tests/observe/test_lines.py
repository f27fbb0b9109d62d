import io

from penstock.observe.events import EventKind
from penstock.observe.lines import LINES_AT_ONCE, Lines
from penstock.states import Cause


def written(scene, *, close=True):
    file = io.StringIO()
    lines = Lines(scene, file)
    lines.feed(scene.rows())
    if close:
        lines.close()
    return file.getvalue().splitlines()


def test_a_small_run_gets_a_line_for_everything(rehearsal):
    assert written(rehearsal) == [
        "[    0.00s] demo: 5 tasks, CPU limit 3 cores",
        "[    0.10s] started    load",
        "[    1.10s] finished   load after 1.00s",
        "[    1.20s] started    flaky",
        "[    1.30s] started    broken",
        "[    1.50s] retrying   flaky in 0.50s: attempt 1 failed after 0.30s: ValueError: not yet",
        "[    1.80s] FAILED     broken after 0.50s: KeyError: 'x'",
        "[    1.80s] started    standby",
        "[    1.90s] fallback   standby after 0.10s: OSError: no disk",
        "[    1.90s] started    standby (fallback)",
        "[    2.00s] finished   standby after 0.10s",
        "[    2.20s] started    flaky (attempt 2)",
        "[    4.20s] finished   flaky after 2.00s",
        "[    4.20s] 5/5 finished, 1 failed, 1 not run",
    ]


def test_skipped_tasks_and_pauses_are_told(scene):
    scene.add("a", "b")
    scene.event(EventKind.PAUSED, 1)
    scene.event(EventKind.CANCELLED, 2, 0, cause=Cause.SKIPPED)
    scene.event(EventKind.CANCELLED, 3, 1, cause=Cause.CANCELLED)
    assert [line.split("] ")[1] for line in written(scene)[1:]] == ["paused", "skipped    a", "cancelled  b"]


def test_a_task_that_waits_for_tasks_that_it_made_is_no_new_attempt_afterwards(scene):
    scene.add("search")
    scene.event(EventKind.STARTED, 0, 0)
    scene.event(EventKind.DEFERRED, 1, 0, value=2)
    scene.event(EventKind.STARTED, 5, 0, attempt=2)
    assert written(scene)[-2:] == [
        "[    1.00s] waiting    search after 1.00s: for 2 tasks that it made",
        "[    5.00s] resumed    search",
    ]


def test_a_large_run_is_told_in_few_lines_but_each_early_failure_by_name(scene):
    n = 5000
    scene.add(*(f"t{k}" for k in range(n)))
    for k in range(n):
        scene.ran(k, 0, k / 1000, (k + 1) / 1000)
    scene.add("unlucky")
    scene.event(EventKind.STARTED, 5.0, n)
    scene.event(EventKind.FAILED, 5.1, n, cause=Cause.OOM)
    scene.event(EventKind.RUN_FINISHED, 5.1)
    lines = written(scene)
    assert len(lines) < LINES_AT_ONCE + 20
    assert "[    5.10s] FAILED     unlucky after 0.10s: oom" in lines
    assert lines[-1] == "[    5.10s] 5,001/5,001 finished, 1 failed"


def test_what_got_no_line_is_summed_up_at_growing_intervals(scene):
    file = io.StringIO()
    lines = Lines(scene, file)
    scene.add(*(f"t{k}" for k in range(40_000)))
    for second in range(40):
        for k in range(second * 1000, (second + 1) * 1000):
            scene.ran(k, second, second, second + k % 1000 / 1000)
        lines.feed(scene.rows()[1 + 3 * second * 1000 :])
        seen = file.getvalue()
    summaries = [line for line in seen.splitlines() if "/40,000 finished" in line]
    assert 4 <= len(summaries) <= 8
    assert len(seen.splitlines()) < LINES_AT_ONCE + 40 * 10 + 20


def test_a_quiet_run_says_what_it_is_at(scene):
    scene.add("slow", "next")
    scene.event(EventKind.READY, 0, 0)
    scene.event(EventKind.STARTED, 0, 0)
    file = io.StringIO()
    lines = Lines(scene, file)
    lines.feed(scene.rows())
    lines.quiet(5_000_000_000 + 60_000_000_000)
    assert file.getvalue().splitlines()[-1] == "[   60.00s] 0/2 finished, 1 running (slow), 1 waiting"


def test_a_run_without_tasks_writes_its_end_only(scene):
    scene.event(EventKind.RUN_FINISHED, 0)
    assert written(scene) == ["[    0.00s] 0/0 finished"]


def test_ctrl_c_gets_its_line_also_when_the_allowance_is_used_up(scene):
    n = 1000
    scene.add(*(f"t{k}" for k in range(n)), "slow")
    scene.event(EventKind.STARTED, 0, n)
    for k in range(n):
        scene.ran(k, 0, 0, 0.5)
    scene.event(EventKind.INTERRUPTED, 0.6, worker=1, value=10_000_000_000)
    for k in range(40):
        scene.event(EventKind.FAILED, 0.7, k, cause=Cause.LOST)
    scene.event(EventKind.INTERRUPTED, 0.8, worker=1, value=0)
    told = [line.split("] ")[1] for line in written(scene) if "interrupted" in line]
    assert told == [
        "interrupted: nothing more starts; 1 running task may end within 10 s, Ctrl-C again kills it",
        "interrupted: killing 1 running task",
    ]


def test_deadlines_breakers_and_the_runs_timeout_have_lines(scene):
    from penstock.options import make_spec

    scene.add("ask", "slow")
    scene.specs[0] = make_spec(None, "ask", {"breaker": "api"})
    scene.event(EventKind.BREAKER_OPENED, 1, 0, value=3)
    scene.event(EventKind.BREAKER_CLOSED, 2, 0)
    scene.event(EventKind.DEADLINE_MISSED, 3, 1)
    scene.event(EventKind.RUN_TIMED_OUT, 4, value=4_000_000_000)
    out = io.StringIO()
    Lines(scene, out).feed(scene.rows())
    said = [line.partition("] ")[2] for line in out.getvalue().splitlines()]
    assert said[-4:] == [
        "breaker    api opened: 3 attempts failed in a row, the last of ask",
        "breaker    api closed: ask has got through",
        "late       slow: its deadline has passed",
        "timed out  the run has had its 4.00s: what runs is ended, nothing more starts",
    ]

import threading

import pytest

from penstock import Pipeline, Retry, task
from penstock.errors import TaskFailed
from penstock.observe.alerting import watch_alerts
from penstock.observe.alerts import AlertKind, error_line, watch_events
from penstock.observe.events import EventKind
from penstock.states import Cause

pytestmark = pytest.mark.timeout(60)


def alerts_of(scene):
    alerts = []
    assert watch_alerts(scene, alerts.append).close(10)
    return alerts


def test_each_thing_that_went_wrong_is_one_alert(rehearsal):
    alerts = alerts_of(rehearsal)
    assert [(a.kind.value, a.task, a.attempt, a.cause) for a in alerts] == [
        ("retrying", "flaky", 1, Cause.EXCEPTION),
        ("failed", "broken", 1, Cause.TIMEOUT),
        ("fallback", "standby", 1, Cause.EXCEPTION),
        ("run_failed", None, 0, Cause.NONE),
    ]


def test_an_alert_reads_well(rehearsal):
    assert [str(alert) for alert in alerts_of(rehearsal)] == [
        "[demo] 'flaky' retrying (attempt 1): ValueError: not yet",
        "[demo] 'broken' failed (attempt 1): KeyError: 'x'",
        "[demo] 'standby' fallback (attempt 1): OSError: no disk",
        "[demo] 1 of 5 tasks failed: 'broken'; 1 that depend on them never ran",
    ]


def test_a_kind_compares_with_its_text():
    assert AlertKind.FAILED == "failed"


def test_a_run_in_which_nothing_failed_says_only_that_it_is_done(scene):
    scene.add("a")
    scene.ran(0, 0, 0, 1)
    scene.event(EventKind.RUN_FINISHED, 1)
    scene.log.close()
    assert [str(alert) for alert in alerts_of(scene)] == ["[demo] all is done: 1 task in 1.00s"]


def test_the_guard_is_an_alert_and_who_gives_way_to_a_more_urgent_task_is_none(scene):
    wants_memory, gives_way = scene.add("wants memory", "gives way")
    scene.event(EventKind.GUARD_CLOSED, 0, value=3 << 30)
    scene.event(EventKind.EVICTED, 1, wants_memory, value=2 << 30, cause=Cause.OOM)
    scene.event(EventKind.EVICTED, 2, gives_way, cause=Cause.CANCELLED)
    scene.log.close()
    assert [(alert.kind, str(alert)) for alert in alerts_of(scene)] == [
        (
            AlertKind.MEMORY_GUARD,
            "[demo] memory is short, so at most one task runs until there is room (3.00GiB in use)",
        ),
        (
            AlertKind.MEMORY_GUARD,
            "[demo] 'wants memory' memory guard (attempt 1): it was ended for its memory and starts again later (2.00GiB in use)",
        ),
    ]


def test_an_unknown_error_is_its_cause():
    assert error_line(None, Cause.LOST) == "lost"
    assert error_line(ValueError()) == "ValueError"
    assert error_line(ValueError("first\nsecond")) == "ValueError: first"


def test_an_error_that_penstock_made_of_an_attempt_is_its_reason_alone():
    assert error_line(TaskFailed("leave", "it called sys.exit(3); return")) == "it called sys.exit(3); return"


def test_an_error_that_never_ends_is_cut():
    line = error_line(ValueError("x" * 10_000))
    assert len(line) < 350
    assert line.endswith("xxx…")


def test_events_arrive_as_objects_in_log_order(rehearsal):
    events = []
    assert watch_events(rehearsal, events.append).close(10)
    assert [event.kind for event in events] == rehearsal.rows()["kind"].tolist()
    assert [e.name for e in events if e.kind is EventKind.SUCCEEDED] == ["load", "standby", "flaky"]


def test_a_hook_that_raises_sees_every_event_and_is_reported_once(rehearsal, caplog):
    seen = []

    def hook(event):
        seen.append(event)
        raise ValueError("broken hook")

    assert watch_events(rehearsal, hook).close(10)
    assert len(seen) == len(rehearsal.log)
    assert len(caplog.records) == 1
    assert "hook" in caplog.records[0].getMessage()


@task(retries=1, retry=Retry(attempts=2, first_wait_s=0.0, jitter_s=0.0))
def always_fails():
    raise ZeroDivisionError("always")


@task
def works():
    return 1


def test_alerts_of_a_real_run_carry_the_tasks_own_error():
    with Pipeline("real") as pipeline:
        works()
        always_fails()
    alerts = []
    pipeline.run(alerts=[alerts.append], progress=False)
    assert [alert.kind.value for alert in alerts] == ["retrying", "failed", "run_failed"]
    assert isinstance(alerts[1].error, ZeroDivisionError)
    assert (alerts[1].task, alerts[1].attempt) == ("always_fails", 2)


def test_a_hook_that_hangs_does_not_hold_up_the_tasks(caplog, monkeypatch):
    from penstock.observe import attach

    monkeypatch.setattr(attach, "HOOK_GRACE_S", 0.1)
    release = threading.Event()
    with Pipeline("real") as pipeline:
        call = works()
    try:
        result = pipeline.run(on_event=lambda _event: release.wait(), progress=False)
        assert result[call] == 1
        assert "is left behind" in caplog.text
    finally:
        release.set()

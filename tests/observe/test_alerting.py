"""Alerts on their way: to functions, to a real HTTP server and to a real mail server, both on this machine."""

from __future__ import annotations

import http.server
import json
import logging
import queue
import socket
import sys
import threading

import pytest
from aiosmtpd.controller import Controller
from tests.chaos.traces import until

from penstock import Alerts, Pipeline, Retry, task
from penstock.errors import ExtraMissingError, OptionError
from penstock.observe import outbox
from penstock.observe.alerting import watch_alerts
from penstock.observe.alerts import Alert, AlertKind
from penstock.observe.events import EventKind
from penstock.states import Cause

pytestmark = pytest.mark.timeout(60)

QUICK = Retry(attempts=2, first_wait_s=0.0, jitter_s=0.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(outbox, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Webhook:
    """A server that keeps what is posted, and answers with the statuses it was given, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: queue.Queue[dict] = queue.Queue()
        self.headers: list[dict] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.headers.append(dict(self.headers))
                status = outer.statuses.pop(0) if outer.statuses else 200
                outer.bodies.put({"status": status, **json.loads(body)})
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.server.server_port}/secret/path"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def webhook():
    made = Webhook()
    yield made
    made.close()


def fails() -> None:
    raise ValueError("bad luck")


def test_a_webhook_gets_json_with_a_text_for_people(webhook):
    with Pipeline("nightly") as p:
        task(fails)()
    p.run(alerts=webhook.url("me:word@"), progress=False)
    bodies = [webhook.bodies.get_nowait() for _ in range(webhook.bodies.qsize())]
    alerts = [alert for body in bodies for alert in body["alerts"]]
    assert [(alert["kind"], alert["task"], alert["cause"], alert["error"]) for alert in alerts] == [
        ("failed", "fails", "exception", "ValueError"),
        ("run_failed", None, "none", None),
    ]
    assert "[nightly] 'fails' failed (attempt 1): ValueError: bad luck" in bodies[0]["text"]
    assert webhook.headers[0]["Authorization"] == "Basic bWU6d29yZA=="
    assert webhook.headers[0]["Content-Type"].startswith("application/json")


def test_a_server_in_trouble_is_tried_again_and_one_that_refuses_is_not(webhook, rehearsal, caplog):
    webhook.statuses = [503, 429]
    assert watch_alerts(rehearsal, Alerts(webhook.url(), kinds=["run_failed"])).close(30)
    assert [webhook.bodies.get_nowait()["status"] for _ in range(3)] == [503, 429, 200]
    webhook.statuses = [404]
    assert watch_alerts(rehearsal, Alerts(webhook.url(), kinds=["run_failed"])).close(30)
    assert webhook.bodies.get_nowait()["status"] == 404
    assert webhook.bodies.empty()
    assert "1 alerts were not delivered, after 1 tries" in caplog.text
    assert "secret/path" not in caplog.text  # the path of a webhook is its password


def test_an_address_that_nobody_listens_at_is_given_up_and_the_run_is_what_it_was(webhook, caplog):
    url = webhook.url()
    webhook.close()
    with Pipeline("p") as p:
        one = task(name="one")(lambda: 1)()
    try:
        result = p.run(alerts=[Alerts(url, tries=3)], progress=False)
    finally:
        webhook.__init__()  # for the fixture to close
    assert result[one] == 1
    assert result.ok
    assert caplog.text.count("it is tried again") == 2
    assert "1 alerts were not delivered, after 3 tries" in caplog.text


def test_alerts_like_one_another_are_one_message_and_the_rest_waits_for_the_end(webhook, scene):
    watch = watch_alerts(scene, Alerts(webhook.url(), every_s=1000))
    names = [f"part-{k}" for k in range(40)]
    for task_id in scene.add("part", *names):
        scene.specs[task_id] = scene.specs[0]
        scene.errors[task_id] = OSError("no disk")
        scene.event(EventKind.STARTED, 1, task_id)
    scene.event(EventKind.FAILED, 1, 0, cause=Cause.EXCEPTION)
    first = webhook.bodies.get(timeout=30)
    for task_id in range(1, 41):
        scene.event(EventKind.FAILED, 2, task_id, cause=Cause.EXCEPTION)
    scene.event(EventKind.RUN_FINISHED, 3)
    scene.log.close()
    assert watch.close(30)
    rest = [webhook.bodies.get_nowait() for _ in range(webhook.bodies.qsize())]
    assert [alert["task"] for alert in first["alerts"]] == ["part"]
    told = [alert for body in rest for alert in body["alerts"]]
    assert sum(alert["count"] for alert in told if alert["kind"] == "failed") == 40
    assert len(rest) <= 2
    # The end of the log may find some of them on their way: two groups then, each naming at most eleven.
    failed = [alert for alert in told if alert["kind"] == "failed"]
    assert [alert["others"] for alert in failed] == [
        names[(at := names.index(alert["task"])) + 1 : at + min(alert["count"], 11)] for alert in failed
    ]
    # The end of the run is told at once, and may be on its way before what was held back.
    assert [alert["kind"] for alert in told].count("run_failed") == 1
    assert {alert["kind"] for alert in told} == {"failed", "run_failed"}


def test_no_more_messages_go_out_than_allowed_and_none_is_lost():
    sent: queue.Queue = queue.Queue()

    class Target:
        name, is_address = "a target", True

        def send(self, alerts):
            sent.put([alert.task for alert in alerts])

    box = outbox.Outbox(Target(), every_s=0.0, at_most=2, per_s=1000, tries=1)
    box.start()
    for k in range(6):
        box.put(Alert(AlertKind.FAILED, "p", f"t{k}", 1, Cause.EXCEPTION, None, "bad", 0.0))
        if k < 2:
            assert sent.get(timeout=30) == [f"t{k}"]
        else:  # it is with the thread, and stays there
            until(lambda k=k: len(box._groups) == k - 1)
    assert box.close(30)
    assert sent.get_nowait() == ["t2", "t3", "t4", "t5"]
    assert sent.empty()


def test_a_function_that_raises_is_called_again_and_logged(rehearsal, caplog):
    calls = []

    def target(alert):
        calls.append(alert.kind.value)
        if len(calls) < 3:
            raise SystemExit(3)

    assert watch_alerts(rehearsal, Alerts(target, kinds=["run_failed"])).close(30)
    assert calls == ["run_failed"] * 3
    assert caplog.text.count("failed with SystemExit") == 2
    assert "were not delivered" not in caplog.text


def test_a_function_that_hangs_is_left_behind(rehearsal, caplog):
    release = threading.Event()
    watch = watch_alerts(rehearsal, lambda _alert: release.wait())
    try:
        assert not watch.close(0.2)
        assert "is left behind" in caplog.text
    finally:
        release.set()
        assert watch.close(30)


def test_a_mail_arrives_at_a_real_server(monkeypatch):
    import apprise.plugins.email.base

    # Apprise lets some seconds pass between two mails, as a good guest of a mail server. This one is ours.
    monkeypatch.setattr(apprise.plugins.email.base.NotifyEmail, "request_rate_per_sec", 0)
    mails: queue.Queue = queue.Queue()

    class Handler:
        async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
            mails.put((envelope.mail_from, list(envelope.rcpt_tos), envelope.content.decode()))
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        with Pipeline("nightly") as p:
            task(fails)()
        p.run(alerts=[f"mailto://127.0.0.1:{port}?from=runs@here.org&to=me@there.org"], progress=False)
    finally:
        controller.stop()
    sent = [mails.get_nowait() for _ in range(mails.qsize())]
    assert sent
    assert {(mail[0], tuple(mail[1])) for mail in sent} == {("runs@here.org", ("me@there.org",))}
    text = "".join(mail[2] for mail in sent)
    assert "penstock: nightly: failed" in text
    assert "bad luck" in text
    assert "1 of 1 tasks failed" in text


def test_a_stall_is_told_while_the_run_stands_still():
    told: queue.Queue = queue.Queue()
    seen = threading.Event()

    def target(alert):
        told.put(alert)
        if alert.kind == "stalled":
            seen.set()

    with Pipeline("p") as p:
        quick = task(name="quick")(lambda: None)()
        task(name="slow")(lambda _x: seen.wait(30))(quick)
    result = p.run(alerts=Alerts(target, kinds=["stalled"], stalled_least_s=0.2), progress=False)
    assert result.ok
    alert = told.get_nowait()
    assert "nothing has finished for" in alert.text
    assert "1 task running: 'slow'" in alert.text
    assert told.empty()


def test_a_storm_of_retries_a_missed_deadline_and_a_breaker_are_told():
    told = []
    seen = threading.Event()

    def target(alert):
        told.append(alert)
        if alert.kind == "deadline_missed":
            seen.set()

    with Pipeline("p") as p:
        for k in range(4):
            task(name=f"flaky{k}", retry=QUICK, breaker="api")(fails)()
        task(name="late", deadline=0.05, cpu=0)(lambda: seen.wait(30))()
    p.run(alerts=Alerts(target, storm_retries=3), progress=False)
    kinds = [alert.kind.value for alert in told]
    assert kinds.count("retry_storm") == 1
    assert kinds.count("breaker_opened") == 1
    assert kinds.count("deadline_missed") == 1
    (opened,) = (alert for alert in told if alert.kind == "breaker_opened")
    assert opened.text == "breaker 'api' opened after 5 failures in a row; ValueError: bad luck"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([3], "alerts= was given 3, which cannot be called and is no address"),
        (["nobody"], "alerts= was given 'nobody'"),
        (["https:///path"], "a webhook without a host"),
        (["mailto://"], "an address that Apprise does not understand"),
    ],
)
def test_a_target_that_is_none_is_refused_before_anything_starts(given, message):
    with Pipeline("p") as p:
        task(fails)()
    with pytest.raises(OptionError) as caught:
        p.run(alerts=given, progress=False)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["fialed"]}, "Did you mean 'failed'?"),
        ({"tries": 0}, "Alerts(tries=0)"),
        ({"every_s": -1}, "Alerts(every_s=-1)"),
        ({"per_s": float("nan")}, "Alerts(per_s=nan)"),
    ],
)
def test_a_setting_out_of_range_is_named(options, message):
    with pytest.raises(OptionError) as caught:
        Alerts(print, **options)
    assert message in str(caught.value)


def test_an_address_of_apprise_without_apprise_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ExtraMissingError, match=r"penstock\[alerts\]") as caught:
        Alerts("slack://token-a/token-b")
    assert "token-a" not in str(caught.value)


def test_a_run_is_in_the_log_with_its_fields_only_when_somebody_listens(caplog):
    with Pipeline("nightly") as p:
        task(fails)()
    with caplog.at_level(logging.WARNING, "penstock.run"):
        p.run(progress=False)
    assert caplog.records == []
    with caplog.at_level(logging.INFO, "penstock.run"):
        p.run(progress=False)
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.event for record in caplog.records][0 :: len(caplog.records) - 1] == ["run_started", "run_finished"]
    assert len(failed) == 1
    assert (failed[0].pipeline, failed[0].task, failed[0].attempt) == ("nightly", "fails", 1)
    assert (failed[0].cause, failed[0].state, failed[0].error_type) == ("exception", "failed", "ValueError")
    assert failed[0].getMessage().endswith("failed 'fails' (exception): ValueError: bad luck")

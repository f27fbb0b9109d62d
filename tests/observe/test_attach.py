import threading

import pytest

from penstock.errors import OptionError
from penstock.observe.attach import attach
from penstock.observe.trace import TraceWriter


def test_with_nothing_asked_for_no_thread_is_started(rehearsal):
    before = threading.active_count()
    attach(rehearsal).close()
    assert threading.active_count() == before


def test_every_reader_has_ended_when_it_is_closed(rehearsal, tmp_path):
    before = set(threading.enumerate())
    events, alerts = [], []
    attach(rehearsal, on_event=[events.append, events.append], alerts=alerts.append, trace=tmp_path / "t.json").close()
    assert len(events) == 2 * len(rehearsal.log)
    assert len(alerts) == 4
    assert (tmp_path / "t.json").read_text().endswith("]\n")
    assert set(threading.enumerate()) <= before  # a thread of an earlier test may have ended meanwhile


def test_closing_waits_for_a_trace_that_is_behind(rehearsal, tmp_path, monkeypatch):
    gate = threading.Event()
    feed = TraceWriter.feed
    monkeypatch.setattr(TraceWriter, "feed", lambda writer, rows: gate.wait(10) and feed(writer, rows))
    observers = attach(rehearsal, trace=tmp_path / "t.json")
    threading.Timer(0.2, gate.set).start()
    observers.close()
    assert gate.is_set()
    assert (tmp_path / "t.json").read_text().endswith("]\n")


@pytest.mark.parametrize("option", ["on_event", "alerts"])
def test_a_hook_that_cannot_be_called_is_refused(rehearsal, option):
    with pytest.raises(OptionError, match=rf"{option}= was given 'mail', which cannot be called"):
        attach(rehearsal, **{option: "mail"})


def test_an_unknown_progress_is_refused_and_no_reader_started(rehearsal, tmp_path):
    with pytest.raises(OptionError, match=r"progress='yes': allowed is True, False or 'auto'"):
        attach(rehearsal, progress="yes", trace=tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()

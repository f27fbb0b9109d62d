import contextlib
import io
import os
import pty
import sys
import threading

import pytest

from penstock import Pipeline, task
from penstock.observe.events import EventKind
from penstock.observe.progress import watch_progress

pytestmark = pytest.mark.timeout(60)


def test_lines_go_to_a_file_that_is_no_terminal(rehearsal):
    file = io.StringIO()
    assert watch_progress(rehearsal, True, file).close(10)
    assert "finished   load after 1.00s" in file.getvalue()
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize("choice", ["auto", False, None])
def test_nothing_is_shown_where_nobody_looks(rehearsal, choice):
    file = io.StringIO()
    assert watch_progress(rehearsal, choice, file) is None
    assert file.getvalue() == ""


def read_all(descriptor):
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # the other end is closed
            return b"".join(parts).decode()
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


@pytest.mark.parametrize("choice", [True, "auto"])
def test_a_terminal_gets_the_live_display_and_its_cursor_back(rehearsal, choice, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    leader, follower = pty.openpty()
    shown = []
    reader = threading.Thread(target=lambda: shown.append(read_all(leader)))
    reader.start()
    with os.fdopen(follower, "w") as terminal:
        assert watch_progress(rehearsal, choice, terminal).close(10)
    reader.join(10)
    os.close(leader)
    (text,) = shown
    assert "5/5" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # cursor shown again after it was hidden


class Full(io.StringIO):
    """A file on a full disk."""

    def __init__(self):
        super().__init__()
        self.writes = 0
        self.tried = threading.Event()

    def write(self, text):
        self.writes += 1
        self.tried.set()
        raise OSError("no space left on device")


def test_a_display_that_breaks_is_reported_once_and_shows_nothing_more(scene, caplog):
    file = Full()
    scene.add("a")
    subscription = watch_progress(scene, True, file)
    assert file.tried.wait(10)
    scene.event(EventKind.PAUSED, 1)
    scene.log.close()
    assert subscription.close(10)
    assert file.writes == 1
    (record,) = caplog.records
    assert "progress display raised OSError: no space left on device" in record.getMessage()


def test_a_reader_that_has_seen_enough_is_no_error(scene, caplog):
    read, write = os.pipe()
    scene.add("a")
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as pipe:
        subscription = watch_progress(scene, True, pipe)
        scene.event(EventKind.PAUSED, 1)
        scene.log.close()
        assert subscription.close(10)
        assert caplog.records == []
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def test_a_run_goes_on_when_its_display_breaks(monkeypatch, caplog):
    @task
    def works():
        return 1

    with Pipeline("real") as pipeline:
        call = works()
    file = Full()
    monkeypatch.setattr(sys, "stdout", file)
    assert pipeline.run(progress=True)[call] == 1
    assert file.tried.is_set()
    assert "progress display raised OSError" in caplog.text

import re
from pathlib import Path

import numpy as np
import pytest

from penstock import _core
from penstock.observe.events import ROW_BYTES, EventKind, as_array, dtype, events_of, one_each
from penstock.states import Cause, State

HEADER = Path(__file__).parents[2] / "cpp" / "include" / "penstock" / "event_log.hpp"


def test_kinds_have_the_names_and_numbers_of_the_core():
    body = re.search(r"enum class EventKind[^{]*\{(.*?)\};", HEADER.read_text(), re.DOTALL)[1]
    numbers = {name.upper(): int(number) for name, number in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
    assert numbers == {kind.name: int(kind) for kind in EventKind}


def test_a_row_has_the_size_that_the_core_says():
    assert dtype().itemsize == ROW_BYTES == _core.EVENT_SIZE


def test_every_field_written_to_the_core_log_comes_back():
    log = _core.EventLog()
    log.append(
        int(EventKind.STARTED),
        task=7,
        attempt=2,
        worker=3,
        value=-4,
        cause=int(Cause.OOM),
        state=int(State.RUNNING),
        time=99,
    )
    (row,) = as_array(log.read_bytes(0)).tolist()
    assert row == (99, -4, 7, 2, 3, EventKind.STARTED, Cause.OOM, State.RUNNING, _core.EVENT_VERSION)


def test_part_of_a_row_is_refused():
    with pytest.raises(ValueError, match="32 bytes each, but 33 bytes"):
        as_array(bytes(33))


def test_no_rows_are_an_empty_array():
    assert as_array(b"").shape == (0,)
    assert as_array(b"").dtype == dtype()


def test_an_event_names_its_task_and_counts_seconds_from_the_start(scene):
    scene.add("train")
    scene.event(EventKind.FAILED, 1.5, 0, attempt=2, cause=Cause.TIMEOUT)
    event = list(events_of(scene, scene.rows(), 5_000_000_000))[-1]
    assert (event.name, event.task, event.attempt, event.elapsed_s) == ("train", 0, 2, 1.5)
    assert str(event) == "[   1.500s] failed 'train' attempt 2 (timeout)"


def test_an_event_about_the_run_has_no_task(scene):
    scene.add("train")
    scene.event(EventKind.GAUGE, 1.0, worker=0, value=1500, attempt=0)
    scene.log.append(int(EventKind.PAUSED), task=0)
    assert [(e.task, e.name) for e in list(events_of(scene, scene.rows(), 0))[-2:]] == [(None, None)] * 2


def test_importing_the_kinds_does_not_import_numpy():
    import subprocess
    import sys

    code = "import sys, penstock.observe.events; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    assert np  # this test's own process has it


def test_a_row_for_a_range_of_tasks_becomes_one_row_each() -> None:
    lane = 2
    rows = np.array(
        [
            (5, 10, 0, 0, 0, EventKind.SUBMITTED, 0, 0, 1),  # `value` is a count here, whatever its size
            (5, 9 << 8, 0, 0, 0, EventKind.READY, 0, 1, 1),
            (6, (2 << 8) + lane, 4, 1, 3, EventKind.STARTED, 0, 2, 1),
            (7, 1 << 20, 4, 1, 3, EventKind.SUCCEEDED, 0, 4, 1),
        ],
        dtype=dtype(),
    )
    (alone,) = one_each(rows)
    assert len(alone) == 1 + 10 + 3 + 1
    ready = alone[alone["kind"] == EventKind.READY]
    assert ready["task"].tolist() == list(range(10))
    assert set(ready["value"].tolist()) == {0}
    started = alone[alone["kind"] == EventKind.STARTED]
    assert [row[:5] for row in started.tolist()] == [(6, lane, task, 1, 3) for task in (4, 5, 6)]
    assert alone[[0, -1]].tolist() == rows[[0, -1]].tolist()
    pieces = list(one_each(rows, at_most=4))
    assert [len(piece) for piece in pieces] == [4, 4, 4, 3]
    assert np.concatenate(pieces).tolist() == alone.tolist()


@pytest.mark.parametrize("at_most", [None, 2])
def test_rows_that_speak_for_one_task_stay_as_they_are(at_most: int | None) -> None:
    row = (5, 0, 3, 1, 0, EventKind.READY, 0, 1, 1)
    rows = np.array([row] * 2, dtype=dtype())
    (same,) = one_each(rows, at_most)
    assert same is rows
    (none,) = one_each(rows[:0], at_most)
    assert len(none) == 0

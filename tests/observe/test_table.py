import io
import json
import re

import pytest

from penstock import Pipeline, task
from penstock.observe.events import EventKind
from penstock.observe.table import as_dicts, print_table, render, totals

pytestmark = pytest.mark.timeout(60)


def test_the_table_is_aligned_and_the_unknown_is_a_dash(rehearsal):
    assert render(rehearsal).splitlines() == [
        "task     state                 attempts   wait    run    CPU   cores  peak memory",
        "-------  --------------------  --------  -----  -----  -----  ------  -----------",
        "load     succeeded                    1  0.10s  1.00s  0.80s  0.80/1      64.0MiB",
        "flaky    succeeded                    2  0.30s  2.30s      -     -/1            -",
        "broken   failed (timeout)             1  0.20s  0.50s      -     -/1            -",
        "standby  succeeded (fallback)         2  0.70s  0.20s      -     -/1            -",
        "report   upstream failed              -      -      -      -     -/1            -",
        "",
        "makespan 4.20s | average CPU 1.24 of 3 cores (41% of the limit) | critical path 3.30s: load -> flaky | 3 succeeded, 1 failed, 1 upstream failed",
    ]


def test_the_critical_path_is_of_run_times_and_not_of_counts(scene):
    a, b = scene.add("short", "long")
    mid = scene.add("middle", needs=[a])[0]
    end = scene.add("end", needs=[mid, b])[0]
    scene.ran(a, 0, 0, 1)
    scene.ran(mid, 1, 1, 2, worker=1)
    scene.ran(b, 0, 0, 5)
    scene.ran(end, 5, 5, 6)
    found = totals(scene)
    assert found.critical_path == ("long", "end")
    assert found.critical_path_s == pytest.approx(6)


def test_the_critical_path_leads_through_tasks_that_a_task_made(scene):
    load = scene.add("load")[0]
    maker = scene.add("maker", needs=[load])[0]
    scene.ran(load, 0, 0, 3)
    scene.event(EventKind.READY, 3, maker)
    scene.event(EventKind.STARTED, 3, maker)
    inner = scene.add("inner", at=4)[0]
    outer = scene.add("outer", at=4, needs=[inner])[0]
    scene.needs[maker] = (load, outer)
    scene.event(EventKind.DEFERRED, 4, maker, value=1)
    scene.ran(inner, 4, 4, 9)
    scene.ran(outer, 9, 9, 10)
    scene.ran(maker, 10, 10, 12, attempt=2)
    found = totals(scene)
    assert found.critical_path == ("load", "inner", "outer", "maker")
    assert found.critical_path_s == pytest.approx(3 + 5 + 1 + 1 + 2)


def test_without_a_gauge_the_average_is_what_the_tasks_used(scene):
    scene.add("a")
    scene.ran(0, 0, 0, 2)
    scene.event(EventKind.RUN_FINISHED, 2)
    assert totals(scene).cpu_used is None
    assert "average CPU -" in str(totals(scene))
    scene.event(EventKind.CPU_USED, 2, 0, value=3_000_000_000)
    assert totals(scene).cpu_used == pytest.approx(1.5)


def test_a_gauge_that_covers_little_of_the_run_is_not_its_average(scene):
    scene.add("a")
    scene.event(EventKind.GAUGE, 0.1, worker=0, value=3000)
    scene.ran(0, 0, 0, 2)
    scene.event(EventKind.RUN_FINISHED, 2)
    assert totals(scene).cpu_used is None


def test_a_large_run_shows_what_went_wrong_and_what_took_longest(scene):
    scene.add(*(f"t{k}" for k in range(50)))
    for k in range(49):
        scene.ran(k, 0, 0, k + 1)
    scene.event(EventKind.STARTED, 0, 49)
    scene.event(EventKind.FAILED, 0.5, 49)
    lines = render(scene, most_rows=3).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["t47", "t48", "t49"]
    assert lines[5] == "(47 more tasks, the quickest of those that succeeded, not shown)"
    assert "49 succeeded, 1 failed" in lines[-1]


def test_dictionaries_are_plain_json(rehearsal):
    rows = json.loads(json.dumps(as_dicts(rehearsal)))
    assert rows[2] == {
        "id": 2, "name": "broken", "state": "failed", "attempts": 1, "wait_s": pytest.approx(0.2),
        "run_s": pytest.approx(0.5), "cpu_s": None, "peak_memory": None, "cause": "timeout", "fell_back": False,
        "late": False, "declared": {"cpu": 1000}, "io_bytes": None, "gpu_memory": None,
        "outcome": "failed (timeout)",
    }  # fmt: skip


def test_a_run_without_tasks_has_a_table_too(scene):
    assert render(scene).splitlines()[-1].endswith("no tasks")


def test_a_file_gets_plain_text(rehearsal):
    file = io.StringIO()
    print_table(rehearsal, file)
    assert file.getvalue() == render(rehearsal) + "\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_the_same_words_in_colour(rehearsal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = Terminal()
    print_table(rehearsal, file)
    assert "\x1b[" in file.getvalue()
    for word in ("succeeded (fallback)", "upstream failed", "makespan 4.20s", "load -> flaky"):
        assert word in file.getvalue()


def drawn(view, width, monkeypatch):
    """The table as a terminal of so many columns shows it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    file = Terminal()
    print_table(view, file)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()


def test_in_a_terminal_of_80_columns_no_number_is_cut_and_long_names_go_on_below(scene, monkeypatch):
    scene.add("extra-trees/gradients/folds")
    scene.ran(0, 0, 0.1, 1.1)
    scene.event(EventKind.CPU_USED, 1.1, 0, value=800_000_000)
    scene.event(EventKind.PEAK_MEMORY, 1.1, 0, value=64 << 20)
    scene.event(EventKind.FALLBACK, 0.5, 0)
    lines = drawn(scene, 80, monkeypatch)
    assert "…" not in "".join(lines)
    row = next(line for line in lines if "succeeded" in line)
    assert row.split()[-6:] == ["1", "0.10s", "1.00s", "0.80s", "0.80/1", "64.0MiB"]
    start = lines.index(row)
    name = "".join(line[: row.index(" ")].rstrip() for line in lines[start : start + 3])
    assert name == "extra-trees/gradients/folds"


def test_a_narrow_terminal_leaves_out_columns_and_says_which(rehearsal, monkeypatch):
    lines = drawn(rehearsal, 40, monkeypatch)
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["task", "state", "attempts", "run"]
    assert next(line for line in lines if line.startswith("load")).split() == ["load", "succeeded", "1", "1.00s"]
    assert "(wait, CPU, cores, peak memory: no room in 40 columns)" in re.sub(r"\s+", " ", " ".join(lines))


def test_a_real_run_has_its_tasks_and_a_critical_path():
    @task
    def one():
        return 1

    @task
    def add(a, b):
        return a + b

    with Pipeline("real") as pipeline:
        add(one(), one())
    result = pipeline.run(progress=False)
    assert [line.split()[:3] for line in result.table().splitlines()[2:5]] == [
        ["one", "succeeded", "1"], ["one-2", "succeeded", "1"], ["add", "succeeded", "1"],
    ]  # fmt: skip
    assert result.totals.critical_path[-1] == "add"
    assert result.totals.counts == {"succeeded": 3}
    assert 0 < result.totals.critical_path_s <= result.totals.makespan_s

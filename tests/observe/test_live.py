import io

from rich.console import Console

from penstock.observe.events import EventKind
from penstock.observe.live import LiveDisplay

START_NS = 5_000_000_000


def screen(scene, *times, rows=None):
    """What the display shows at the last of the given seconds, having been drawn at each."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    display = LiveDisplay(scene, console.file, console=console)
    display._timeline.update(scene.rows() if rows is None else rows)
    for second in times:
        frame = display.frame(START_NS + round(second * 1e9))
    display.close()
    out = Console(file=io.StringIO(), width=100, color_system=None)
    out.print(frame)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def test_a_running_task_shows_its_time_and_attempt(scene):
    scene.add("train", "score")
    scene.event(EventKind.READY, 0, 0)
    scene.event(EventKind.STARTED, 1.0, 0)
    scene.event(EventKind.RETRYING, 2.0, 0, value=START_NS)
    scene.event(EventKind.READY, 2.0, 0)
    scene.event(EventKind.STARTED, 3.0, 0, attempt=2)
    lines = screen(scene, 7.5)
    (line,) = [line for line in lines if "▸" in line]
    assert line.split() == ["▸", "train", "4.50s", "attempt", "2"]
    assert lines[1] == "1 running · 0 ready · 1 waiting · 0 succeeded"


def test_the_head_has_the_name_the_count_and_the_time(rehearsal):
    head = screen(rehearsal, 4.2)[0]
    assert head.startswith("demo ━")
    assert head.endswith("5/5 4.20s")


def test_every_state_that_occurs_is_counted(rehearsal):
    assert screen(rehearsal, 4.2)[1] == ("0 running · 0 ready · 0 waiting · 3 succeeded · 1 failed · 1 not run")


def test_gauges_stand_against_the_limit_and_unknown_ones_do_not_appear(rehearsal):
    lines = screen(rehearsal, 4.2)
    (cpu,) = [line for line in lines if line.startswith("cpu")]
    assert cpu.endswith("1 of 3 cores (the machine has 4)")
    assert not any(line.startswith(("memory", "disk", "gpu")) for line in lines)


def test_only_the_longest_running_are_named(scene):
    scene.add(*(f"t{k}" for k in range(14)))
    for k in range(14):
        scene.event(EventKind.STARTED, 14 - k, k)
    lines = [line for line in screen(scene, 20) if line.startswith(("▸", "  and"))]
    assert lines[0].split() == ["▸", "t13", "19.0s"]
    assert lines[-1] == "  and 4 more"
    assert len(lines) == 11


def test_it_says_why_nothing_runs_after_a_moment_and_not_before(scene):
    scene.add("a")
    scene.event(EventKind.READY, 0, 0)
    scene.reason = "'a' is ready, but it asks for memory=2GiB and 1GiB is free."
    assert not any("nothing runs" in line for line in screen(scene, 1.0, 1.3))
    assert "nothing runs: 'a' is ready, but it asks for memory=2GiB and 1GiB is free." in screen(scene, 1.0, 1.6)


def test_it_does_not_ask_why_while_something_runs(scene):
    scene.add("a", "b")
    scene.event(EventKind.READY, 0, 0)
    scene.event(EventKind.STARTED, 0, 1)
    assert not any("nothing runs" in line for line in screen(scene, 1.0, 9.0))


def test_a_pause_is_said_at_once(scene):
    scene.add("a")
    scene.event(EventKind.PAUSED, 0)
    assert "paused: nothing starts until the run is resumed" in screen(scene, 0.0)


def test_a_name_with_markup_in_it_is_shown_as_it_is(scene):
    scene.add("[bold]x[/bold]")
    scene.event(EventKind.STARTED, 0, 0)
    assert any("▸ [bold]x[/bold]" in line for line in screen(scene, 1.0))


def test_before_the_first_event_there_is_a_picture_too(new_scene):
    assert screen(new_scene(), 0.0)[1] == "0 running · 0 ready · 0 waiting · 0 succeeded"

import io

from rich.console import Console

from penstock.observe.events import EventKind
from penstock.observe.live import LiveDisplay
from penstock.resources import RESOURCES

START_NS = 5_000_000_000


def screen(scene, *times, rows=None, width=100):
    """What the display shows at the last of the given seconds, having been drawn at each."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = LiveDisplay(scene, console.file, console=console)
    display._timeline.update(scene.rows() if rows is None else rows)
    for second in times:
        frame = display.frame(START_NS + round(second * 1e9))
    display.close()
    out = Console(file=io.StringIO(), width=width, color_system=None)
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


def test_after_ctrl_c_it_counts_down_to_the_kill_and_says_what_another_one_does(scene):
    scene.add("a", "b")
    scene.event(EventKind.STARTED, 0, 0)
    scene.event(EventKind.INTERRUPTED, 1.0, worker=1, value=10_000_000_000)
    said = "interrupted: nothing more starts; 1 running task may end within {} s, Ctrl-C again kills it"
    assert said.format(10) in screen(scene, 1.0)
    assert said.format(3) in screen(scene, 8.5)
    scene.event(EventKind.INTERRUPTED, 8.6, worker=1, value=0)
    assert "interrupted: killing 1 running task" in screen(scene, 8.6)


def test_what_the_rest_of_the_machine_leaves_to_tasks_is_shown_where_it_is_less(scene):
    scene.event(EventKind.GAUGE, 1.0, worker=0, value=2500)
    scene.event(EventKind.CAPACITY_CHANGED, 1.0, worker=0, value=2900, attempt=0)
    assert any(line.endswith("2.5 of 3 cores (the machine has 4)") for line in screen(scene, 1.0))
    scene.event(EventKind.CAPACITY_CHANGED, 2.0, worker=0, value=1200, attempt=0)
    assert any(line.endswith("2.5 of 3 cores, 1.2 for tasks (the machine has 4)") for line in screen(scene, 2.0))


def test_a_narrow_terminal_keeps_every_count_and_the_names_of_the_gauges(scene):
    scene.add("fine", "broken", "behind", "unwanted", "next")
    scene.limits["gpu_memory"] = 80 << 30
    for kind, task in (
        (EventKind.SUCCEEDED, 0),
        (EventKind.FAILED, 1),
        (EventKind.UPSTREAM_FAILED, 2),
        (EventKind.CANCELLED, 3),
    ):
        scene.event(kind, 1.0, task)
    scene.event(EventKind.GAUGE, 1.0, worker=0, value=1500)
    scene.event(EventKind.GAUGE, 1.0, worker=RESOURCES.index("gpu_memory"), value=12 << 30)
    lines = screen(scene, 1.0, width=40)
    assert max(map(len, lines)) <= 40
    counts = " ".join(lines[1:4])
    for count in ("1 waiting", "1 succeeded", "1 failed", "1 cancelled or skipped", "1 not run"):
        assert count in counts
    (cpu,) = [line for line in lines if line.startswith("cpu ")]
    (gpu,) = [line for line in lines if line.startswith("gpu memory ")]
    assert "1.5 of 3" in cpu
    assert "12.0GiB of 80" in gpu

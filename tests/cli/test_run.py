import json
import os
import pty
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(120)

GOOD = """
from penstock import Pipeline, task

@task
def load():
    print("hello from load")
    return 2

@task
def double(x):
    return 2 * x

with Pipeline("good") as p:
    double(load())
"""

BAD = """
from penstock import Pipeline, task

@task
def fine():
    return 1

@task
def broken(x):
    return inner(x)

def inner(x):
    return {}["missing"]

@task(executor="processes")
def broken_elsewhere(x):
    return inner(x)

@task
def after(x):
    return x

with Pipeline("bad") as p:
    after(broken(fine()))
    broken_elsewhere(1)
"""

SLOW = """
import time
from penstock import Pipeline, task

@task
def quick():
    return 1

@task(executor="processes")
def slow(x):
    time.sleep(600)

@task
def never(x):
    pass

with Pipeline("slow") as p:
    never(slow(quick()))
"""


def test_a_run_in_which_all_succeed_exits_with_0_and_shows_lines_and_the_table(penstock, folder):
    (folder / "good.py").write_text(GOOD)
    done = penstock("run", "good.py")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "good: 2 tasks" in done.stdout
    assert any("finished   double" in line for line in lines)
    assert [line.split()[:3] for line in lines if line.startswith(("load", "double"))] == [
        ["load", "succeeded", "1"], ["double", "succeeded", "1"],
    ]  # fmt: skip
    assert lines[-1].startswith("makespan ")
    assert "critical path" in lines[-1]
    assert "load -> double | 2 succeeded" in lines[-1]


def test_failed_tasks_are_listed_with_the_users_frames_only(penstock, folder):
    (folder / "bad.py").write_text(BAD)
    done = penstock("run", "bad.py", "--no-progress")
    assert done.returncode == 1
    table, thread_failure, process_failure = (
        done.stdout.partition("task 'broken' failed")[0],
        *done.stdout.partition("task 'broken' failed")[2].split("task 'broken_elsewhere' failed"),
    )
    assert "upstream failed" in table
    for failure in (thread_failure, process_failure):
        assert "in inner" in failure
        assert 'return {}["missing"]' in failure
        assert failure.rstrip().endswith("KeyError: 'missing'")
    assert "/penstock/" not in done.stdout.replace("/penstock/tests/", "")


def test_json_alone_is_on_stdout_and_what_tasks_print_goes_to_stderr(penstock, folder):
    (folder / "good.py").write_text(GOOD)
    done = penstock("run", "good.py", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert [(t["name"], t["state"], t["attempts"]) for t in report["tasks"]] == [
        ("load", "succeeded", 1), ("double", "succeeded", 1),
    ]  # fmt: skip
    assert report["totals"]["critical_path"] == ["load", "double"]
    assert done.stderr == "hello from load\n"


def test_json_of_a_failed_run_has_the_errors(penstock, folder):
    (folder / "bad.py").write_text(BAD)
    done = penstock("run", "bad.py", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert set(report["errors"]) == {"broken", "broken_elsewhere"}
    error = report["errors"]["broken"]
    assert (error["type"], error["message"], error["cause"]) == ("KeyError", "'missing'", "exception")


def test_json_with_progress_writes_the_lines_to_stderr(penstock, folder):
    (folder / "good.py").write_text(GOOD)
    done = penstock("run", "good.py", "--json", "--progress")
    assert json.loads(done.stdout)["ok"] is True
    assert "finished   double" in done.stderr


def test_a_trace_is_written(penstock, folder):
    (folder / "good.py").write_text(GOOD)
    assert penstock("run", "good.py", "--trace", "t.json").returncode == 0
    names = [r["name"] for r in json.loads((folder / "t.json").read_text()) if r["ph"] == "X"]
    assert names == ["load", "double"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "nowhere.py: there is no such file"),
        (["good.py:other"], "other"),
        (["good.py", "--policy", "hybird"], "Did you mean 'hybrid'?"),
        (["good.py", "--plan-budget", "-1"], "plan_budget=-1.0; allowed is a number of seconds from 0 up"),
        (["good.py", "--limits", "cpu=fast"], "cpu='fast'"),
        (["good.py", "--limits", "cpus=2"], "did you mean cpu='2'?"),
        (["good.py", "--trace", "no/such/t.json"], "trace='no/such/t.json' cannot be written"),
        (["broken.py"], "broken.py:1"),
        (["empty.py"], "empty.py"),
    ],
)
def test_a_users_mistake_exits_with_2_and_one_line(penstock, folder, arguments, message):
    (folder / "good.py").write_text(GOOD)
    (folder / "broken.py").write_text("def (:\n")
    (folder / "empty.py").write_text("x = 1\n")
    done = penstock("run", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("penstock: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'FILE[:NAME]'"),
        (["good.py", "--workers", "0"], "0 is not in the range x>=1"),
        (["good.py", "--limits", "cpu"], "'cpu' is no limit"),
        (["good.py", "--polcy", "fifo"], "No such option"),
    ],
)
def test_bad_usage_exits_with_2_and_says_what_is_wrong(penstock, arguments, message):
    done = penstock("run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_demand_that_can_never_be_met_is_a_mistake(penstock, folder):
    (folder / "good.py").write_text(GOOD.replace("@task\ndef load", "@task(memory='900TiB')\ndef load"))
    done = penstock("run", "good.py")
    assert done.returncode == 2
    assert done.stderr.startswith("penstock: task 'load' asks for memory=900TiB, but this machine has")


def test_a_demand_that_can_never_be_met_is_refused_before_anything_is_shown(penstock, folder):
    (folder / "huge.py").write_text(GOOD.replace("@task\ndef load", "@task(memory='900TiB')\ndef load"))
    done = penstock("run", "huge.py", "--progress")
    assert (done.returncode, done.stdout) == (2, "")


NOT_PICKLED = """
import threading
from penstock import Pipeline, task

@task
def lock():
    return threading.Lock()

@task(executor="processes")
def use(x):
    return x

@task(executor="processes")
def give():
    return threading.Lock()

@task(executor="processes")
def fine():
    return 1

with Pipeline("locks") as p:
    use(lock()); give(); fine()
"""


def test_what_cannot_be_pickled_fails_its_task_with_a_sentence_and_no_traceback(penstock, folder):
    (folder / "locks.py").write_text(NOT_PICKLED)
    done = penstock("run", "locks.py", "--no-progress")
    assert done.returncode == 1
    assert "task 'use': argument 1 ('x'), a _thread.lock, cannot be pickled" in done.stdout
    assert "task 'give': its result, a _thread.lock, cannot be pickled" in done.stdout
    assert "Traceback" not in done.stdout
    states = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("lock ", "fine "))]
    assert states == [["lock", "succeeded"], ["fine", "succeeded"]]


LEAVES = """
import sys
from penstock import Pipeline, task

@task
def in_a_thread():
    sys.exit(3)

@task(executor="processes")
def in_a_process():
    sys.exit(3)

@task
def fine():
    return 1

with Pipeline("leaves") as p:
    in_a_thread(); in_a_process(); fine()
"""


def test_sys_exit_in_a_task_fails_that_task_and_says_where_and_what_to_do(penstock, folder):
    (folder / "leaves.py").write_text(LEAVES)
    done = penstock("run", "leaves.py")
    assert done.returncode == 1
    for name in ("in_a_thread", "in_a_process"):
        failure = done.stdout.partition(f"task '{name}' failed\n")[2].partition("\n\n")[0].splitlines()
        assert any(f"in {name}" in line for line in failure)
        assert failure[-2:] == [
            "SystemExit: 3",
            "it called sys.exit(3); return from the task to succeed, raise an exception to fail",
        ]
    assert "2 failed" in done.stdout
    assert "1 succeeded" in done.stdout


def test_a_failed_command_is_told_in_one_line_while_it_runs_and_in_full_at_the_end(penstock, folder):
    (folder / "loud.yaml").write_text("tasks: {loud: {shell: 'echo first >&2; echo last >&2; exit 7'}}\n")
    done = penstock("run", "loud.yaml")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "FAILED" in line]
    assert line.endswith("CommandFailed: task 'loud' exited with code 7: last")
    assert done.stdout.endswith(
        "task 'loud' failed\n"
        "task 'loud' exited with code 7: last\n"
        "command: echo first >&2; echo last >&2; exit 7\n"
        "the end of its standard error:\n"
        "first\n"
        "last\n"
    )


def test_a_reader_that_takes_the_first_line_only_is_no_error_of_the_run(folder):
    # Silent tasks: one that prints to a reader who is gone gets an error of Python's, and it is the task's own.
    (folder / "good.py").write_text(GOOD.replace('    print("hello from load")\n', ""))
    with subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "good.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, "")


def read_until(stream, word):
    """Read lines until one holds the word; return them."""
    lines = []
    for line in stream:
        lines.append(line)
        if word in line:
            return "".join(lines)
    raise AssertionError(f"no {word!r} in {lines}")


def test_a_second_ctrl_c_kills_what_runs_and_keeps_what_has_finished(folder):
    (folder / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "slow.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with process.stdout as lines:
            read_until(lines, "started    slow")
            process.send_signal(signal.SIGINT)
            read_until(
                lines, "interrupted: nothing more starts; 1 running task may end within 10 s, Ctrl-C again kills"
            )
            read_until(lines, "cancelled  never")
            process.send_signal(signal.SIGINT)
            rest = lines.read()
        assert "interrupted: killing 1 running task" in rest
        assert process.wait(30) == 130
        assert "interrupted; what had finished by then is in the table" in process.stderr.read()
        states = {
            line.split()[0]: line.split()[1]
            for line in rest.splitlines()
            if line.startswith(("quick", "slow ", "never"))
        }
        assert states == {"quick": "succeeded", "slow": "cancelled", "never": "cancelled"}
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_in_a_terminal_the_run_is_shown_live_and_the_table_in_colour(folder):
    (folder / "good.py").write_text(GOOD)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "good.py"],
        cwd=folder,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "NO_COLOR": ""},
    )
    os.close(follower)
    parts = []
    try:
        while True:
            part = os.read(leader, 65536)
            if not part:
                break
            parts.append(part)
    except OSError:  # the terminal's other end is closed: the process has ended
        pass
    finally:
        os.close(leader)
    text = b"".join(parts).decode()
    assert process.wait(30) == 0, text
    assert "\x1b[?25l" in text  # the live display hides the cursor
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "hello from load" in text
    assert "makespan" in text
    assert "started    load" not in text


def test_a_run_ends_at_its_timeout_or_at_its_first_failure_when_told_to(penstock, folder):
    file = folder / "p.yaml"
    file.write_text("tasks:\n  a: {command: [sleep, '1000']}\n  b: {command: [echo, b], after: a}\n")
    ended = penstock("run", "p.yaml", "--timeout", "300ms", "--json")
    assert ended.returncode == 1, ended.stderr
    assert [task["cause"] for task in json.loads(ended.stdout)["tasks"]] == ["timeout", "cancelled"]
    file.write_text("tasks:\n  a: {command: [sleep, '1000']}\n  b: {command: ['false']}\n")
    ended = penstock("run", "p.yaml", "--on-failure", "stop", "--json")
    assert ended.returncode == 1, ended.stderr
    causes = {task["name"]: task["cause"] for task in json.loads(ended.stdout)["tasks"]}
    assert causes == {"a": "cancelled", "b": "exception"}

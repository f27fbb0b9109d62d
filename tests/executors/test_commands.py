"""Commands: what they write, how they fail, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import InternalError, TaskFailed
from penstock.executors import Launch
from penstock.executors.commands import Commands
from penstock.executors.failures import CommandFailed
from penstock.options import make_spec
from penstock.states import Cause

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def test_standard_output_is_the_result(commands: Any) -> None:
    report = commands.report(commands.command("printf", "a\\nb\\n"))
    assert report.value == "a\nb\n"
    assert report.error is None
    assert report.cause is Cause.NONE
    assert report.started_ns < report.finished_ns
    assert len(commands.reports) == 1


def test_output_that_is_no_utf8_is_replaced(commands: Any) -> None:
    assert commands.value(commands.command("printf", "a\\377b")) == "a\ufffdb"


def test_arguments_are_not_read_by_a_shell(commands: Any) -> None:
    assert commands.value(commands.command("echo", "$HOME; *")) == "$HOME; *\n"


def test_shell_line_is_read_by_a_shell(commands: Any) -> None:
    line = 'echo "$GREETING" | tr a-z A-Z'
    assert commands.value(commands.command(line, shell=True, env={"GREETING": "hello"})) == "HELLO\n"


def test_input_is_given_and_large_output_is_read_at_the_same_time(commands: Any) -> None:
    text = "".join(f"{number}\n" for number in range(300_000))
    assert commands.value(commands.command("cat", stdin=text)) == text
    assert commands.value(commands.command("wc", "-c", stdin=b"\0" * 5_000_000)).strip() == "5000000"


def test_input_that_is_not_read_is_no_failure(commands: Any) -> None:
    assert commands.value(commands.command("true", stdin="x" * 5_000_000)) == ""


def test_input_is_empty_when_none_is_given(commands: Any) -> None:
    assert commands.value(commands.command("cat")) == ""


def test_environment_and_working_directory_are_as_asked(commands: Any, tmp_path: Path) -> None:
    task = commands.command("echo $A $B; pwd", shell=True, env={"A": "1", "B": "2"}, cwd=str(tmp_path))
    assert commands.value(task) == f"1 2\n{tmp_path.resolve()}\n"


def test_exit_code_and_the_last_lines_of_standard_error_are_in_the_error(commands: Any) -> None:
    line = "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 3"
    report = commands.report(commands.command(line, shell=True, name="count"))
    error = report.error
    assert report.cause is Cause.EXCEPTION
    assert isinstance(error, CommandFailed)
    assert (error.exit_code, error.signal) == (3, None)
    assert error.stderr.splitlines() == [f"line {number}" for number in range(4980, 5000)]
    assert str(error).splitlines()[:4] == [
        "task 'count' exited with code 3: line 4999",
        f"command: {line}",
        "the end of its standard error:",
        "line 4980",
    ]


def test_signal_that_penstock_did_not_send_is_a_loss(commands: Any) -> None:
    report = commands.report(commands.command("kill -9 $$", shell=True))
    assert report.cause is Cause.LOST
    assert isinstance(report.error, CommandFailed)
    assert (report.error.exit_code, report.error.signal) == (None, 9)
    assert "was killed by signal 9 (SIGKILL), which penstock did not send" in str(report.error)


def test_shells_code_for_a_killed_program_is_explained(commands: Any) -> None:
    report = commands.report(commands.command("/bin/sh -c 'kill -9 $$'; exit $?", shell=True))
    assert report.cause is Cause.EXCEPTION
    assert "exited with code 137, as a shell does when signal 9 killed what it ran" in str(report.error)


def test_program_that_is_not_there_is_named(commands: Any) -> None:
    report = commands.report(commands.command("srot", "-n", name="sort"))
    assert report.cause is Cause.EXCEPTION
    said = "task 'sort' was not started: 'srot' was not found, there is no such program on the PATH; install it"
    assert str(report.error).startswith(said)
    assert str(report.error).endswith("command: srot -n")
    other = commands.error(commands.command("/no/such/program"))
    assert "'/no/such/program' was not found, there is no such file" in str(other)


def test_working_directory_that_is_not_there_is_named(commands: Any) -> None:
    error = commands.error(commands.command("true", cwd="/no/such/folder"))
    assert "its cwd '/no/such/folder' is no folder" in str(error)


def test_program_without_permission_and_without_interpreter_are_told_apart(commands: Any, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    assert "may not be run" in str(commands.error(commands.command(str(program))))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert "the interpreter that the first line of" in str(commands.error(commands.command(str(program))))


def test_argument_with_a_null_character_is_an_error(commands: Any) -> None:
    assert "embedded null" in str(commands.error(commands.command("echo", "a\0b")))


def test_cpu_time_is_measured_and_memory_is_known_or_unknown(commands: Any) -> None:
    burn = "import time\nheld = b'x' * (600 << 20)\nwhile time.process_time() < 0.3: pass"
    usage = commands.report(commands.command(sys.executable, "-S", "-c", burn)).usage
    assert 0.3 <= usage.cpu_s < 5
    assert usage.peak_memory is None or 600 << 20 < usage.peak_memory < 700 << 20
    # A small program's peak would be ours, since it began as a copy of this process.
    assert commands.report(commands.command("true")).usage.peak_memory is None


def test_memory_limit_makes_a_failure_of_cause_oom(commands: Any) -> None:
    take = "print(len(bytearray({} << 20)))"
    fits = commands.command(sys.executable, "-c", take.format(50), memory_limit=200 << 20)
    assert commands.value(fits) == f"{50 << 20}\n"
    report = commands.report(commands.command(sys.executable, "-c", take.format(300), memory_limit=200 << 20))
    assert report.cause is Cause.OOM
    assert "its memory_limit was 209715200 bytes" in str(report.error)


def test_killed_command_goes_with_its_whole_tree(drive: Any, gate: Any, gone: Any) -> None:
    commands = drive(Commands(grace_s=0.3))
    line = (
        "trap '' TERM; sleep 1000 & group=$!; setsid sleep 1000 & echo $$ $group $!"  # the last one is soon an orphan
    )
    task = commands.command(f"({line}) >{gate.exit}; sleep 1000", shell=True)
    pids = [int(word) for word in gate.line().split()]
    assert len(pids) == 3
    commands.executor.kill(task, 1)
    report = commands.report(task)
    assert report.cause is Cause.CANCELLED
    assert isinstance(report.error, TaskFailed)
    for pid in pids:
        gone(pid)
    assert len(commands.reports) == 1


def test_closing_within_a_time_does_not_wait_longer_for_one_that_will_not_go(drive: Any, gate: Any, gone: Any) -> None:
    commands = drive(Commands(grace_s=1000))
    task = commands.command(f"trap '' TERM; echo $$ >{gate.exit}; while :; do sleep 1000; done", shell=True)
    pid = int(gate.line())
    commands.executor.kill(task, 1)  # SIGTERM, which it does not heed
    commands.executor.close(kill=True, within_s=0)
    gone(pid)
    assert commands.report(task).cause is Cause.CANCELLED


def test_killed_command_may_clean_up_in_the_grace_time(commands: Any, gate: Any) -> None:
    task = commands.command(
        f"exec 9>{gate.exit}; trap 'echo cleaned >&9; exit' TERM; echo here >&9; sleep 1000 & wait", shell=True
    )
    assert gate.line() == "here"
    commands.executor.kill(task, 1)
    assert gate.line() == "cleaned"
    commands.report(task)


def test_what_a_command_leaves_in_its_group_is_ended_with_it(commands: Any, gone: Any) -> None:
    pid = commands.value(commands.command("sleep 1000 >/dev/null 2>&1 & echo $!", shell=True))
    gone(int(pid))


def test_writer_that_a_command_leaves_behind_may_finish(commands: Any, gate: Any) -> None:
    task = commands.command(f"(read go <{gate.entry}; echo later) & echo now", shell=True)
    gate.open()
    os.write(gate._writing, b"\n")
    assert commands.value(task) == "now\nlater\n"


def test_writer_that_does_not_finish_is_ended_after_the_grace_time(drive: Any, gone: Any) -> None:
    commands = drive(Commands(grace_s=0.3))
    began = time.monotonic()
    pid = commands.value(commands.command("sleep 1000 & echo $!", shell=True))
    assert 0.3 <= time.monotonic() - began < 30
    gone(int(pid))


def test_command_is_over_for_a_kill_while_a_writer_lingers(drive: Any, gate: Any, gone: Any) -> None:
    commands = drive(Commands(grace_s=600))
    task = commands.command(f"sleep 1000 & echo $$ $! >{gate.exit}", shell=True)
    leader, left = map(int, gate.line().split())
    gone(leader)
    commands.value(commands.command("true"))  # ended later, so the end of the leader has been seen too
    commands.executor.kill(task, 1)
    assert commands.report(task).cause is Cause.CANCELLED
    gone(left)


def test_fifty_commands_at_once_give_their_own_output(commands: Any) -> None:
    tasks = [commands.command("echo", number) for number in range(50)]
    assert [commands.value(task) for task in tasks] == [f"{number}\n" for number in range(50)]
    assert len(commands.reports) == 50


def test_close_waits_for_running_commands(commands: Any, gate: Any) -> None:
    task = commands.command(f"read go <{gate.entry}; echo done", shell=True)
    closing = threading.Thread(target=commands.executor.close, kwargs={"kill": False})
    closing.start()
    os.write(gate._writing, b"\n")
    closing.join(30)
    assert commands.value(task) == "done\n"


def test_close_with_kill_hurries_a_close_without(commands: Any, gate: Any) -> None:
    task = commands.command(f"echo here >{gate.exit}; sleep 1000", shell=True)
    gate.line()
    closing = threading.Thread(target=commands.executor.close, kwargs={"kill": False})
    closing.start()
    commands.executor.close(kill=True)
    closing.join(30)
    assert not closing.is_alive()
    assert commands.report(task).cause is Cause.CANCELLED


def test_exit_code_that_the_program_let_the_system_throw_away_is_unknown(commands: Any) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        report = commands.report(commands.command("true"))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert report.cause is Cause.LOST
    assert "its exit code is unknown" in str(report.error)
    assert report.usage.cpu_s is None


def test_launch_without_a_command_is_our_own_bug(commands: Any) -> None:
    spec = make_spec(len, "len", {})
    commands.executor.launch(Launch(7, 1, "len", len, ("abc",), {}, spec))
    assert isinstance(commands.error(7), InternalError)


def test_commands_do_not_outlive_a_killed_parent(script: Any, gone: Any, tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    program = script(f"""
driver = Driver(Commands())
driver.command("sleep 1000 & echo $$ $! >{told}; sleep 1000", shell=True)
threading.Event().wait()
""")
    pids = [int(word) for word in told.read_text().split()]
    assert len(pids) == 2
    program.kill()
    for pid in pids:
        gone(pid)


def test_program_that_ran_commands_ends_without_a_word_of_ours(script: Any) -> None:
    program = script("""
driver = Driver(Commands())
print(driver.value(driver.command("echo", "fine")), end="")
driver.executor.close(kill=False)
""")
    assert program.communicate(timeout=50) == ("fine\n", "")

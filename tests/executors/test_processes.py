"""Functions in worker processes: results, errors, workers that die, and what is measured."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import pytest

import penstock
from penstock.errors import InternalError, PenstockError, PickleError, TaskFailed
from penstock.executors.failures import RemoteTraceback
from penstock.executors.processes import Processes
from penstock.states import Cause

pytestmark = pytest.mark.timeout(60)


def double(x: Any) -> Any:
    return x * 2


def test_function_runs_in_another_process_and_returns_its_result(processes: Any) -> None:
    value, pid = processes.value(processes.launch(lambda x: (x + 1, os.getpid()), 41))
    assert value == 42
    assert pid != os.getpid()
    assert len(processes.reports) == 1


def test_keyword_arguments_reach_the_function(processes: Any) -> None:
    assert processes.value(processes.launch(lambda a, *, b: a - b, 5, b=3)) == 2


def test_two_hundred_tasks_run_in_two_workers(processes: Any) -> None:
    pids = set()
    pending: list[int] = []
    for number in range(200):
        pending.append(processes.launch(lambda n: (n * n, os.getpid()), number))
        if len(pending) == 2:  # never more than two at a time
            task = pending.pop(0)
            value, pid = processes.value(task)
            assert value == task * task
            pids.add(pid)
    processes.value(pending[0])
    assert len(pids) <= 2
    assert len(processes.reports) == 200


def test_fresh_worker_starts_when_all_are_busy_and_surplus_idle_ones_end(processes: Any, gate: Any) -> None:
    started = [processes.launch(_wait_for_file, gate.entry) for _ in range(4)]
    gate.open(4)
    pids = {processes.value(task) for task in started}
    assert len(pids) == 4
    kept = {processes.value(processes.launch(os.getpid)) for _ in range(8)}
    assert kept < pids
    assert len(kept) <= 2


def _wait_for_file(path: str) -> int:
    with open(path, "rb", buffering=0) as file:
        file.read(1)
    return os.getpid()


def test_big_arrays_arrive_whole_and_writable(processes: Any) -> None:
    array = np.arange(3_000_000, dtype=np.float64).reshape(1000, 3000)
    assert processes.value(processes.launch(_is_writable, array)) is True
    doubled = processes.value(processes.launch(double, array))
    assert np.array_equal(doubled, array * 2)
    doubled[0, 0] = 7.0


def _is_writable(array: np.ndarray[Any, Any]) -> bool:
    array[0, 0] = -1.0
    return bool(array.flags.writeable)


def test_error_comes_back_with_its_type_and_the_users_traceback(processes: Any) -> None:
    error = processes.error(processes.launch(_divide, 1, 0))
    assert type(error) is ZeroDivisionError
    assert isinstance(error.__cause__, RemoteTraceback)
    text = str(error.__cause__)
    assert "return a / b" in text
    assert "process_worker" not in text
    assert processes.reports[0].cause is Cause.EXCEPTION


def _divide(a: float, b: float) -> float:
    return a / b


def test_cause_of_an_error_is_in_its_traceback_text(processes: Any) -> None:
    error = processes.error(processes.launch(_chained))
    assert isinstance(error, LookupError)
    assert "ZeroDivisionError" in str(error.__cause__)
    assert "direct cause" in str(error.__cause__)


def _chained() -> NoReturn:
    try:
        _divide(1, 0)
    except ZeroDivisionError as error:
        raise LookupError("no quotient") from error
    raise AssertionError


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class Unloadable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("make", "said"),
    [(Unpicklable, "Unpicklable: holds a lock"), (lambda: Unloadable(1, 2), "Unloadable: 1 and 2")],
)
def test_error_that_cannot_travel_becomes_task_failed_with_its_text(processes: Any, make: Any, said: str) -> None:
    def fail() -> NoReturn:
        raise make()

    error = processes.error(processes.launch(fail))
    assert isinstance(error, TaskFailed)
    assert error.reason == said
    assert "raise make()" in str(error.__cause__)


def test_argument_that_cannot_be_pickled_is_named_and_disturbs_nobody(processes: Any) -> None:
    other = processes.launch(double, 4)
    error = processes.error(processes.launch(double, threading.Lock()))
    assert isinstance(error, PickleError)
    assert "task 'double': argument 1 ('x'), a _thread.lock, cannot be pickled" in str(error)
    assert "executor='threads'" in str(error)
    assert processes.value(other) == 8


def test_keyword_argument_that_cannot_be_pickled_is_named(processes: Any) -> None:
    error = processes.error(processes.launch(lambda a, b: a, 1, b=iter_forever(), name="take"))
    assert "task 'take': argument 'b', a generator, cannot be pickled" in str(error)


def iter_forever() -> Iterator[int]:
    while True:
        yield 1


def test_result_that_cannot_be_pickled_is_named_and_the_worker_lives_on(processes: Any) -> None:
    pid = processes.value(processes.launch(os.getpid))
    error = processes.error(processes.launch(threading.Lock, name="make_lock"))
    assert isinstance(error, PickleError)
    assert "task 'make_lock': its result, a _thread.lock, cannot be pickled" in str(error)
    assert processes.value(processes.launch(os.getpid)) == pid


def test_function_that_cannot_be_pickled_is_said(processes: Any) -> None:
    lock = threading.Lock()
    error = processes.error(processes.launch(lambda: lock, name="locked"))
    assert isinstance(error, PickleError)
    assert "task 'locked': its function cannot be pickled" in str(error)


@pytest.mark.parametrize(("code", "said"), [(3, "sys.exit(3)"), (None, "sys.exit()"), (0, "sys.exit(0)")])
def test_sys_exit_is_a_failure_and_the_worker_lives_on(processes: Any, code: int | None, said: str) -> None:
    pid = processes.value(processes.launch(os.getpid))
    report = processes.report(processes.launch(sys.exit, code, name="leave"))
    assert report.cause is Cause.EXCEPTION
    assert isinstance(report.error, TaskFailed)
    assert f"it called {said}; return from the task to succeed" in str(report.error)
    assert processes.value(processes.launch(os.getpid)) == pid


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault() -> None:
    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("die", "said"),
    [
        (lambda: os._exit(7), "its process exited with code 7 before the task returned"),
        (lambda: os._exit(0), "its process exited with code 0 before the task returned"),
        (_kill_self, "its process was killed by signal 9 (SIGKILL), which penstock did not send"),
        (_segfault, "its process was killed by signal 11 (SIGSEGV), a crash in native code"),
    ],
    ids=["os._exit(7)", "os._exit(0)", "kill -9", "segfault"],
)
def test_dead_process_is_its_own_tasks_loss_only(processes: Any, gate: Any, die: Any, said: str) -> None:
    other = processes.launch(_wait_for_file, gate.entry)
    report = processes.report(processes.launch(die, name="die"))
    gate.open()
    assert report.cause is Cause.LOST
    assert isinstance(report.error, TaskFailed)
    assert said in str(report.error)
    assert processes.value(other) > 0
    assert processes.value(processes.launch(double, 2)) == 4
    assert len(processes.reports) == 3


def test_idle_worker_that_was_killed_is_replaced_without_a_failure(processes: Any, gone: Any) -> None:
    for _ in range(5):
        pid = processes.value(processes.launch(os.getpid))
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        assert processes.value(processes.launch(os.getpid)) != pid


def test_task_that_closes_its_workers_connection_is_lost(processes: Any) -> None:
    report = processes.report(processes.launch(_close_everything_and_wait))
    assert report.cause is Cause.LOST
    assert processes.value(processes.launch(double, 2)) == 4


def _close_everything_and_wait() -> None:
    os.closerange(3, 64)
    signal.pause()


def test_forked_child_that_returns_from_the_task_sends_no_second_reply(processes: Any) -> None:
    def fork() -> str:
        return "parent" if os.fork() else "child"

    assert processes.value(processes.launch(fork)) == "parent"
    assert processes.value(processes.launch(double, 2)) == 4
    assert len(processes.reports) == 2


def test_environment_is_there_before_anything_is_imported(processes: Any) -> None:
    def threads() -> tuple[str | None, int]:
        return os.environ.get("OMP_NUM_THREADS"), os.getpid()

    one = processes.value(processes.launch(threads, env={"OMP_NUM_THREADS": "1"}))
    two = processes.value(processes.launch(threads, env={"OMP_NUM_THREADS": "2"}))
    again = processes.value(processes.launch(threads, env={"OMP_NUM_THREADS": "1"}))
    assert (one[0], two[0]) == ("1", "2")
    assert one[1] != two[1]
    assert again == one


def test_working_directory_is_restored_between_tasks(processes: Any, tmp_path: Any) -> None:
    processes.value(processes.launch(os.chdir, str(tmp_path)))
    assert processes.value(processes.launch(os.getcwd)) == os.getcwd()


def test_current_tells_name_and_attempt_and_refuses_submit_and_skip(processes: Any) -> None:
    def ask() -> tuple[str, int, str, str]:
        with pytest.raises(PenstockError) as submitting:
            penstock.current().submit(double, 1)
        with pytest.raises(PenstockError) as skipping:
            penstock.skip()
        return penstock.current().name, penstock.current().attempt, str(submitting.value), str(skipping.value)

    name, attempt, submitting, skipping = processes.value(processes.launch(ask, name="ask", attempt=3))
    assert (name, attempt) == ("ask", 3)
    assert "Return the call" in submitting
    assert "executor='threads'" in skipping


def test_calls_that_a_task_returns_arrive_as_calls(processes: Any) -> None:
    def more() -> Any:
        return [penstock.task(double)(n) for n in range(3)]

    calls = processes.value(processes.launch(more))
    assert [type(call) for call in calls] == [penstock.Call] * 3
    assert [call.args for call in calls] == [(0,), (1,), (2,)]


def test_printed_text_passes_through(script: Any) -> None:
    program = script("""
def speak():
    import sys
    print("to stdout")
    print("to stderr", file=sys.stderr)
driver = Driver(Processes())
driver.value(driver.launch(speak))
driver.executor.close(kill=False)
""")
    assert program.communicate(timeout=50) == ("to stdout\n", "to stderr\n")


def test_cpu_time_and_peak_memory_are_those_of_the_attempt(processes: Any) -> None:
    def burn(megabytes: int, seconds: float) -> None:
        held = bytearray(megabytes << 20)
        held[::4096] = bytes(len(held[::4096])).replace(b"\0", b"x")
        began = time.process_time()
        while time.process_time() - began < seconds:
            pass

    big = processes.report(processes.launch(burn, 200, 0.2)).usage
    small = processes.report(processes.launch(burn, 1, 0.0)).usage
    assert 0.2 <= big.cpu_s < 2
    assert small.cpu_s < 0.15
    assert 200 << 20 < big.peak_memory < 400 << 20
    if getattr(sys, "_is_gil_enabled", lambda: True)():  # else the interpreter gives freed memory back late
        assert small.peak_memory < 120 << 20


def test_cpu_time_of_a_tasks_own_children_counts(processes: Any) -> None:
    def outside() -> None:
        subprocess.run([sys.executable, "-S", "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)

    assert processes.report(processes.launch(outside)).usage.cpu_s >= 0.3


def test_times_are_around_the_function_and_in_order(processes: Any) -> None:
    before = time.monotonic_ns()
    report = processes.report(processes.launch(double, 1))
    assert before < report.started_ns <= report.finished_ns < time.monotonic_ns()


def test_closing_within_a_time_does_not_wait_longer_for_one_that_will_not_go(drive: Any, gate: Any, gone: Any) -> None:
    def stay(path: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(path, "w") as file:
            file.write(f"{os.getpid()}\n")
        while True:
            time.sleep(1000)

    processes = drive(Processes(grace_s=1000))
    task = processes.launch(stay, str(gate.exit))
    pid = int(gate.line())
    processes.executor.kill(task, 1)
    processes.executor.close(kill=True, within_s=0)
    gone(pid)
    assert processes.report(task).cause is Cause.CANCELLED


class Slow:
    """Takes a while to be made again, as a library takes to be imported."""

    def __reduce__(self) -> tuple[Any, ...]:
        return time.sleep, (0.2,)


def test_making_the_arguments_again_counts_as_run_time_as_it_does_as_cpu_time(processes: Any) -> None:
    report = processes.report(processes.launch(type, Slow()))
    assert report.finished_ns - report.started_ns >= 200_000_000


def test_memory_limit_makes_a_memory_error_of_cause_oom_and_ends_with_the_task(processes: Any) -> None:
    def take(megabytes: int) -> int:
        return int(np.ones(megabytes << 17).nbytes)

    assert processes.value(processes.launch(take, 50, memory_limit=300 << 20)) == 50 << 20
    report = processes.report(processes.launch(take, 400, memory_limit=300 << 20))
    assert report.cause is Cause.OOM
    assert isinstance(report.error, MemoryError)
    assert "task 'take' needed more than its memory_limit of 314572800 bytes" in str(report.error)
    assert processes.value(processes.launch(take, 400)) == 400 << 20


def test_memory_error_without_a_limit_is_of_cause_oom_too(processes: Any) -> None:
    report = processes.report(processes.launch(lambda: bytearray(1 << 60)))
    assert report.cause is Cause.OOM


def test_interrupt_is_not_heard_by_workers_but_by_programs_they_start(processes: Any) -> None:
    def interrupt() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return subprocess.run(["/bin/sh", "-c", "kill -INT $$; echo not reached"], check=False).returncode

    assert processes.value(processes.launch(interrupt)) == -signal.SIGINT


def test_close_lets_running_tasks_finish(processes: Any, gate: Any) -> None:
    task = processes.launch(_wait_for_file, gate.entry)
    closing = threading.Thread(target=processes.executor.close, kwargs={"kill": False})
    closing.start()
    gate.open()
    closing.join(30)
    assert processes.value(task) > 0


def test_close_with_kill_ends_what_runs(processes: Any, gate: Any) -> None:
    task = processes.launch(_tell_and_wait, gate.exit)
    pid = int(gate.line())
    processes.executor.close(kill=True)
    assert processes.report(task).cause is Cause.CANCELLED
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _tell_and_wait(path: str) -> None:
    with open(path, "w") as file:
        file.write(f"{os.getpid()}\n")
    signal.pause()


def test_launch_after_close_is_refused(processes: Any) -> None:
    processes.executor.close(kill=False)
    with pytest.raises(InternalError, match="'double' was launched while its executor was not running"):
        processes.launch(double, 1)
    assert processes.reports == []


def test_receiver_that_raises_is_logged_and_the_executor_goes_on(processes: Any, caplog: Any) -> None:
    came = threading.Event()

    def broken(report: Any) -> None:
        came.set()
        raise ZeroDivisionError

    take, processes.executor._report = processes.executor._report, broken
    processes.launch(double, 1)
    assert came.wait(30)
    processes.executor._report = take
    assert processes.value(processes.launch(double, 2)) == 4
    assert "the report of an attempt was not taken" in caplog.text


class Exits:
    """Calls sys.exit() when it is pickled, or when it is made again in the process with the given id."""

    def __init__(self, unpickled_in: int | None = None) -> None:
        self.unpickled_in = unpickled_in

    def __reduce__(self) -> Any:
        if self.unpickled_in is None:
            sys.exit("in __reduce__")
        return _made_in, (self.unpickled_in,)


def _made_in(pid: int) -> None:
    if os.getpid() == pid:
        sys.exit("when made again")


def test_sys_exit_while_arguments_are_pickled_is_the_tasks_failure(processes: Any) -> None:
    error = processes.error(processes.launch(double, Exits()))
    assert isinstance(error, PickleError)
    assert "argument 1 ('x'), a tests.executors.test_processes.Exits, cannot be pickled: in __reduce__." in str(error)
    assert processes.value(processes.launch(double, 4)) == 8


def test_sys_exit_while_a_result_is_pickled_is_the_tasks_failure(processes: Any) -> None:
    error = processes.error(processes.launch(lambda: Exits()))
    assert isinstance(error, PickleError)
    assert "cannot be pickled: in __reduce__." in str(error)
    assert processes.value(processes.launch(double, 4)) == 8


def test_sys_exit_while_a_result_is_made_again_is_the_tasks_failure(processes: Any) -> None:
    error = processes.error(processes.launch(Exits, os.getpid()))
    assert isinstance(error, PickleError)
    assert "cannot be made again here: when made again." in str(error)
    assert processes.value(processes.launch(double, 4)) == 8


def test_current_is_the_workers_own_though_a_task_imports_the_runtime(processes: Any) -> None:
    def ask() -> str:
        import penstock.runtime

        return penstock.current().name

    assert processes.value(processes.launch(ask))


def test_a_task_that_closes_its_output_does_not_take_it_from_the_next_one(processes: Any) -> None:
    def close() -> int:
        for fd in range(3):
            os.close(fd)
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
        return os.getpid()

    def look() -> tuple[int, bool]:
        for fd in range(3):
            os.fstat(fd)
        return os.getpid(), sys.stdout is not None

    pid = processes.value(processes.launch(close))
    assert processes.value(processes.launch(look)) == (pid, True)

"""What a run costs while it waits for one long task: processor time and wake-ups of every thread."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measures import PENSTOCK, Absent, Case, Figures, Measure, need, require
from benchmarks.rivals import distributed_client
from benchmarks.work import WORKERS, count, one
from penstock.runtime import Runtime
from penstock.task import task

__all__ = ["CASE", "PROBING"]

FULL_S = 20
TASKS = Path("/proc/self/task")
PROBING = "penstock, a task waiting for memory"


def penstock_runtime(scale: float) -> dict[str, Figures]:
    """One long task, and nothing that waits for room on the machine."""
    gate = threading.Event()
    with Runtime(workers=WORKERS) as runtime:
        runtime.submit(one).result()
        future = runtime.submit(gate.wait)
        figures = _watched(scale)
        gate.set()
        future.result()
    return {PENSTOCK: figures}


def penstock_probing(scale: float) -> dict[str, Figures]:
    """The same while a second task waits for memory that the first one holds, which keeps the probes on."""
    gate = threading.Event()
    most = round(0.6 * psutil.virtual_memory().available)  # room for one, not for two
    hold = task(memory=most)(gate.wait)
    with Runtime(workers=WORKERS) as runtime:
        futures = [runtime.submit(hold) for _ in range(2)]
        figures = _watched(scale)
        states = {future.running() for future in futures}
        gate.set()
        require("whether each of the two runs", states, {True, False})
        for future in futures:
            future.result()
    return {PROBING: figures}


def thread_pool(scale: float) -> dict[str, Figures]:
    gate = threading.Event()
    with ThreadPoolExecutor(WORKERS) as pool:
        pool.submit(one).result()
        future = pool.submit(gate.wait)
        figures = _watched(scale)
        gate.set()
        future.result()
    return {"ThreadPoolExecutor(2)": figures}


def dask_threaded(scale: float) -> dict[str, Figures]:
    threaded, spec = need("dask.threaded"), need("dask._task_spec")
    gate = threading.Event()
    tasks = {0: spec.Task(0, gate.wait)}
    caller = threading.Thread(target=threaded.get, args=(tasks, 0))
    caller.start()
    figures = _watched(scale)
    gate.set()
    caller.join()
    return {"dask.threaded": figures}


def distributed_side(scale: float) -> dict[str, Figures]:
    client: Any = distributed_client()
    gate = threading.Event()
    GATES.append(gate)  # an event cannot be sent to a worker, not even to one in this process
    future = client.submit(_wait_at_gate, pure=False)
    figures = _watched(scale)
    gate.set()
    future.result()
    return {"distributed, in-process": figures}


GATES: list[threading.Event] = []


def _wait_at_gate() -> None:
    GATES[0].wait()


def _watched(scale: float) -> Figures:
    """Sleep, then say what this process used meanwhile; the sleeper's own one wake-up is left out."""
    time.sleep(1)  # the run comes to rest
    seconds = count(FULL_S, scale, least=2)
    switches: Callable[[], Counter[str]] = _switches
    before, cpu = switches(), _cpu_s()
    time.sleep(seconds)
    used = _cpu_s() - cpu
    woken = switches()
    woken.subtract(before)
    woken[_name(threading.get_native_id())] -= 1
    by_thread = {name: n for name, n in woken.items() if n > 0}
    return {"watched_s": seconds, "cpu_s": used, "switches": sum(by_thread.values()), "switches_by_thread": by_thread}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _switches() -> Counter[str]:
    """Context switches so far, voluntary or not, by the thread's name."""
    found: Counter[str] = Counter()
    if not TASKS.is_dir():
        raise Absent(f"wake-ups are not measured: there is no {TASKS}")
    for thread in TASKS.iterdir():
        for line in (thread / "status").read_text().splitlines():
            field, _, value = line.partition(":")
            if field.endswith("voluntary_ctxt_switches"):
                found[_name(int(thread.name))] += int(value)
    return found


def _name(native_id: int) -> str:
    for thread in threading.enumerate():
        if thread.native_id == native_id:
            return thread.name
    return (TASKS / str(native_id) / "comm").read_text().strip()


CASE = Case(
    "idle",
    "A run that waits for one long task: processor time and wake-ups of all its threads",
    "second",
    (
        Measure((PENSTOCK,), penstock_runtime, once=True),
        Measure((PROBING,), penstock_probing, once=True),
        Measure(("ThreadPoolExecutor(2)",), thread_pool, once=True),
        Measure(("dask.threaded",), dask_threaded, once=True),
        Measure(("distributed, in-process",), distributed_side, once=True),
    ),
    note="penstock-sampler is the thread of the probes, which sample twice a second while they are on. Wake-ups are context"
    " switches, voluntary or not.",
)

"""Urgent tasks among many: how long one waits from its submission until it starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from benchmarks.measures import Figures, require
from benchmarks.utilisation.jobs import percentile
from benchmarks.utilisation.sides import CORES, POOL, prepare
from penstock import Runtime, task

__all__ = ["NOTE", "run"]

BACKGROUND, ENOUGH, EVERY_S = 100_000, 400, 0.002
NOTE = (
    f"{BACKGROUND:,} tasks that do nothing are queued, then let go; from then on an urgent one is submitted every "
    f"{1000 * EVERY_S:g} ms until the others have ended; again and again, until there were {ENOUGH} urgent ones. All are on threads, as many as there are cores; a pool knows "
    "no priorities. penstock's samples change nothing here, and the two sides differ by chance."
)


def nothing() -> None:
    pass


def run(side: str, scale: float) -> Figures:
    prepare(side)
    background = max(2000, round(BACKGROUND * scale))
    one_round = _pool if side == POOL else _penstock
    waits: list[float] = []
    while len(waits) < ENOUGH * max(scale, 0.25):
        waits += one_round(background)
    return {
        "p50_ms": 1000 * percentile(waits, 0.5),
        "p99_ms": 1000 * percentile(waits, 0.99),
        "worst_ms": 1000 * max(waits),
        "urgent": len(waits),
        "background": background,
    }


def _penstock(background: int) -> list[float]:
    waits: list[float] = []

    def urgent(submitted: float) -> None:
        waits.append(time.perf_counter() - submitted)

    with Runtime(workers=CORES) as runtime:
        at_once = task(priority=0)(urgent)
        runtime.pause()
        batch = runtime.submit_many(nothing, count=background, priority=100.0)
        runtime.resume()
        futures = [runtime.submit(at_once, time.perf_counter())]
        _while_busy(lambda: batch.wait(0), lambda: futures.append(runtime.submit(at_once, time.perf_counter())))
        for future in futures:
            future.result()
    require("urgent tasks that ran", len(waits), len(futures))
    return waits


def _pool(background: int) -> list[float]:
    waits: list[float] = []

    def urgent(submitted: float) -> None:
        waits.append(time.perf_counter() - submitted)

    with ThreadPoolExecutor(CORES) as pool:
        gate = threading.Event()
        for _ in range(CORES):
            pool.submit(gate.wait)
        queued = [pool.submit(nothing) for _ in range(background)]
        gate.set()
        futures = [pool.submit(urgent, time.perf_counter())]
        _while_busy(queued[-1].done, lambda: futures.append(pool.submit(urgent, time.perf_counter())))
        wait(futures)
    require("urgent tasks that ran", len(waits), len(futures))
    return waits


def _while_busy(idle: Callable[[], bool], submit: Callable[[], object]) -> None:
    while not idle():
        time.sleep(EVERY_S)
        submit()

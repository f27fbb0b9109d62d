"""Many small tasks through one `Runtime`, for a long time: does it stay as quick and as small as it was?

As a program: `python -m tests.chaos.soak --tasks 10000000` or `--seconds 300`; prints a line every so many tasks, and the
figures at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil

from penstock import Runtime

__all__ = ["Soak", "soak"]

AT_ONCE = 1000
"""Tasks that are submitted before their results are asked for."""


@dataclass(frozen=True, slots=True)
class Soak:
    """What a soak found.

    Attributes:
        tasks: how many ran.
        seconds: how long it took.
        latencies_us: of single tasks, one in every thousand, from submission to result; shape (n,), microseconds, in order.
        memory: (tasks so far, resident bytes), in order.
    """

    tasks: int
    seconds: float
    latencies_us: np.ndarray[tuple[int], np.dtype[np.float64]]
    memory: list[tuple[int, int]]

    def growth(self, warm: float = 0.1) -> float:
        """Return the bytes that each task adds, after the first share `warm` of the tasks: the slope of a straight line."""
        points = np.array([point for point in self.memory if point[0] >= warm * self.tasks], dtype=float)
        return float(np.polyfit(points[:, 0], points[:, 1], 1)[0]) if len(points) > 1 else 0.0

    def tenth(self, which: int, share: float) -> float:
        """Return a quantile of the latencies in one tenth of the run (0 is the first), in microseconds."""
        part = np.array_split(self.latencies_us, 10)[which]
        return float(np.quantile(part, share))

    def __str__(self) -> str:
        first, last = self.memory[0][1] / 2**20, self.memory[-1][1] / 2**20
        return (
            f"{self.tasks:,} tasks in {self.seconds:.0f} s, {self.tasks / self.seconds:,.0f}/s; "
            f"memory {first:.0f} MiB at first, {last:.0f} MiB at last, {self.growth():.1f} bytes a task; "
            f"latency p50 {self.tenth(1, 0.5):.0f} us in the second tenth, {self.tenth(9, 0.5):.0f} us in the last; "
            f"p99 {self.tenth(1, 0.99):.0f} us and {self.tenth(9, 0.99):.0f} us"
        )


def _small(number: int) -> int:
    return number


def soak(going: Callable[[int], bool], tell: Callable[[str], object] = lambda _: None) -> Soak:
    """Run small tasks through one runtime as long as `going(tasks so far)`."""
    process, latencies, memory = psutil.Process(), [], []
    begun, done = time.monotonic(), 0
    with Runtime(workers=2) as runtime:
        while going(done):
            futures = [runtime.submit(_small, number) for number in range(AT_ONCE - 1)]
            assert [future.result() for future in futures] == list(range(AT_ONCE - 1))
            del futures
            asked = time.perf_counter()
            assert runtime.submit(_small, -1).result() == -1
            latencies.append((time.perf_counter() - asked) * 1e6)
            done += AT_ONCE
            if done % 50_000 == 0 or done == AT_ONCE:
                memory.append((done, process.memory_info().rss))
            if done % 1_000_000 == 0:
                tell(f"{done:,} tasks, {memory[-1][1] / 2**20:.0f} MiB, {time.monotonic() - begun:.0f} s")
    return Soak(done, time.monotonic() - begun, np.array(latencies), memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    found = soak(lambda done: done < options.tasks and time.monotonic() < end, lambda line: print(line, flush=True))
    print(found)
    sys.exit(0)


if __name__ == "__main__":
    main()

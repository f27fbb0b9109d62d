"""What an attempt of a function will need, learned from those that have been measured.

A task that says nothing of its memory is not taken to need none. Until one attempt of its function has been measured, it
counts as a core's share of the memory that there is: so unknown tasks fill the cores, and together never promise more
memory than the machine has. Running them one at a time would be safer by little, since use is measured twice a second and
counts as soon as it exceeds the guess, and would leave a machine idle for as long as the first one runs. From then on the
guess is a high quantile of the measured peaks with a margin that shrinks as they become many.
"""

from __future__ import annotations

from collections import deque

from penstock.admit.quantile import quantile

__all__ = ["Learned", "first_guess"]

REMEMBERED = 64
"""Attempts of one function that are looked back on."""

MEMORY_SHARE = 0.95
CPU_SHARE = 0.5
"""Of memory nearly all attempts must be covered; a core too few only makes an attempt slower."""

LEAST_RUN_S = 0.2
"""Of a shorter attempt the CPU time says little about how many cores it keeps busy."""


def first_guess(memory: int, cpu_limit: int, cpu: int) -> int:
    """Return the bytes that an attempt of an unknown function counts as.

    Args:
        memory: bytes that all tasks together may hold.
        cpu_limit: thousandths of a core that all tasks together may use, > 0.
        cpu: thousandths of a core that this one asks for.
    """
    return memory * min(cpu, cpu_limit) // cpu_limit


class Learned:
    """What is known of one function. Bounded in size; the latest attempts count."""

    __slots__ = ("_cores", "_peaks")

    def __init__(self) -> None:
        self._peaks: deque[int] = deque(maxlen=REMEMBERED)
        self._cores: deque[int] = deque(maxlen=REMEMBERED)

    def add(self, *, peak_memory: int | None, cpu_s: float | None, run_s: float) -> None:
        """Note one attempt that has ended; what is unknown of it teaches nothing.

        Args:
            peak_memory: bytes.
            cpu_s: CPU seconds.
            run_s: seconds that it ran.
        """
        if peak_memory is not None:
            self._peaks.append(peak_memory)
        if cpu_s is not None and run_s >= LEAST_RUN_S:
            self._cores.append(round(1000 * cpu_s / run_s))

    def memory(self) -> int | None:
        """Return the bytes that the next attempt is expected to need, or None: nothing was measured yet."""
        if not self._peaks:
            return None
        return int(quantile(self._peaks, MEMORY_SHARE) * (1 + 1 / (1 + len(self._peaks))))

    def cpu(self) -> int | None:
        """Return the thousandths of a core that the next attempt is expected to keep busy, or None."""
        return quantile(self._cores, CPU_SHARE) if self._cores else None

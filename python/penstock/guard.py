"""The memory guard: what it decides, and the thread that looks often enough to decide in time.

Demands are plans, and a plan may be wrong. So while attempts run in processes and commands the guard looks at the memory
that is in use: near the limit nothing new starts, and past it one attempt at a time is stopped and put back, before the
kernel's out-of-memory killer stops one of its own choice.

Invariants, each with a test in tests/test_guard.py:
    G1  The guard closes at NEAR of the limit, or under memory pressure, and opens only below FAR of it, without pressure.
    G2  Past the limit the least urgent attempt is stopped, of those the youngest; one that holds next to nothing is passed over.
    G3  One that was told to end is waited for: no second attempt is stopped for the same bytes.
    G4  The last attempt that runs is stopped only when it is past its own demand: else stopping it helps none of ours.
    G5  What is unknown closes nothing and stops nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.probes.memory import MemoryProbe
from penstock.probes.pressure import PressureProbe
from penstock.probes.tree import ProcessTree

if TYPE_CHECKING:
    from penstock.probes.machine import Machine

__all__ = ["GROWN", "Candidate", "Guard", "GuardRules", "raised"]

NEAR, FAR = 0.95, 0.90
"""The guard closes at this share of the limit, and opens again below that one."""

PRESSED, RELIEVED = 200, 50
"""It also closes when tasks stood still for want of memory in so many thousandths of the time, and opens below that."""

GROWN = 1.05
"""An attempt is past its demand when it uses more than so many times that."""

LIGHT = 0.1
"""An attempt that uses less than this share of the heaviest one's is not worth stopping."""

MARGIN = 1.5
"""Another attempt asks for so much more than the last one was seen to use: it was stopped before it was done."""

PERIOD_S, QUICK_S = 0.25, 0.05
"""Between two looks; the second from QUICK_FROM of the limit on. At 0.05 s, 1 GB/s of growth is 50 MB past the limit."""

QUICK_FROM = 0.6

PATIENCE_NS = 2_000_000_000
"""How long an attempt that was told to end is waited for before another is."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One attempt that could be stopped.

    Attributes:
        task, attempt: which one.
        priority: of its task; a smaller number is more urgent.
        started_ns: when it began.
        demand: bytes that it asked for; 0: it said nothing.
        pid: root of its process tree.
        limit: bytes that its whole tree may use (`memory_limit=`), or None.
        used: bytes that its tree uses.
    """

    task: int
    attempt: int
    priority: float
    started_ns: int
    demand: int
    pid: int
    limit: int | None = None
    used: int = 0

    @property
    def key(self) -> tuple[int, int]:
        return self.task, self.attempt

    @property
    def has_grown(self) -> bool:
        """Whether it uses more than it asked for."""
        return self.used > GROWN * self.demand


class GuardRules:
    """What to do at each look. Pure: no clock, no I/O."""

    def __init__(self) -> None:
        self.closed = False
        self._ending: tuple[int, int] | None = None
        self._since_ns = 0

    def gate(self, used: int | None, limit: int | None, pressure: int | None) -> bool:
        """Return whether nothing may start while an attempt runs.

        Args:
            used: bytes in use by everyone; None: unknown.
            limit: bytes that may be; None: no limit.
            pressure: thousandths of the time in which some task stood still for want of memory; None: unknown.
        """
        near = used is not None and limit is not None and used >= (FAR if self.closed else NEAR) * limit
        pressed = pressure is not None and pressure >= (RELIEVED if self.closed else PRESSED)
        self.closed = near or pressed
        return self.closed

    def victim(
        self, used: int | None, limit: int | None, running: Sequence[Candidate], alone: bool, now_ns: int
    ) -> Candidate | None:
        """Return the attempt to stop now, or None.

        Args:
            used, limit: as for `gate`.
            running: the attempts that can be stopped, with what they use.
            alone: nothing else of ours runs beside the first of `running`.
            now_ns: the instant.
        """
        keys = {one.key for one in running}
        if self._ending in keys and now_ns - self._since_ns < PATIENCE_NS:
            return None
        self._ending = None
        over = [one for one in running if one.limit is not None and one.used > one.limit]
        if over:
            chosen: Candidate | None = over[0]
        elif used is None or limit is None or used <= limit or not running:
            return None
        elif alone:
            chosen = running[0] if running[0].has_grown else None
        else:
            heaviest = max(one.used for one in running)
            worth = [one for one in running if one.used >= LIGHT * heaviest]
            chosen = max(worth, key=lambda one: (one.priority, one.started_ns))
        if chosen is not None:
            self._ending, self._since_ns = chosen.key, now_ns
        return chosen


def raised(demand: int, peak: int | None, most: int | None) -> int:
    """Return the memory in bytes that an attempt asks for after one that memory ended.

    Args:
        demand: what that one asked for.
        peak: what it was seen to use at most; None: unknown.
        most: what can be asked for at all; None: no limit.
    """
    wanted = int(max(MARGIN * (peak or 0), MARGIN * demand))
    return max(demand, wanted if most is None else min(wanted, most))


class Guard:
    """Looks at the memory while attempts run in processes and commands, on a thread of its own, and acts.

    Args:
        machine: whose memory it is.
        limit: gives the bytes that may be in use, or None.
        running: gives the attempts that could be stopped, `used` not filled in, and whether threads run beside them; None
            when no attempt is with an executor.
        gate: called with (closed, used) when the guard closes or opens.
        stop: called with the attempt to stop.
        broken: called with what the guard raised, after which it looks no more.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        limit: Callable[[], int | None],
        running: Callable[[], tuple[list[Candidate], bool] | None],
        gate: Callable[[bool, int], None],
        stop: Callable[[Candidate], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._rules = GuardRules()
        self._memory = MemoryProbe(machine.root, machine.groups)
        self._pressure = PressureProbe("memory", machine.root, machine.groups)
        self._machine = machine
        self._limit, self._running, self._gate, self._stop, self._broken = limit, running, gate, stop, broken
        self._changed = threading.Condition()
        self._awake = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self.peaks: dict[tuple[int, int], int] = {}
        """The most that each running attempt was seen to use, in bytes."""

    @property
    def closed(self) -> bool:
        return self._rules.closed

    def wake(self) -> None:
        """Look from now on: an attempt begins. Harmless when repeated."""
        if self._awake:
            return
        with self._changed:
            self._awake = True
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="penstock-guard", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread and wait for it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            wait_s: float | None = 0.0
            while True:
                with self._changed:
                    if not self._closing:
                        self._changed.wait(wait_s)
                    if self._closing:
                        return
                    if wait_s is None and not self._awake:
                        continue
                wait_s = self._look()
        except BaseException as bug:  # noqa: BLE001  a run whose guard is dead says so, and does not go on without
            self._broken(bug)

    def _look(self) -> float | None:
        """Look once; return the seconds to the next look, None: when somebody wakes us."""
        out = self._running()
        now_ns = time.monotonic_ns()
        limit = self._limit()
        used = self._memory.read(now_ns).value
        pressure = self._pressure.read(now_ns).value
        if out is None:
            if self._rules.closed:
                self._rules.closed = False
                self._gate(False, used or 0)
            self.peaks.clear()
            with self._changed:
                self._awake = False
            # One may have begun in between; its `wake` found us awake.
            return None if self._running() is None else 0.0
        running, threads = out
        before = self._rules.closed
        if self._rules.gate(used, limit, pressure) != before:
            self._gate(self._rules.closed, used or 0)
        quick = used is not None and limit is not None and used > QUICK_FROM * limit
        if quick or any(one.limit is not None for one in running):
            running = self._measured(running)
            alone = len(running) == 1 and not threads
            victim = self._rules.victim(used, limit, running, alone, now_ns)
            if victim is not None:
                self._stop(victim)
        return QUICK_S if quick else PERIOD_S

    def _measured(self, running: list[Candidate]) -> list[Candidate]:
        found: list[Candidate] = []
        for one in running:
            try:
                used = ProcessTree(one.pid, self._machine.root).measure().memory
            except OSError:
                used = None
            found.append(replace(one, used=used or 0))
            self.peaks[one.key] = max(self.peaks.get(one.key, 0), used or 0)
        for key in self.peaks.keys() - {one.key for one in running}:
            del self.peaks[key]
        return found

"""The attempts in processes and commands that run now, and what is measured of each: its process tree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from penstock.admit.claims import Claim
from penstock.probes.reading import Rate

if TYPE_CHECKING:
    from penstock.executors import Usage
    from penstock.probes.sample import Sample
    from penstock.probes.tree import TreeUse

__all__ = ["Key", "Measured"]

Key = tuple[int, int]
"""Task and attempt."""

RESOURCES = ("cpu", "memory", "disk")
"""What a process tree is counted with."""


@dataclass(slots=True)
class _Attempt:
    claims: Mapping[str, Claim]
    expected_memory: Callable[[], int | None]
    root: int | None = None
    cpu: Rate = field(default_factory=Rate)
    io: Rate = field(default_factory=Rate)
    peak_memory: int | None = None
    gpu_memory: int | None = None

    def note(self, root: int, part: TreeUse, gpu_memory: int | None, at: int) -> None:
        self.root = root
        if part.memory is not None:
            self.claims["memory"].add(part.memory)
            self.peak_memory = max(part.memory, self.peak_memory or 0)
        if gpu_memory is not None:
            self.gpu_memory = max(gpu_memory, self.gpu_memory or 0)
        if part.cpu_ns is not None:
            rate = self.cpu.step(part.cpu_ns, at)
            self.claims["cpu"].add(None if rate is None else rate // 1_000_000)
        if part.io_bytes is not None:
            self.claims["disk"].add(self.io.step(part.io_bytes, at))


class Measured:
    """Keeps what is measured of each running attempt. Every method may be called from any thread.

    Args:
        roots: gives the process of each attempt that runs, by task and attempt.
    """

    def __init__(self, roots: Callable[[], Mapping[Key, int]]) -> None:
        self._roots = roots
        self._open: dict[Key, _Attempt] = {}
        self._lock = threading.Lock()

    def begin(
        self,
        key: Key,
        reserved: Mapping[str, int],
        guessed: Collection[str] = (),
        expected_memory: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Measure an attempt from now on.

        Args:
            key: which.
            reserved: what it holds in the ledger, by resource.
            guessed: resources whose amount is penstock's own guess.
            expected_memory: gives the bytes that attempts of its function are known to come to, or None.
        """
        claims = {name: Claim(reserved.get(name, 0), guessed=name in guessed) for name in RESOURCES}
        with self._lock:
            self._open[key] = _Attempt(claims, expected_memory)

    def end(self, key: Key, usage: Usage) -> Usage:
        """Return what an attempt used, as its executor measured it and as it was sampled while it ran."""
        with self._lock:
            attempt = self._open.pop(key, None)
        if attempt is None:
            return usage
        return replace(
            usage,
            peak_memory=_most(usage.peak_memory, attempt.peak_memory),
            gpu_memory=_most(usage.gpu_memory, attempt.gpu_memory),
        )

    def roots(self) -> Collection[int]:
        """Return the processes whose trees are to be measured."""
        return set(self._roots().values()) if self._open else ()

    def note(self, sample: Sample) -> None:
        """Take a sample of the trees."""
        if not self._open:
            return
        roots = self._roots()
        with self._lock:
            for key, attempt in self._open.items():
                root = roots.get(key)
                part = None if root is None else sample.parts.get(root)
                if root is not None and part is not None:
                    attempt.note(root, part, sample.gpu_parts.get(root), sample.at)

    def beyond(self, resource: str, overcommit: float | None) -> int:
        """Return what all of them are counted with of a resource, less what they reserved; see `Claim.beyond`."""
        if resource not in RESOURCES:
            return 0
        total = 0
        with self._lock:
            for attempt in self._open.values():
                expected = attempt.expected_memory() if resource == "memory" else None
                total += attempt.claims[resource].beyond(overcommit, expected or 0)
        return total


def _most(one: int | None, other: int | None) -> int | None:
    return max((amount for amount in (one, other) if amount is not None), default=None)

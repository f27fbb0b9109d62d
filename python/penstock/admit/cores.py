"""Which CPUs an attempt gets for itself."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

__all__ = ["Cores"]


class Cores:
    """Hands out CPUs so that attempts share one only when there are not enough.

    Args:
        cpus: numbers of the CPUs that there are; at least one.
    """

    def __init__(self, cpus: Iterable[int]) -> None:
        self._users = dict.fromkeys(sorted(cpus), 0)
        self._given: dict[Hashable, tuple[int, ...]] = {}

    def take(self, key: Hashable, count: int) -> frozenset[int]:
        """Return `count` CPUs for `key`, those with the fewest users first; all of them when there are no more.

        Args:
            key: who gets them; who has some already gives these back first.
            count: >= 1.
        """
        self.give(key)
        chosen = tuple(sorted(self._users, key=lambda cpu: (self._users[cpu], cpu))[:count])
        for cpu in chosen:
            self._users[cpu] += 1
        self._given[key] = chosen
        return frozenset(chosen)

    def give(self, key: Hashable) -> None:
        """Take back what `key` got. Harmless when it has none."""
        for cpu in self._given.pop(key, ()):
            self._users[cpu] -= 1

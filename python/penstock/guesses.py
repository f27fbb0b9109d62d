"""What tasks that say nothing of their memory are taken to need: a family of tasks for each function, and what it asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.admit.learn import Learned, first_guess
from penstock.resources import Demand

if TYPE_CHECKING:
    from penstock.executors import Report
    from penstock.options import TaskSpec

__all__ = ["Family", "Guesses"]

MOST_FAMILIES = 512
"""Of more different functions the later ones are taken at their word. Each is a heap of the core's own."""

MANY_CORES = 1500
"""A task that says nothing of its cores is taken to keep one busy, unless it was seen to keep so many (thousandths) busy."""

STEP = 0.02
"""What a family asks changes when the guess has moved by more than this share."""


@dataclass(slots=True)
class Family:
    """Tasks of one function and one declared demand.

    Attributes:
        number: the core's.
        declared: what they say they need.
        guessed: resources of which they say nothing.
        learned: what is known of their function; shared with the function's other families.
        asks: what a start takes at present.
    """

    number: int
    declared: Demand
    guessed: frozenset[str]
    learned: Learned
    asks: Demand


class Guesses:
    """The families of one run. For calls with the engine's lock held, or from its sampler: they do not overlap for one
    family, and what they change is a whole object at a time."""

    def __init__(self) -> None:
        self._families: dict[Hashable, Family] = {}
        self._learned: dict[Hashable, Learned] = {}

    def __iter__(self) -> Iterator[Family]:
        return iter(list(self._families.values()))

    def family(self, spec: TaskSpec) -> Family | None:
        """Return the family of a task, or None: it says what it needs, or it runs where nothing can be measured."""
        guessed = frozenset(("cpu", "memory")) - spec.declared
        if spec.executor == "threads" or not guessed:
            return None
        function = _function(spec)
        key = (function, spec.demand, guessed, spec.executor)
        family = self._families.get(key)
        if family is None and len(self._families) < MOST_FAMILIES:
            learned = self._learned.setdefault((function, spec.executor), Learned())
            family = Family(len(self._families) + 1, spec.demand, guessed, learned, spec.demand)
            self._families[key] = family
        return family

    def learn(self, spec: TaskSpec, report: Report) -> Family | None:
        """Note how an attempt ended; return its family when it has taught something."""
        family = self.family(spec)
        if family is None:
            return None
        usage, known = report.usage, family.learned.memory()
        # An attempt that failed had come as far as it had: it says how much at least.
        if report.error is not None and (
            usage.peak_memory is None or (known is not None and usage.peak_memory <= known)
        ):
            return None
        run_s = (report.finished_ns - report.started_ns) / 1e9
        family.learned.add(
            peak_memory=usage.peak_memory, cpu_s=usage.cpu_s if report.error is None else None, run_s=run_s
        )
        return family

    def ask(self, family: Family, room: Callable[[str], int | None], cpu_limit: int | None) -> bool:
        """Work out what a family asks; return whether that has changed.

        Args:
            family: which.
            room: gives what all tasks together may hold of a resource at present, None where it has no limit.
            cpu_limit: thousandths of a core that all tasks may use.
        """
        amounts = {"cpu": family.declared.cpu, "memory": family.declared.memory}
        if "memory" in family.guessed:
            amounts["memory"] = self._memory(family, room("memory"), cpu_limit)
        if "cpu" in family.guessed:
            seen, most = family.learned.cpu() or 0, room("cpu")
            if seen >= MANY_CORES:
                amounts["cpu"] = max(amounts["cpu"], seen if most is None else min(seen, most))
        asks = family.asks
        if all(abs(amount - getattr(asks, name)) <= STEP * getattr(asks, name) for name, amount in amounts.items()):
            return False
        declared = family.declared
        family.asks = Demand(
            amounts["cpu"],
            amounts["memory"],
            declared.disk,
            declared.network,
            declared.gpu,
            declared.gpu_memory,
            declared.custom,
        )
        return True

    def _memory(self, family: Family, room: int | None, cpu_limit: int | None) -> int:
        known = family.learned.memory()
        if room is None:
            return known or 0
        if known is None:
            known = first_guess(room, cpu_limit, family.declared.cpu) if cpu_limit else 0
        # A guess never keeps a task from starting alone: it is not the user's word.
        return min(known, max(room, 1))


_INTERPRETERS = ("python", "pypy", "Rscript", "julia", "node", "perl", "ruby", "bash", "sh", "java", "uv", "env")


def _function(spec: TaskSpec) -> Hashable:
    """Return what tells one function, or one program, from another; of an interpreter, the script too."""
    if spec.command is None:
        try:
            hash(spec.function)
        except TypeError:  # an object that can be called, and is equal to others
            return id(spec.function)
        return spec.function
    words = [word for word in spec.command.argv if isinstance(word, (str, os.PathLike))]
    texts = [os.fspath(word) for word in words]
    if spec.command.shell:
        texts = texts[0].split() if texts else []
    if not texts:
        return ""
    script = ""
    if os.path.basename(texts[0]).startswith(_INTERPRETERS):
        script = next((text for text in texts[1:] if not text.startswith("-")), "")
    return texts[0], script

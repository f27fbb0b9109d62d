"""Priority rules of the literature, as one rank a task (smaller first), after Kolisch and Hartmann's surveys."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import starmap

from benchmarks.quality.psplib import Instance

__all__ = ["RULES", "random_rule", "tails"]


def tails(instance: Instance) -> list[int]:
    """Return the longest chain of durations behind each task's end."""
    found = [0] * len(instance)
    for task in reversed(topological(instance)):
        for before in instance.predecessors(task):
            found[before] = max(found[before], instance.durations[task] + found[task])
    return found


def topological(instance: Instance) -> list[int]:
    """Return the tasks, each after its predecessors."""
    left = [len(instance.predecessors(task)) for task in range(len(instance))]
    after = successors(instance)
    order = [task for task, count in enumerate(left) if count == 0]
    for task in order:  # grows while it is walked
        for other in after[task]:
            left[other] -= 1
            if left[other] == 0:
                order.append(other)
    return order


def successors(instance: Instance) -> list[list[int]]:
    """Return the tasks that wait for each task."""
    after: list[list[int]] = [[] for _ in range(len(instance))]
    for task in range(len(instance)):
        for before in instance.predecessors(task):
            after[before].append(task)
    return after


def fifo(instance: Instance) -> list[float]:
    """In the order of the file."""
    return [float(task) for task in range(len(instance))]


def latest_finish(instance: Instance) -> list[float]:
    """LFT: the least latest finish, which is the longest tail behind the task's end."""
    return [-float(tail) for tail in tails(instance)]


def latest_start(instance: Instance) -> list[float]:
    """LST: the least latest start, which is the longest tail from the task's start: the upward rank of HEFT."""
    return [-float(tail + length) for tail, length in zip(tails(instance), instance.durations, strict=True)]


def longest_tail(instance: Instance) -> list[float]:
    """Between LFT and LST: the longest tail from the task's middle."""
    return [-(tail + length / 2) for tail, length in zip(tails(instance), instance.durations, strict=True)]


def most_successors(instance: Instance) -> list[float]:
    """MTS: the most tasks behind it, also at a distance."""
    reach = [0] * len(instance)  # bit sets
    after = successors(instance)
    for task in reversed(topological(instance)):
        for other in after[task]:
            reach[task] |= reach[other] | 1 << other
    return [-float(bits.bit_count()) for bits in reach]


def greatest_weight(instance: Instance) -> list[float]:
    """GRPW: the greatest sum of its duration and those of its direct successors."""
    lengths = instance.durations
    return list(
        starmap(
            lambda task, row: -float(lengths[task] + sum(lengths[other] for other in row)),
            enumerate(successors(instance)),
        )
    )


def random_rule(seed: int) -> Callable[[Instance], list[float]]:
    """Return a rule that draws."""

    def draw(instance: Instance) -> list[float]:
        numbers = random.Random(f"{seed} {instance.name}")
        return [numbers.random() for _ in range(len(instance))]

    return draw


RULES: dict[str, Callable[[Instance], list[float]]] = {
    "FIFO": fifo,
    "LFT": latest_finish,
    "LST (HEFT rank)": latest_start,
    "longest tail": longest_tail,
    "MTS": most_successors,
    "GRPW": greatest_weight,
}

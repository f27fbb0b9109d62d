"""What a journal says of a task for those who play the run again: what it asks for, its priority, what was expected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.journal.errors import Damaged

if TYPE_CHECKING:
    from penstock.options import TaskSpec

__all__ = ["Trait", "read_trait", "trait_text"]


@dataclass(frozen=True, slots=True)
class Trait:
    """What many tasks have alike.

    Attributes:
        demand: a JSON object of amounts, in the units of `resources.Demand`.
        priority: a smaller number is more urgent.
        duration_s: what `duration=` said, 0 for nothing.
    """

    demand: str
    priority: float
    duration_s: float


def trait_text(spec: TaskSpec) -> str:
    """Return the trait of a task as it is stored."""
    return json.dumps([dict(spec.demand), float(spec.priority), spec.duration_s or 0.0])


def read_trait(text: str) -> Trait:
    """Return a stored trait.

    Raises:
        Damaged: it is none.
    """
    try:
        demand, priority, duration_s = json.loads(text)
        amounts = {str(name): int(amount) for name, amount in demand.items()}
        return Trait(json.dumps(amounts), float(priority), float(duration_s))
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged(f"what a task asks for cannot be read ({error})") from None

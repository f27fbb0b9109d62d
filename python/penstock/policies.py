"""Policies: what decides which ready task starts next, as plain numbers for the core's ranking.

Every feature of a task is weighed, the weighted features are added up, and the smallest sum starts first; docs/ranking.md
has the formula and the reasons. A policy holds no code, so changing it while a run goes is cheap, and a simulated run
follows it exactly as a real one does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from penstock.errors import OptionError, did_you_mean

__all__ = ["DEFAULT_POLICY", "POLICIES", "CorePolicy", "Policy", "hybrid", "resolve"]

CorePolicy = tuple[int, bool, float, float, float, float, float, float, float, int]
"""(form, priority_raw, then the weights priority, demand, critical_path, age, deadline, fit, submitted, then
reserve_after in nanoseconds or -1 for never)."""

_FORMS = ("sum", "product", "plan")
_WEIGHTS = ("priority", "demand", "critical_path", "age", "deadline", "fit", "submitted")
_MOST_SECONDS = 2**63 / 1e9 - 1
"""Nanoseconds must fit 64 bits."""


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How ready tasks are ordered. The presets are in `POLICIES`; make your own with any weights.

    A weight says how much a feature counts against the others, in units of rank; 0 leaves it out, and a negative one
    turns the feature around. With all weights 0, tasks start in the order in which they were submitted, and so do tasks
    of equal rank.

    Attributes:
        name: shown in events and messages.
        form: "sum" of the weighted features, or "product": urgency x (100 - CPU% after the start), with urgency falling
            as the priority number grows; or "plan": in the order of a plan that is made before the run, none before one
            that is earlier in it, however long that takes to become ready or to fit. Neither of these two uses weights.
        priority: a smaller priority number sooner. The priority counts squashed into 0..1: 0 is 0.5, 1 is 0.75, -1 is
            0.25, so that one point counts most near 0.
        demand: a smaller share of the machine sooner; 0..1, that of the resource it needs most of.
        critical_path: the start of a longer chain of tasks sooner; 0..1 of the run's longest.
        age: longer waiting sooner; rank per second.
        deadline: less slack sooner; rank per second.
        fit: better use of what is free right now sooner; 0..1.
        submitted: earlier submission sooner; rank per second.
        priority_raw: take the priority number as it is instead of squashed; it then outweighs everything else.
        reserve_after_s: a task that does not fit and has been passed over for this many seconds gets a reservation, so
            that smaller ones cannot keep it waiting for ever; >= 0, None for never.

    Raises:
        OptionError: a value is not allowed; names it.
    """

    name: str = "custom"
    form: Literal["sum", "product", "plan"] = "sum"
    priority: float = 0.0
    demand: float = 0.0
    critical_path: float = 0.0
    age: float = 0.0
    deadline: float = 0.0
    fit: float = 0.0
    submitted: float = 0.0
    priority_raw: bool = False
    reserve_after_s: float | None = 1.0

    def __post_init__(self) -> None:
        form: object = self.form
        if form not in _FORMS:
            raise OptionError(f"policy {self.name!r}: form={self.form!r}; allowed is 'sum', 'product' or 'plan'.")
        for weight in _WEIGHTS:
            value = getattr(self, weight)
            if not _is_finite(value):
                raise OptionError(f"policy {self.name!r}: {weight}={value!r}; allowed is any finite number.")
        after = self.reserve_after_s
        if after is not None and not (_is_finite(after) and 0 <= after <= _MOST_SECONDS):
            raise OptionError(
                f"policy {self.name!r}: reserve_after_s={after!r}; allowed is a number of seconds from 0 up, or None for never."
            )
        if not _is_bool(self.priority_raw):
            raise OptionError(f"policy {self.name!r}: priority_raw={self.priority_raw!r}; allowed is True or False.")

    @classmethod
    def named(cls, name: str) -> Policy:
        """Return the preset of that name.

        Raises:
            OptionError: there is none; lists them.
        """
        try:
            return POLICIES[name]
        except (KeyError, TypeError):
            hint = did_you_mean(str(name), POLICIES)
            names = ", ".join(repr(known) for known in POLICIES)
            raise OptionError(f"policy={name!r}; allowed is one of {names}, or a penstock.Policy.{hint}") from None

    @property
    def weights(self) -> dict[str, float]:
        """The weights by name, in the core's order."""
        return {weight: getattr(self, weight) for weight in _WEIGHTS}

    def to_core(self) -> CorePolicy:
        """Return the policy as the core takes it."""
        after = -1 if self.reserve_after_s is None else round(self.reserve_after_s * 1e9)
        w = self.weights
        return (
            _FORMS.index(self.form),
            self.priority_raw,
            float(w["priority"]),
            float(w["demand"]),
            float(w["critical_path"]),
            float(w["age"]),
            float(w["deadline"]),
            float(w["fit"]),
            float(w["submitted"]),
            after,
        )


def hybrid(
    *,
    priority: float = 4.0,
    demand: float = 0.25,
    critical_path: float = 1.0,
    age: float = 0.001,
    deadline: float = 0.01,
    fit: float = 0.0,
    reserve_after_s: float | None = 1.0,
) -> Policy:
    """Return the weighted mix, with weights of your own; see `Policy` for what each one weighs.

    With the defaults, one point of priority at 0 counts as much as being first against last on the critical path,
    as 1000 s of waiting since submission, or as 100 s of slack; and four times as much as needing nothing against the
    whole machine.

    Raises:
        OptionError: a weight is not a finite number.
    """
    return Policy(
        name="hybrid",
        priority=priority,
        demand=demand,
        critical_path=critical_path,
        age=age,
        deadline=deadline,
        fit=fit,
        reserve_after_s=reserve_after_s,
    )


POLICIES: dict[str, Policy] = {
    "fifo": Policy(name="fifo"),
    "priority": Policy(name="priority", priority=1.0, priority_raw=True),
    "utilisation": Policy(name="utilisation", fit=1.0, age=0.01),  # 100 s of waiting outweigh the best fit
    "hybrid": hybrid(),
    "product": Policy(name="product", form="product"),
    "bottom_level": Policy(name="bottom_level", critical_path=1.0, reserve_after_s=0.0),
    "static": Policy(name="static", form="plan"),
}
"""The presets by name.

fifo: in the order of submission. priority: by priority number alone. utilisation: of what fits, what uses the free
resources best. hybrid: a weighted mix of priority, critical path, demand, waiting time and deadline. product: urgency x
(100 - CPU%). bottom_level: the start of the longest chain of tasks first, with a reservation for the first that does not
fit. static: a plan made before the run, followed as it is, for comparison. Whatever the policy, a task starts only when it
fits under the limits.
"""

DEFAULT_POLICY = "hybrid"


def resolve(policy: str | Policy | None) -> Policy:
    """Return `policy`, or the preset of that name; None is the default.

    Raises:
        OptionError: it is neither; lists the presets.
    """
    if isinstance(policy, Policy):
        return policy
    return Policy.named(DEFAULT_POLICY if policy is None else policy)

"""penstock runs pipelines of tasks and decides, while they run, what starts next.

It goes by what the machine is really doing, how urgent each task is, and what depends on what.

    from penstock import Pipeline, task

    @task(retries=2, memory="1GiB")
    def train(c: float) -> float: ...

    @task
    def best(scores: list[float]) -> float: ...

    with Pipeline("search") as p:
        winner = best([train(c) for c in (0.1, 1.0, 10.0)])

    print(p.run(limits={"cpu": 0.8})[winner])
"""

from typing import TYPE_CHECKING

from penstock import errors
from penstock._version import __version__
from penstock.context import current, skip
from penstock.fallback import value
from penstock.task import Call, Task, command, task

if TYPE_CHECKING:
    from penstock.breaker import Breaker
    from penstock.observe.alerting import Alerts
    from penstock.pipeline import Pipeline
    from penstock.policies import Policy
    from penstock.result import RunResult
    from penstock.retry import Retry
    from penstock.run import Run
    from penstock.runtime import Runtime
    from penstock.simulation import Simulation, simulate
    from penstock.states import Cause, State

__all__ = [
    "Alerts",
    "Breaker",
    "Call",
    "Cause",
    "Pipeline",
    "Policy",
    "Retry",
    "Run",
    "RunResult",
    "Runtime",
    "Simulation",
    "State",
    "Task",
    "__version__",
    "command",
    "current",
    "errors",
    "simulate",
    "skip",
    "task",
    "value",
]

_HOMES = {
    "Alerts": "penstock.observe.alerting",
    "Breaker": "penstock.breaker",
    "Cause": "penstock.states",
    "Pipeline": "penstock.pipeline",
    "Policy": "penstock.policies",
    "Retry": "penstock.retry",
    "Run": "penstock.run",
    "RunResult": "penstock.result",
    "Runtime": "penstock.runtime",
    "Simulation": "penstock.simulation",
    "State": "penstock.states",
    "simulate": "penstock.simulation",
}

# `task` is both a module and the decorator: it is imported above, at once, because a module that is imported later
# would take its name's place.

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import a public name from its module on first use, so that `import penstock` stays quick."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'penstock' has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))

"""Executors run attempts outside the engine's threads: in worker processes, or as commands.

Each has one thread of its own, which sleeps until something happens; none polls.
"""

from __future__ import annotations

from penstock.errors import InternalError
from penstock.executors.protocol import UNKNOWN, Executor, Launch, Report, Usage

__all__ = ["UNKNOWN", "Executor", "Launch", "Report", "Usage", "make_executor"]


def make_executor(name: str) -> Executor:
    """Return a new executor that is not started yet.

    Args:
        name: "processes" or "commands", as `TaskSpec.executor` has it.
    """
    if name == "processes":
        from penstock.executors.processes import Processes

        return Processes()
    if name == "commands":
        from penstock.executors.commands import Commands

        return Commands()
    raise InternalError(f"there is no executor {name!r}; there are 'processes' and 'commands'")

"""Says at the end of the program which work it cuts off: our threads end with the interpreter, whatever they are doing."""

from __future__ import annotations

import atexit
import logging
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.engine import Engine

__all__ = ["tell_if_cut_off"]

_log = logging.getLogger("penstock")
_watched: weakref.WeakKeyDictionary[Engine, str] = weakref.WeakKeyDictionary()


def tell_if_cut_off(engine: Engine, what: str) -> None:
    """Log a warning when the program ends before all tasks of `engine` have, and nobody closed it.

    Args:
        engine: kept alive by its own threads while it has work, and not by this.
        what: the beginning of a sentence, such as "run 'digits'".
    """
    _watched[engine] = what


@atexit.register
def _tell() -> None:
    for engine, what in list(_watched.items()):
        left = 0 if engine.is_ended else engine.scheduler.unfinished
        if left:
            tasks = "task" if left == 1 else "tasks"
            _log.warning(
                "%s is cut off by the end of the program: %d %s had not ended. Wait for it, or leave its with block.",
                what,
                left,
                tasks,
            )

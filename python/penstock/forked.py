"""What becomes of a process that a task or a callback forked and that returns to a thread of ours: it ends there."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

__all__ = ["leave"]


def leave(error: BaseException | None) -> NoReturn:
    """End this process at once, as the interpreter would have: with what it wrote flushed, and no exit handlers run.

    Those belong to the process that it was forked from, like the run.

    Args:
        error: what the task raised here. A SystemExit gives the exit code, anything else is shown and gives 1.
    """
    code = 0
    with suppress(Exception):  # standard error may be closed
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if not isinstance(error.code, (int, type(None))):
                print(error.code, file=sys.stderr)
        elif error is not None:
            code = 1
            traceback.print_exception(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)

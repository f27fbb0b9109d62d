"""The guardian's own process: kills what it was told of when the process it serves is gone.

Run as a script with the standard library only; its argument is what the marks of all children begin with, as
`NAME=VALUE`. Reads lines `+GROUP` and `-GROUP` from standard input until it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read until the end, then kill what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        if line.startswith(b"+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    killed: set[int] = set()
    while marked := _marked(sys.argv[1]) - killed:  # again, for what these started meanwhile
        killed |= marked
        for pid in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _marked(begin: str) -> set[int]:
    """Return the processes with a mark that begins so: some had no time to be told of, some left their group."""
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                    if b"\0" + begin.encode() in b"\0" + file.read():
                        found.add(int(name))
    return found


if __name__ == "__main__":
    main()

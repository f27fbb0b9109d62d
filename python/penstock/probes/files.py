"""Reads the kernel's files fast: the probes read dozens of them twice a second for as long as anybody waits.

`Path.read_text` builds two buffers and a decoder for each file, which takes longer than the kernel takes to write it.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

__all__ = ["numbers_of", "read"]

_PIECE = 1 << 14


def read(path: str) -> str:
    """Return a file's text; bytes that are no UTF-8 are replaced.

    Raises:
        OSError: as `open`.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        text = os.read(file, _PIECE)
        if text:  # the kernel gives a long file page by page, so a short piece need not be the last
            pieces = [text]
            while more := os.read(file, _PIECE):
                pieces.append(more)
            text = b"".join(pieces)
    except OSError as error:
        error.filename = path  # who reads a descriptor is not told
        raise
    finally:
        os.close(file)
    return text.decode("utf-8", "replace")


def numbers_of(text: str, *names: str) -> dict[str, int]:
    """Return the numbers of the lines 'name number' or 'name: number kB' with these names; one that is not there is left out.

    Raises:
        ValueError: such a line holds something else.
    """
    return {name: int(number) for name, number in _lines(names).findall(text)}


@lru_cache(maxsize=64)
def _lines(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"^({'|'.join(map(re.escape, names))}):?[ \t]+(\S+)", re.MULTILINE)

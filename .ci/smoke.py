"""A short run of an installed penstock, from outside of its checkout: all three executors, a retry, a fallback.

As a script it checks itself; `penstock run` runs the same pipeline.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from penstock import Pipeline, Runtime, command, current, task


@task
def number(k: int) -> int:
    return k


@task(executor="processes")
def square(k: int) -> tuple[int, int]:
    return k * k, os.getpid()


@task
def total(squares: list[tuple[int, int]], words: str) -> int:
    return sum(value for value, _ in squares) + len(words.split())


@task(retries=2)
def flaky() -> int:
    if current().attempt < 2:
        raise ConnectionError("not yet")
    return current().attempt


def stand_in() -> str:
    return "stand-in"


@task(fallback=stand_in)
def broken() -> str:
    raise RuntimeError("never works")


with Pipeline("smoke") as pipeline:
    squares = [square(number(k)) for k in range(4)]
    words = command("words", ["echo", "three", "more", "words"])
    answer = total(squares, words)
    second = flaky()
    replaced = broken()


def main() -> None:
    result = pipeline.run(workers=2, progress=False, trace=str(Path(tempfile.mkdtemp()) / "trace.json"))
    assert result.ok, result
    assert result[answer] == 0 + 1 + 4 + 9 + 3
    assert os.getpid() not in {process for _, process in (result[s] for s in squares)}
    assert result[second] == 2
    assert result[replaced] == "stand-in"
    with Runtime(workers=2) as runtime:
        futures = runtime.map(pow, range(100), range(100))
        assert [f.result(timeout=60) for f in futures] == [pow(k, k) for k in range(100)]
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"penstock runs on Python {version}")


if __name__ == "__main__":
    main()

"""Digests of code and arguments: what changes them, what does not, and that other processes agree."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import Pipeline, task
from penstock.journal.hashing import Hasher


@dataclass
class Point:
    x: int
    y: Any = None


Pair = namedtuple("Pair", "a b")


def digest(*args: object, **kwargs: object) -> bytes:
    return Hasher().arguments(args, kwargs)


def made(source: str, name: str = "f", **given: object) -> Any:
    namespace: dict[str, object] = {"__name__": "users", **given}
    exec(compile(source, "/home/user/users.py", "exec"), namespace)
    return namespace[name]


DIFFERENT: list[tuple[object, ...]] = [
    (),
    (None,),
    (0,),
    (False,),
    (0.0,),
    (-0.0,),
    ("",),
    (b"",),
    ("0",),
    ([],),
    ((),),
    ({},),
    (set(),),
    ("ab", "c"),
    ("a", "bc"),
    ([1, 2],),
    ([1], 2),
    ((1, 2),),
    ([2, 1],),
    ({1: 2},),
    ({2: 1},),
    ({1, 2},),
    (Point(1, 2),),
    (Point(2, 1),),
    (Pair(1, 2),),
    (np.arange(3),),
    (np.arange(3.0),),
    (np.arange(3).reshape(3, 1),),
    (np.array([0, 1, 3]),),
    (np.array(["a", None], dtype=object),),
    (Path("a"),),
    (len,),
    (Point,),
    (range(3),),
    (functools.partial(int, base=2),),
    (functools.partial(int, base=3),),
]


def test_different_arguments_have_different_digests() -> None:
    digests = [digest(*one) for one in DIFFERENT]
    assert len(set(digests)) == len(DIFFERENT)
    assert digest(x=1) != digest(y=1)


def test_equal_arguments_have_equal_digests() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest(x=1, y=2) == digest(y=2, x=1)
    array = np.arange(12).reshape(3, 4)
    assert digest(array.T) == digest(np.ascontiguousarray(array.T))
    assert digest(Point(1, [array])) == digest(Point(1, [array.copy()]))


def test_a_container_that_holds_itself_and_one_without_end_have_a_digest() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    assert digest(ring) != digest([1, []])
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(digest(deep)) == 16


def test_what_cannot_be_compared_counts_by_its_type_and_is_noted() -> None:
    class Moody:
        def __reduce__(self) -> Any:
            raise SystemExit

    hasher = Hasher()
    first = hasher.arguments((threading.Lock(), Moody()), {})
    assert hasher.opaque == ["a lock", "a Moody"]
    assert hasher.arguments((threading.Lock(), Moody()), {}) == first
    assert hasher.arguments((1,), {}) != first
    assert hasher.opaque == []


def test_calls_count_by_their_place() -> None:
    @task
    def f(*args: Any) -> int:
        return 0

    with Pipeline("p"):
        a, b = f(), f(1)
    assert digest(a, b) == digest(b, a)  # the key adds what they are
    assert digest(a, a) != digest(a, b)
    assert digest(a[0]) != digest(a[1])  # type: ignore[index]


CODE = "def f(x, y=1):\n    'Doc.'\n    return g(x) + LIMIT\ndef g(x):\n    return x * 2\nLIMIT = 3\n"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda code: code, False),
        (lambda code: "# a comment\n\n" + code, False),
        (lambda code: code.replace("Doc.", "Say."), False),
        (lambda code: code.replace("LIMIT = 3", "LIMIT = 4"), True),
        (lambda code: code.replace("x * 2", "x * 3"), True),
        (lambda code: code.replace("y=1", "y=2"), True),
        (lambda code: code.replace("g(x) + L", "g(x) - L"), True),
        (lambda code: code + "OTHER = 1\n", False),
    ],
)
def test_code_counts_with_what_it_uses_of_the_users_own(change: Callable[[str], str], differs: bool) -> None:
    assert (Hasher().code(made(change(CODE))) != Hasher().code(made(CODE))) == differs


def test_what_a_function_closes_over_counts_and_a_ring_of_functions_ends() -> None:
    def closing(x: int) -> Callable[[], int]:
        return lambda: x

    assert Hasher().code(closing(1)) != Hasher().code(closing(2))
    assert Hasher().code(closing(1)) == Hasher().code(closing(1))
    ring = "def f(n):\n    return n and g(n - 1)\ndef g(n):\n    return n and f(n - {})\n"
    assert Hasher().code(made(ring.format(1))) == Hasher().code(made(ring.format(1)))
    assert Hasher().code(made(ring.format(1))) != Hasher().code(made(ring.format(2)))


def test_the_code_of_installed_packages_does_not_count_but_their_names_do() -> None:
    assert Hasher().code(np.linalg.norm) != Hasher().code(np.linalg.det)
    uses = "def f(x):\n    return np.linalg.norm(x)\n"
    assert Hasher().code(made(uses, np=np)) == Hasher().code(made(uses, np=np))


def test_processes_with_other_hash_seeds_agree() -> None:
    code = (
        "from penstock.journal.hashing import Hasher; import pathlib\n"
        "def f(x): return x in {'a', 'b', 'c', 'd'}\n"
        "h = Hasher(); print(h.code(f).hex(), h.arguments(({'a', 'b', 'c'}, {'k': {1, 'z'}}), {}).hex())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in range(3)
    }
    assert len(said) == 1

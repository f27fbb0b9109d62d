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


def test_containers_and_arrays_count_where_they_are_closed_over_or_named_in_capitals() -> None:
    def closing(x: object) -> Callable[[], object]:
        return lambda: x

    assert Hasher().code(closing({"rate": 1})) != Hasher().code(closing({"rate": 2}))
    assert Hasher().code(closing({"rate": 1})) == Hasher().code(closing({"rate": 1}))
    seen: list[int] = []
    appends = lambda: seen.append(1)  # noqa: E731
    before = Hasher().code(appends)
    appends()
    assert Hasher().code(appends) == before  # as it was first seen; else its own call would make it another
    uses = "def f(x):\n    return {}[x]\n"
    for one, other in (({"a": 1}, {"a": 2}), ([1], [2]), (np.zeros(3), np.ones(3))):
        constant, state = uses.format("RATES"), uses.format("rates")
        assert Hasher().code(made(constant, RATES=one)) != Hasher().code(made(constant, RATES=other))
        assert Hasher().code(made(constant, RATES=one)) == Hasher().code(made(constant, RATES=one))
        assert Hasher().code(made(state, rates=one)) == Hasher().code(made(state, rates=other))


CLASSES = "class Base:\n    DEPTH = 3\nclass Model(Base):\n    width = 4\n    def fit(self):\n        return 1\ndef f(x):\n    return Model()\n"


@pytest.mark.parametrize(
    ("old", "new"), [("width = 4", "width = 5"), ("DEPTH = 3", "DEPTH = 4"), ("return 1", "return 2")]
)
def test_what_a_class_and_its_bases_are_made_of_counts(old: str, new: str) -> None:
    assert Hasher().code(made(CLASSES)) == Hasher().code(made(CLASSES))
    assert Hasher().code(made(CLASSES.replace(old, new))) != Hasher().code(made(CLASSES))


@pytest.mark.parametrize(
    ("uses", "old", "new", "differs"),
    [
        ("import neighbour\ndef f(x):\n    return neighbour.g(x)\n", "x + 1", "x + 2", True),
        ("import neighbour\ndef f(x):\n    return neighbour.g(x)\n", "y + 1", "y + 2", True),
        ("import neighbour\ndef f(x):\n    return neighbour.LIMIT\n", "LIMIT = 3", "LIMIT = 4", True),
        ("import neighbour\ndef f(x):\n    return neighbour.LIMIT\n", "x + 1", "x + 2", False),
        ("import family.child as c\ndef f(x):\n    return c.g(x)\n", "x + 1", "x + 2", True),
        ("import family.child\ndef f(x):\n    return family.child.g(x)\n", "x + 1", "x + 2", True),
        ("def f(x):\n    from neighbour import g\n    return g(x)\n", "x + 1", "x + 2", True),
        ("def f(x):\n    import json\n    return json\n", "x + 1", "x + 2", False),
    ],
)
def test_what_is_taken_from_the_users_other_modules_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uses: str, old: str, new: str, differs: bool
) -> None:
    code = "def g(x):\n    return h(x) and x + 1\ndef h(y):\n    return y + 1\nLIMIT = 3\n"
    digests = []
    for turn, source in enumerate((code, code.replace(old, new))):
        folder = tmp_path / str(turn)
        (folder / "family").mkdir(parents=True)
        (folder / "family" / "__init__.py").touch()
        for file in (folder / "neighbour.py", folder / "family" / "child.py"):
            file.write_text(source)
        with monkeypatch.context() as patched:
            patched.syspath_prepend(folder)
            for name in ("neighbour", "family", "family.child"):
                patched.delitem(sys.modules, name, raising=False)
            digests.append(Hasher().code(made(uses)))
            for name in ("neighbour", "family", "family.child"):
                sys.modules.pop(name, None)
    assert (digests[0] != digests[1]) == differs


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

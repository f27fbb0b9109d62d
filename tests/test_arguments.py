"""`penstock.arguments`: the quick check of arguments says what `inspect.signature(...).bind` says."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from penstock.arguments import Arguments


def none() -> None: ...
def two(a: int, b: int) -> None: ...
def with_defaults(a: int, b: int = 1, c: int = 2) -> None: ...
def positional_only(a: int, /, b: int) -> None: ...
def keyword_only(a: int, *, b: int, c: int = 0) -> None: ...
def variadic(a: int, *args: int, **kwargs: int) -> None: ...


@functools.wraps(two)
def wrapped(a: int) -> None: ...


FUNCTIONS: list[Callable[..., Any]] = [
    none,
    two,
    with_defaults,
    positional_only,
    keyword_only,
    variadic,
    wrapped,
    functools.partial(two, 1),
    functools.partial(with_defaults, c=5),
    lambda a, b=3: None,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_check_agrees_with_the_signature(function: Callable[..., Any]) -> None:
    """All numbers of positional arguments up to 4, with all sets of four keywords."""
    for positional, keywords in itertools.product(range(5), itertools.product([False, True], repeat=4)):
        args = (0,) * positional
        kwargs = {key: 0 for key, given in zip("abcd", keywords, strict=True) if given}
        try:
            inspect.signature(function).bind(*args, **kwargs)
            expected = None
        except TypeError as error:
            expected = str(error)
        assert Arguments(function).check(args, kwargs) == expected, (args, kwargs)


def test_a_builtin_without_a_signature_takes_anything() -> None:
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(max)
    assert Arguments(max).check((1, 2), {"no": 3}) is None

"""Finds the calls inside a task's arguments, and later puts their results in.

A call may stand anywhere in lists, tuples, named tuples, dicts and sets, however deep. Other objects, data classes too,
are passed as they are and not looked into.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.task import Call

__all__ = ["NODES", "Input", "Lookup", "bind", "inputs_of", "snapshot"]

Lookup = Callable[["Call[Any]"], object]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


class Input:
    """Stands in an argument for a value that is known only while the pipeline runs."""

    __slots__ = ()

    def sources(self) -> Iterable[Call[Any]]:
        """Return the calls that must have finished before `resolve` can be called."""
        raise NotImplementedError

    def resolve(self, lookup: Lookup) -> object:
        """Return the value, from the results of `sources()`, each asked from `lookup`."""
        raise NotImplementedError


NODES = (Input, list, tuple, dict, set, frozenset)


def inputs_of(args: Iterable[object], kwargs: Mapping[str, object]) -> list[Call[Any]]:
    """Return the calls inside the arguments, each once, in order of first appearance.

    Long lists of plain numbers and strings are passed over at the speed of one type check an element.
    """
    found: dict[Call[Any], None] = {}
    seen: set[int] = set()
    stack: list[object] = [*reversed([*args, *kwargs.values()])]
    while stack:
        value = stack.pop()
        if isinstance(value, Input):
            for source in value.sources():
                found.setdefault(source)
        elif isinstance(value, NODES) and id(value) not in seen:
            seen.add(id(value))  # a container may hold itself
            stack.extend(reversed(_interesting(value)))
    return list(found)


def bind(
    args: tuple[object, ...], kwargs: Mapping[str, object], lookup: Lookup
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the arguments with every input replaced by its value.

    Containers that hold an input are copied, with their type; everything else is passed as the very same object.

    Args:
        args: positional arguments, as a `Call` keeps them.
        kwargs: keyword arguments.
        lookup: gives the result of a call; asked once for each place where the call stands.
    """

    def value_of(stands_in: Input) -> object:
        return stands_in.resolve(lookup)

    return _replaced(args, kwargs, value_of)


def snapshot(args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the arguments with copies of the containers that hold inputs, which stay in them.

    A list of calls that the user goes on filling after the call must not change what the call depends on.
    """
    return _replaced(args, kwargs, lambda stands_in: stands_in)


_Replace = Callable[[Input], object]


def _replaced(
    args: tuple[object, ...], kwargs: Mapping[str, object], replace: _Replace
) -> tuple[tuple[object, ...], dict[str, object]]:
    return (
        tuple([_rebuilt(value, replace, {}) if isinstance(value, NODES) else value for value in args]),
        {key: _rebuilt(value, replace, {}) if isinstance(value, NODES) else value for key, value in kwargs.items()},
    )


def _interesting(container: object) -> list[object]:
    """Return the elements of a container, or nothing when all are plain scalars."""
    elements: list[object]
    if isinstance(container, dict):
        elements = [*container.keys(), *container.values()]
    else:
        assert isinstance(container, (list, tuple, set, frozenset))
        elements = list(container)
    return [] if _ATOMS.issuperset(map(type, elements)) else elements


def _rebuilt(value: object, replace: _Replace, done: dict[int, object]) -> object:
    """Return `value` with its inputs replaced; `done` has the containers in work by id, so that one may hold itself."""
    if isinstance(value, Input):
        return replace(value)
    if not isinstance(value, NODES) or not inputs_of((value,), {}):
        return value
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, list):
        new_list = done[id(value)] = copy.copy(value)
        new_list[:] = [_rebuilt(element, replace, done) for element in value]
        return new_list
    if isinstance(value, dict):
        new_dict = done[id(value)] = copy.copy(value)  # keeps its class, and a defaultdict its factory
        new_dict.clear()
        for key, element in value.items():
            new_dict[_rebuilt(key, replace, done)] = _rebuilt(element, replace, done)
        return new_dict
    assert isinstance(value, (tuple, set, frozenset))
    make = getattr(type(value), "_make", type(value))  # _make: a named tuple
    result: object = make([_rebuilt(element, replace, done) for element in value])
    return result

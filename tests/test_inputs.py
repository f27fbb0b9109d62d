"""`penstock.inputs`: calls are found anywhere in arguments, and replaced there by results."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.inputs import bind, inputs_of, snapshot
from penstock.task import Call, Task

TASK = Task(lambda: None, {"name": "t"})
A, B, C = (Call(TASK) for _ in range(3))
VALUES = {A: "a", B: "b", C: "c"}


class Point(NamedTuple):
    x: object
    y: object


@dataclass
class Box:
    content: object


def bound(value: object) -> Any:
    return bind((value,), {}, VALUES.__getitem__)[0][0]


def test_calls_are_listed_once_in_order_of_first_appearance() -> None:
    assert inputs_of((B, [A, (C, B)]), {"k": {"x": A}}) == [B, A, C]


def test_calls_are_found_in_dict_keys_and_sets() -> None:
    assert inputs_of(({A: 1},), {}) == [A]
    assert inputs_of(({B},), {}) == [B]
    assert bound({A: B}) == {"a": "b"}
    assert bound({A, "x"}) == {"a", "x"}
    assert bound(frozenset([A])) == frozenset(["a"])


def test_objects_that_are_no_containers_are_not_looked_into() -> None:
    box = Box(A)
    assert inputs_of((box,), {}) == []
    assert bound(box) is box


def test_containers_keep_their_class() -> None:
    assert bound(Point(A, 1)) == Point("a", 1)
    assert type(bound(Point(A, 1))) is Point
    ordered = bound(OrderedDict(z=A, b=B))
    assert type(ordered) is OrderedDict
    assert list(ordered.items()) == [("z", "a"), ("b", "b")]
    grouped = bound(defaultdict(list, k=[A]))
    assert grouped == {"k": ["a"]}
    assert grouped["new"] == []


def test_what_holds_no_call_is_passed_as_the_same_object() -> None:
    plain = [1, [2, 3]]
    mixed = [A, plain]
    result = bound(mixed)
    assert result == ["a", [1, [2, 3]]]
    assert result[1] is plain
    assert bound(plain) is plain
    assert mixed == [A, plain]


def test_a_list_that_holds_itself_is_found_and_bound() -> None:
    ring: list[Any] = [A]
    ring.append(ring)
    assert inputs_of((ring,), {}) == [A]
    result = bound(ring)
    assert result[0] == "a"
    assert result[1] is result


def test_a_part_of_a_result_is_looked_up_in_it() -> None:
    part = A["rows"][1]
    assert inputs_of((part,), {}) == [A]
    args, _ = bind(([part],), {}, lambda call: {"rows": [10, 20]})
    assert args == ([20],)


def test_a_snapshot_is_not_changed_by_later_changes() -> None:
    calls = [A]
    (kept,), _ = snapshot((calls,), {})
    calls.append(B)
    assert kept == [A]


def test_binding_asks_only_for_what_it_needs() -> None:
    asked: list[object] = []

    def lookup(call: object) -> object:
        asked.append(call)
        return None

    bind(([1, 2, A], B), {"k": {"x": 3}}, lookup)
    assert asked == [A, B]


LEAVES = st.sampled_from([A, B, C, 0, 1.5, "text", None])
KEYS = st.sampled_from(["k", "l", "m"])
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner), st.builds(Point, inner, inner)
    ),
    max_leaves=20,
)


def by_hand(value: Any) -> Any:
    if isinstance(value, Call):
        return VALUES[value]
    if isinstance(value, Point):
        return Point(by_hand(value.x), by_hand(value.y))
    if isinstance(value, (list, tuple)):
        return type(value)(by_hand(one) for one in value)
    if isinstance(value, dict):
        return {key: by_hand(one) for key, one in value.items()}
    return value


@given(st.lists(NESTED, max_size=4), st.dictionaries(KEYS, NESTED))
def test_bind_agrees_with_a_plain_recursion(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert bind(tuple(args), kwargs, VALUES.__getitem__) == (by_hand(tuple(args)), by_hand(kwargs))


@given(NESTED)
def test_inputs_of_finds_what_bind_asks_for(value: Any) -> None:
    asked: dict[Call[Any], None] = {}

    def lookup(call: Call[Any]) -> object:
        return asked.setdefault(call)

    bind((value,), {}, lookup)
    assert set(inputs_of((value,), {})) == set(asked)


def test_a_result_without_that_part_raises_where_it_is_used() -> None:
    with pytest.raises(KeyError, match="missing"):
        bind((A["missing"],), {}, lambda call: {})

"""The table of Python objects by task id: a list that stores a thousand equal neighbours once."""

from __future__ import annotations

import gc
import random
import sys
import threading
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock._core import ObjectTable


class Thing:
    pass


PAGE = 1024

THINGS = [Thing() for _ in range(3)]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.integers(0, 2), st.integers(0, 2500)),
        st.tuples(st.just("append"), st.integers(0, 2)),
        st.tuples(st.just("extend"), st.lists(st.integers(0, 2), max_size=5)),
        st.tuples(st.just("set"), st.integers(0, 10**6), st.integers(0, 2)),
        st.tuples(st.just("set_range"), st.integers(0, 10**6), st.integers(0, 3000), st.integers(0, 2)),
        st.tuples(st.just("truncate"), st.integers(0, 10**6)),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_the_table_holds_what_a_list_would_and_gives_every_reference_back(steps: list[Any]) -> None:
    before = [sys.getrefcount(thing) for thing in THINGS]
    table, model = ObjectTable(), []
    for name, *given_values in steps:
        if name == "fill":
            table.fill(THINGS[given_values[0]], given_values[1])
            model += [given_values[0]] * given_values[1]
        elif name == "append":
            table.append(THINGS[given_values[0]])
            model.append(given_values[0])
        elif name == "extend":
            table.extend([THINGS[k] for k in given_values[0]])
            model += given_values[0]
        elif name == "set" and model:
            at = given_values[0] % len(model)
            table[at] = THINGS[given_values[1]]
            model[at] = given_values[1]
        elif name == "set_range" and model:
            at = given_values[0] % len(model)
            end = min(at + given_values[1], len(model))
            table.set_range(at, end, THINGS[given_values[2]])
            model[at:end] = [given_values[2]] * (end - at)
        elif name == "truncate":
            size = given_values[0] % (len(model) + 1)
            table.truncate(size)
            del model[size:]
    assert len(table) == len(model)
    assert all(found is THINGS[k] for found, k in zip(table[:], model, strict=True))
    assert all(found is THINGS[k] for found, k in zip(table, model, strict=True))
    del table
    found = None  # the loop variables of the generators above are gone with them
    assert found is None
    assert [sys.getrefcount(thing) for thing in THINGS] == before


def test_a_thousand_equal_neighbours_hold_one_reference() -> None:
    thing = Thing()
    before = sys.getrefcount(thing)
    table = ObjectTable()
    table.fill(thing, 1_000_000)
    assert sys.getrefcount(thing) - before <= 1_000
    table[500_000] = None
    assert table[500_000] is None
    assert table[499_999] is thing
    assert table[-1] is thing
    assert sys.getrefcount(thing) - before <= 1_000 + 1_024


def test_an_index_outside_is_an_index_error() -> None:
    table = ObjectTable()
    table.append(1)
    for at in (1, -2):
        with pytest.raises(IndexError, match="the table has 1 entries"):
            table[at]
        with pytest.raises(IndexError, match="the table has 1 entries"):
            table[at] = 2
    assert table[:] == [1]


def test_slices_are_lists_as_of_a_list() -> None:
    table, model = ObjectTable(), list(range(3000))
    table.extend(model)
    for which in (slice(None), slice(1000, 1030), slice(-5, None), slice(2999, 2, -700), slice(5, 5)):
        assert table[which] == model[which]


@pytest.mark.parametrize("own", [False, True])
def test_a_cycle_through_the_table_is_garbage(own: bool) -> None:
    table = ObjectTable()
    thing = Thing()
    thing.table = table  # type: ignore[attr-defined]
    table.fill(thing, 3000)
    if own:
        table[1500] = None
    gone = weakref.ref(thing)
    del table, thing
    gc.collect()
    assert gone() is None


def test_pages_whose_entries_have_become_one_object_share_it_again() -> None:
    table: Any = ObjectTable()
    one, other = object(), object()
    table.extend([object() for _ in range(3 * PAGE)])
    for k in range(2 * PAGE):
        table[k] = one
    table[PAGE] = other
    before = sys.getrefcount(one)
    table.share(0, 3 * PAGE)
    assert sys.getrefcount(one) == before - (PAGE - 1)  # the first page holds it once
    assert list(table)[: PAGE + 2] == [one] * PAGE + [other, one]
    table[5] = other
    table.share(0, PAGE - 1)  # no whole page
    assert (table[4], table[5], table[6]) == (one, other, one)
    del table
    assert sys.getrefcount(one) == 2


@pytest.mark.timeout(60)
def test_threads_that_read_write_and_grow_a_table_at_once_lose_no_reference() -> None:
    """Threads take turns at the GIL here or, on a free-threaded Python, at the table itself."""
    table: ObjectTable[Any] = ObjectTable()
    table.fill(THINGS[0], 3 * PAGE)
    before = [sys.getrefcount(thing) for thing in THINGS[1:]]
    seen: list[set[int]] = [set() for _ in range(4)]
    kinds = {id(thing) for thing in THINGS}
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        rng = random.Random(number)
        barrier.wait()
        for _ in range(4000):
            at = rng.randrange(3 * PAGE)
            what = rng.randrange(8)
            if what < 3:
                table[at] = THINGS[rng.randrange(3)]
            elif what < 6:
                seen[number].add(id(table[at]))
            elif what == 6:
                table.share(0, 3 * PAGE)
            else:
                table.fill(THINGS[number % 3], 600)
        barrier.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one <= kinds for one in seen)
    gc.collect()
    table.truncate(0)
    assert [sys.getrefcount(thing) for thing in THINGS[1:]] == before

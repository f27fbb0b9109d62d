"""CPUs for attempts that want them for themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.admit.cores import Cores


def test_attempts_get_different_cpus_while_there_are_enough_and_then_the_least_used() -> None:
    cores = Cores([3, 1, 2, 0])
    assert cores.take("a", 2) == {0, 1}
    assert cores.take("b", 2) == {2, 3}
    assert cores.take("c", 1) == {0}
    cores.give("b")
    assert cores.take("d", 3) == {2, 3, 1}
    cores.give("nobody")


def test_who_asks_for_more_than_there_are_gets_all() -> None:
    assert Cores([4, 5]).take("a", 7) == {4, 5}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8), st.booleans()), max_size=40))
def test_cpus_are_disjoint_whenever_the_demands_together_fit(steps: list[tuple[int, int, bool]]) -> None:
    cores, held = Cores(range(8)), dict[int, frozenset[int]]()
    clean = True  # no sharing since the last time that nobody had any
    for key, count, give in steps:
        if give:
            cores.give(key)
            held.pop(key, None)
        else:
            held.pop(key, None)
            clean = clean and sum(map(len, held.values())) + count <= 8
            held[key] = cores.take(key, count)
            assert len(held[key]) == count
        clean = clean or not held
        if clean:
            assert sum(map(len, held.values())) == len(frozenset().union(*held.values()))

"""Callbacks at instants: order, and who is woken."""

from __future__ import annotations

from penstock.timers import Timers


def test_what_is_due_is_called_in_order_and_the_rest_stays() -> None:
    rings: list[int] = []
    timers = Timers(lambda: rings.append(1))
    called: list[str] = []
    timers.at(30, lambda: called.append("c"))
    timers.at(10, lambda: called.append("a"))
    timers.at(20, lambda: called.append("b"))
    timers.at(20, lambda: called.append("b2"))
    assert len(rings) == 2  # only an earlier instant changes how long the control thread may sleep
    timers.run_due(20)
    assert called == ["a", "b", "b2"]
    assert timers.next_due_ns == 30
    timers.run_due(29)
    assert called == ["a", "b", "b2"]
    timers.run_due(30)
    assert called[-1] == "c"
    assert timers.next_due_ns is None


def test_a_callback_may_add_another_that_is_due_at_once() -> None:
    timers = Timers(lambda: None)
    called: list[int] = []

    def again() -> None:
        called.append(1)
        if len(called) < 3:
            timers.at(5, again)

    timers.at(5, again)
    timers.run_due(5)
    assert len(called) == 3

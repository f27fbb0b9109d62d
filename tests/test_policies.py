"""`penstock.policies`: presets and policies of one's own, as the numbers that the core ranks by."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from penstock.errors import OptionError
from penstock.policies import DEFAULT_POLICY, POLICIES, Policy, hybrid, resolve


def test_presets_are_found_by_name_and_carry_it() -> None:
    assert list(POLICIES) == ["fifo", "priority", "utilisation", "hybrid", "product", "bottom_level", "static"]
    for name, policy in POLICIES.items():
        assert policy.name == name
        assert Policy.named(name) is policy
        assert resolve(name) is policy


def test_the_default_is_hybrid() -> None:
    assert resolve(None) is POLICIES["hybrid"]
    assert DEFAULT_POLICY == "hybrid"


def test_a_policy_resolves_to_itself() -> None:
    mine = Policy(name="mine", age=1)
    assert resolve(mine) is mine


def test_the_core_gets_form_weights_and_reservation_in_its_order() -> None:
    policy = Policy(priority=1, demand=2, critical_path=3, age=4, deadline=5, fit=6, submitted=7, reserve_after_s=1.5)
    assert policy.to_core() == (0, False, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1_500_000_000)
    assert list(policy.weights.values()) == [1, 2, 3, 4, 5, 6, 7]


def test_never_reserving_is_minus_one() -> None:
    assert Policy(reserve_after_s=None).to_core()[-1] == -1
    assert Policy(reserve_after_s=0).to_core()[-1] == 0


def test_what_the_presets_weigh() -> None:
    weighed = {name: {w for w, value in policy.weights.items() if value} for name, policy in POLICIES.items()}
    assert weighed == {
        "fifo": set(),
        "priority": {"priority"},
        "utilisation": {"fit", "age"},
        "hybrid": {"priority", "demand", "critical_path", "age", "deadline"},
        "product": set(),
        "bottom_level": {"critical_path"},
        "static": set(),
    }
    assert POLICIES["priority"].priority_raw
    assert POLICIES["product"].to_core()[0] == 1
    assert POLICIES["bottom_level"].reserve_after_s == 0.0
    assert all(policy.reserve_after_s == 1.0 for name, policy in POLICIES.items() if name != "bottom_level")


def test_hybrid_takes_weights_of_ones_own() -> None:
    mine = hybrid(age=0.5, reserve_after_s=None)
    assert mine.name == "hybrid"
    assert mine.age == 0.5
    assert mine.priority == POLICIES["hybrid"].priority
    assert hybrid() == POLICIES["hybrid"]


def test_an_unknown_name_lists_the_presets() -> None:
    expected = "policy='hybird'; allowed is one of 'fifo', 'priority', 'utilisation', 'hybrid', 'product', 'bottom_level', 'static', or a penstock.Policy. Did you mean 'hybrid'?"
    with pytest.raises(OptionError, match=re.escape(expected)):
        resolve("hybird")
    with pytest.raises(OptionError, match=re.escape("policy=3; allowed is one of")):
        resolve(3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=re.escape("policy=['fifo']")):
        resolve(["fifo"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"age": math.nan}, "policy 'custom': age=nan; allowed is any finite number"),
        ({"fit": "1"}, "fit='1'; allowed is any finite number"),
        ({"priority": True}, "priority=True; allowed is any finite number"),
        ({"form": "max"}, "form='max'; allowed is 'sum', 'product' or 'plan'"),
        ({"reserve_after_s": -1}, "reserve_after_s=-1; allowed is a number of seconds from 0 up, or None for never"),
        ({"reserve_after_s": 1e12}, "reserve_after_s=1000000000000.0"),
        ({"priority_raw": 1}, "priority_raw=1; allowed is True or False"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        Policy(**values)

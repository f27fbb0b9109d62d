"""The numbers of states and causes, which the core and the files on disk share."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from penstock.states import Cause, State

TYPES = Path(__file__).parents[1] / "cpp" / "include" / "penstock" / "types.hpp"


@pytest.mark.parametrize("mirror", [State, Cause])
def test_names_and_numbers_are_those_of_the_core(mirror: type[IntEnum]) -> None:
    body = re.search(rf"enum class {mirror.__name__} : std::uint8_t \{{(.*?)\}};", TYPES.read_text(), re.DOTALL)
    assert body is not None
    core = {name.upper(): int(number) for name, number in re.findall(r"(\w+) = (\d+)", body[1])}
    assert core == {member.name: member.value for member in mirror}


def test_the_final_states_are_the_four_without_a_way_out() -> None:
    final = {state for state in State if state.is_final}
    assert final == {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED}

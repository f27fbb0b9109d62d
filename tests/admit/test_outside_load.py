"""What admission does with what others use: it follows within two seconds, and stands still when nothing changes.

Played in arithmetic (tests/admit/virtual_machine.py): readings and instants are given, the core and the admission are real.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from tests.admit.virtual_machine import Played, play

FOLLOWED_S = 2.0
SHAPES = {"whole cores": {1000: 4000}, "half cores": {500: 8000}, "mixed": {2000: 1000, 1000: 2000, 500: 2000}}


def jittery(level: float, by: float, seed: int) -> Callable[[float], float]:
    """A load that stays about where it is: a new value every 10 ms."""
    draw, values = random.Random(seed), dict[int, float]()
    return lambda at_s: values.setdefault(int(100 * at_s), level * (1 + draw.uniform(-by, by)))


def turns(told: list[tuple[float, int]], since_s: float) -> int:
    """How often the capacity went back on what it did, from an instant on."""
    before = [value for at, value in told if at < since_s][-1:]
    values = before + [value for at, value in told if at >= since_s]
    ways = [b > a for a, b in pairwise(values)]
    return sum(a != b for a, b in pairwise(ways))


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("limit", [None, 0.75])
def test_concurrency_follows_a_load_that_comes_and_goes_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch, shapes: str, limit: float | None
) -> None:
    cores, hog = 8, 3
    played = play(
        monkeypatch,
        lambda at_s: hog if 10 <= at_s < 20 else 0,
        cores=cores,
        tasks=SHAPES[shapes],
        lasting_s=0.2,
        for_s=30,
        limits=None if limit is None else {"cpu": limit},
    )
    room = round(1000 * cores * (limit or 1))
    widest = max(SHAPES[shapes])
    assert min(played.between(1, 10)) > room - widest
    beside = played.between(10 + FOLLOWED_S, 20)
    noise = 800  # a tenth of the machine is no reason to move
    assert max(beside) <= room - 1000 * hog + noise
    assert min(beside) > room - 1000 * hog - noise - widest
    assert min(played.between(20 + FOLLOWED_S, 30)) > room - widest
    assert turns(played.told, 0) == 1


@pytest.mark.parametrize("cores", [2, 4, 16])
@pytest.mark.parametrize("limit", [None, 0.8])
def test_concurrency_stands_still_beside_a_load_that_does(
    monkeypatch: pytest.MonkeyPatch, cores: int, limit: float | None
) -> None:
    for level in range(21):  # from none to all of the machine; a tenth of it is where noise begins to count
        hog = jittery(cores * level / 20, 0.2, seed=level)
        for shapes in ("whole cores", "half cores"):
            played = play(
                monkeypatch, hog, cores=cores, tasks=SHAPES[shapes], lasting_s=0.4, for_s=20, seed=level,
                limits=None if limit is None else {"cpu": limit},
            )  # fmt: skip
            assert turns(played.told, 5) == 0, (level, shapes, played.told)
            assert played.changes(5, 20) <= 3, (level, shapes, played.told)


def test_a_load_that_comes_and_goes_again_and_again_is_followed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    phase_s = 4
    played = play(
        monkeypatch,
        lambda at_s: 1.0 if at_s // phase_s % 2 else 0,
        cores=2, tasks=SHAPES["half cores"], lasting_s=0.3, for_s=10 * phase_s, limits={"cpu": 0.8},
    )  # fmt: skip
    for phase in range(10):
        held = played.between(phase * phase_s + FOLLOWED_S, (phase + 1) * phase_s)
        assert set(held) == ({500} if phase % 2 else {1500}), phase
    assert turns(played.told, 0) == 8  # the load changes nine times, and each is followed one way


def test_beside_a_load_that_does_not_end_a_task_of_all_cores_has_its_turn_and_small_ones_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played = play(
        monkeypatch, jittery(1.0, 0.1, seed=1),
        cores=2, tasks={1000: 8, 2000: 4, 500: 8}, lasting_s=0.5, for_s=60,
    )  # fmt: skip
    assert played.ended == {1000: 8, 2000: 4, 500: 8}
    assert played.told[-1][1] < 2000  # what a wide task was given has been taken back


def test_a_wide_task_takes_nothing_from_others_before_it_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(
        monkeypatch, lambda at_s: 1.0, cores=2, tasks={1000: 400, 2000: 4}, lasting_s=0.5, for_s=20,
    )  # fmt: skip
    assert set(played.between(4, 20)) == {1000}
    assert 2000 not in played.ended


@pytest.mark.parametrize(("limits", "held"), [(None, 2000), ({"cpu": 2}, 0)])
def test_a_third_of_a_core_costs_a_task_of_two_nothing_unless_there_is_a_limit(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, object] | None, held: int
) -> None:
    played = play(
        monkeypatch, jittery(0.35, 0.2, seed=3), cores=2, tasks={2000: 400}, lasting_s=0.5, for_s=20, limits=limits
    )
    assert set(played.between(4, 20)) == {held}


def test_under_a_limit_of_the_user_a_task_waits_until_others_leave_it_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def until_20_s(at_s: float) -> float:
        return 1.0 if at_s < 20 else 0.0

    played = play(
        monkeypatch, until_20_s, cores=2, tasks={1500: 2}, lasting_s=0.5, for_s=30, limits={"cpu": 1.5}
    )  # fmt: skip
    # The first one starts before anything has been measured.
    assert set(played.between(2, 20)) == {0}
    assert played.ended == {1500: 2}


def test_what_is_unknown_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(monkeypatch, lambda at_s: 1.0, cores=2, tasks={1000: 400}, lasting_s=0.3, for_s=10, known=False)
    assert played.told == [(0, 2000)]
    assert set(played.between(0, 10)) == {2000}


def test_a_longer_view_of_what_was_played_is_what_it_says() -> None:
    assert turns([(1, 5), (2, 4), (3, 6), (4, 7)], 0) == 1
    assert turns([(1, 5), (2, 4), (3, 6), (4, 3)], 2.5) == 1
    assert Played(held=[1] * 100 + [2] * 100).between(0.99, 1.01) == [1, 2]

"""A runtime that lives long stays small. The long form runs ten million tasks, for about ten minutes to an hour."""

from __future__ import annotations

import pytest
from tests.chaos.soak import soak
from tests.chaos.traces import long_form

pytestmark = pytest.mark.timeout(2 * 3600)

TASKS = 10_000_000 if long_form() else 20_000
MOST_BYTES = 4.0
"""What each task may add once it is warm: next to nothing. The words of one in the core are 56 bytes."""


def test_many_small_tasks_through_one_runtime_give_their_results_and_leave_little_behind() -> None:
    found = soak(lambda done: done < TASKS)
    print(found)
    assert found.tasks == TASKS
    assert len(found.latencies_us) == TASKS // 1000
    if long_form():
        assert found.growth(0.3) < MOST_BYTES, str(found)
        assert found.tenth(9, 0.5) < 3 * found.tenth(1, 0.5), str(found)

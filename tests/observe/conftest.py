"""A run that a test writes event by event, on the core's own log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from penstock import _core
from penstock.observe.events import EventKind, read
from penstock.options import TaskSpec, make_spec
from penstock.states import Cause

if TYPE_CHECKING:
    from penstock.observe.events import Events

START_NS = 5_000_000_000
"""The run's clock does not begin at zero."""


class Scene:
    """A `RunView` whose log is written by the test. Instants are seconds from the start of the run."""

    def __init__(self) -> None:
        self.name = "demo"
        self.started_at = 1_700_000_000.0
        self.log = _core.EventLog()
        self.names: list[str] = []
        self.specs: list[TaskSpec] = []
        self.workers = 2
        self.capacity: dict[str, int | None] = {"cpu": 4000, "memory": 8 << 30, "disk": None}
        self.limits: dict[str, int] = {"cpu": 3000, "memory": 4 << 30}
        self.errors: dict[int, BaseException] = {}
        self.needs: dict[int, tuple[int, ...]] = {}
        self.reason = "'a' is ready, but the run is paused."

    def predecessors(self, task: int) -> Sequence[int]:
        return self.needs.get(task, ())

    def error(self, task: int) -> BaseException | None:
        return self.errors.get(task)

    def why(self, task: int) -> str:
        return self.reason

    def add(self, *names: str, at: float = 0.0, needs: Sequence[int] = ()) -> range:
        """Submit tasks that all wait for `needs`."""
        first = len(self.names)
        for name in names:
            self.needs[len(self.names)] = tuple(needs)
            self.names.append(name)
            self.specs.append(make_spec(None, name, {}))
        self.event(EventKind.SUBMITTED, at, first, value=len(names), attempt=0)
        return range(first, len(self.names))

    def event(
        self,
        kind: EventKind,
        at: float,
        task: int | None = None,
        *,
        attempt: int = 1,
        worker: int = 0,
        value: int = 0,
        cause: Cause = Cause.NONE,
    ) -> None:
        about = {} if task is None else {"task": task}
        self.log.append(
            int(kind),
            **about,
            attempt=attempt,
            worker=worker,
            value=value,
            cause=int(cause),
            time=START_NS + round(at * 1e9),
        )

    def ran(
        self, task: int, ready: float, start: float, end: float, *, worker: int = 0, lane: int = 0, attempt: int = 1
    ) -> None:
        """An attempt that succeeded."""
        self.event(EventKind.READY, ready, task, attempt=attempt)
        self.event(EventKind.STARTED, start, task, worker=worker, value=lane, attempt=attempt)
        self.event(EventKind.SUCCEEDED, end, task, value=round((end - start) * 1e9), attempt=attempt)

    def rows(self, start: int = 0) -> Events:
        return read(self.log, start)


@pytest.fixture
def scene() -> Scene:
    """An empty run whose start is in the log."""
    made = Scene()
    made.event(EventKind.RUN_STARTED, 0.0, attempt=0)
    return made


@pytest.fixture
def rehearsal(scene: Scene) -> Scene:
    """A whole run with one of everything.

    load -> {flaky, broken, standby} -> report; flaky retries once, broken fails, standby falls back, report never runs.
    """
    load = scene.add("load")[0]
    flaky, broken, standby = scene.add("flaky", "broken", "standby", needs=[load])
    report = scene.add("report", needs=[flaky, broken, standby])[0]
    event = scene.event
    scene.ran(load, 0.0, 0.1, 1.1)
    event(EventKind.CPU_USED, 1.1, load, value=800_000_000)
    event(EventKind.PEAK_MEMORY, 1.1, load, value=64 << 20)
    for task in (flaky, broken, standby):
        event(EventKind.READY, 1.1, task, attempt=0)
    event(EventKind.GAUGE, 1.0, worker=0, value=1000, attempt=0)
    event(EventKind.STARTED, 1.2, flaky, worker=0)
    event(EventKind.STARTED, 1.3, broken, worker=1)
    scene.errors |= {flaky: ValueError("not yet"), broken: KeyError("x"), standby: OSError("no disk\nat all")}
    event(EventKind.RETRYING, 1.5, flaky, value=START_NS + 2_000_000_000, cause=Cause.EXCEPTION)
    event(EventKind.FAILED, 1.8, broken, cause=Cause.TIMEOUT)
    event(EventKind.UPSTREAM_FAILED, 1.8, report, attempt=0, cause=Cause.UPSTREAM)
    event(EventKind.STARTED, 1.8, standby, worker=1)
    event(EventKind.FALLBACK, 1.9, standby, cause=Cause.EXCEPTION)
    event(EventKind.RETRYING, 1.9, standby, value=START_NS + 1_900_000_000, cause=Cause.EXCEPTION)
    scene.ran(standby, 1.9, 1.9, 2.0, worker=1, attempt=2)
    event(EventKind.GAUGE, 2.0, worker=0, value=2000, attempt=0)
    scene.ran(flaky, 2.0, 2.2, 4.2, attempt=2)
    event(EventKind.GAUGE, 4.2, worker=0, value=1000, attempt=0)
    event(EventKind.RUN_FINISHED, 4.2, attempt=0)
    scene.log.close()
    return scene


@pytest.fixture
def new_scene() -> Callable[[], Scene]:
    """Makes an empty run without even its start."""
    return Scene

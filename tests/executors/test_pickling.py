"""What reaches a worker: functions and classes of scripts, of files loaded by path, and of importable modules."""

from __future__ import annotations

import importlib
import importlib.util
import pickletools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from penstock.executors.pickling import dump, dump_function, load

pytestmark = pytest.mark.timeout(60)

SOURCE = """
import threading
from dataclasses import dataclass
from penstock import task

lock = threading.Lock()
calls = 0

@dataclass
class Point:
    x: int
    def moved(self, by):
        return Point(self.x + by)

@task(executor="processes")
def move(point, by=1):
    return point.moved(by)

def plain(point):
    return move.function(point, 10)

def count():
    global calls
    calls += 1
    return calls

@task
def uses_lock():
    with lock:
        return "locked"

@task
def builds():
    return [move.with_options(priority=3)(Point(1)), uses_lock()]
"""


def loaded_by_path(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def by_path(tmp_path: Path) -> Iterator[Any]:
    """A module that was loaded by its path, which `import` does not find."""
    path = tmp_path / "pipeline.py"
    path.write_text(SOURCE.replace("lock = threading.Lock()", "lock = None"))
    yield loaded_by_path(path, "pipeline_loaded_by_path")
    del sys.modules["pipeline_loaded_by_path"]


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that `import` finds through sys.path."""
    (tmp_path / "importable_pipeline.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("importable_pipeline")
    del sys.modules["importable_pipeline"]


def names_in(pickled: bytes | memoryview) -> set[object]:
    return {argument for _, argument, _ in pickletools.genops(bytes(pickled))}


def test_function_of_a_file_loaded_by_path_works_in_a_worker(processes: Any, by_path: Any) -> None:
    result = processes.value(processes.launch(by_path.move.function, by_path.Point(1)))
    assert type(result) is by_path.Point
    assert result == by_path.Point(2)
    assert processes.value(processes.launch(by_path.plain, by_path.Point(1))) == by_path.Point(11)


def test_function_of_a_script_works_in_a_worker(script: Any) -> None:
    program = script("""
import dataclasses
@dataclasses.dataclass
class Point:
    x: int
OFFSET = 3
def helper(point):
    return Point(point.x + OFFSET)
def move(point):
    return helper(point)
driver = Driver(Processes())
result = driver.value(driver.launch(move, Point(1)))
assert type(result) is Point
print(result)
driver.executor.close(kill=False)
""")
    assert program.communicate(timeout=50) == ("Point(x=4)\n", "")


def test_task_of_an_importable_module_travels_by_name(processes: Any, importable: Any) -> None:
    pickled = dump_function("uses_lock", importable.uses_lock.function)[0]
    assert "uses_lock" in names_in(pickled)
    assert len(pickled) < 200
    assert load([pickled]) is importable.uses_lock.function
    # Its module holds a lock, so by value it could not travel at all.
    assert processes.value(processes.launch(importable.uses_lock.function)) == "locked"


def test_calls_of_tasks_come_back_from_a_worker(processes: Any, importable: Any, by_path: Any) -> None:
    for module in (importable, by_path):
        first, second = processes.value(processes.launch(module.builds.function))
        assert first.task.spec.priority == 3
        assert first.task.function(*first.args) == module.Point(2)
        assert second.name == "uses_lock"
    assert first.args == (by_path.Point(1),)


def test_worker_keeps_a_functions_module_state_from_task_to_task(processes: Any, by_path: Any, importable: Any) -> None:
    for module in (by_path, importable):
        assert [processes.value(processes.launch(module.count)) for _ in range(3)] == [1, 2, 3]
    assert by_path.calls == importable.calls == 0


def test_module_that_became_importable_after_the_worker_started_is_found(
    processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes.value(processes.launch(abs, -1)) == 1
    (tmp_path / "late_module.py").write_text("def late():\n    return __name__\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    late = importlib.import_module("late_module")
    assert processes.value(processes.launch(late.late)) == "late_module"
    del sys.modules["late_module"]


def test_buffers_of_arrays_are_not_copied() -> None:
    array = np.arange(1000.0)
    pickled, buffer = dump({"a": array})
    assert len(pickled) < 500
    assert np.shares_memory(np.frombuffer(buffer), array)
    again = load([pickled, bytearray(buffer)])["a"]
    assert np.array_equal(again, array)
    assert again.flags.writeable


def test_modules_of_the_standard_library_and_packages_travel_by_name() -> None:
    for value in (importlib, importlib.import_module, np.linalg, np.linalg.norm, Path, sys):
        pickled = dump(value)[0]
        assert len(pickled) < 300
        assert load([pickled]) is value

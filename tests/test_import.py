"""`import penstock` is quick, brings nothing heavy, and gives every public name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import penstock

HEAVY = ["numpy", "psutil", "rich", "yaml", "click", "pynvml", "cloudpickle", "asyncio", "multiprocessing", "sqlite3"]


def in_fresh_interpreter(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_brings_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import penstock, json; print(json.dumps(sorted(set(sys.modules) - before)))"
    imported = json.loads(in_fresh_interpreter(code))
    assert "penstock.task" in imported
    assert [name for name in HEAVY if name in imported] == []
    assert [
        name for name in imported if name.startswith("penstock.") and name.split(".")[1] in ("_core", "runtime")
    ] == []


def test_describing_a_pipeline_brings_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from penstock import Pipeline, Policy, Retry, command, task\n"
        "@task(retries=2, memory='1GiB')\n"
        "def f(x): return x\n"
        "with Pipeline('p', policy='fifo') as p:\n"
        "    command('echo', ['echo', f(1)])\n"
        "p.freeze()\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    assert json.loads(in_fresh_interpreter(code)) == []


def test_importing_takes_less_than_a_tenth_of_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of five fresh interpreters, in processor time, since the machine may be busy with other tests."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))  # compiled once, as an installed package is
    code = "import time; start = time.process_time(); import penstock; print(time.process_time() - start)"
    times = [float(in_fresh_interpreter(code)) for _ in range(6)][1:]
    assert min(times) < 0.1, times


def test_every_public_name_is_there() -> None:
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
    assert set(penstock.__all__) <= set(dir(penstock))


def test_task_stays_the_decorator_when_its_module_is_imported() -> None:
    code = "import penstock.task, penstock, penstock.pipeline; print(type(penstock.task).__name__)"
    assert in_fresh_interpreter(code).strip() == "function"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'penstock' has no attribute 'Pipelin'"):
        _ = penstock.Pipelin  # type: ignore[attr-defined]
    assert not hasattr(penstock, "__wrapped__")


def test_the_version_is_the_one_in_the_metadata() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("penstock")
    except PackageNotFoundError:
        pytest.skip("penstock is on the path but not installed, so there is no metadata to compare")
    assert penstock.__version__ == installed

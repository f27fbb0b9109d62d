"""The public types, from a user's side: mypy --strict accepts what is right and reports what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import penstock

pytest.importorskip("mypy", reason="mypy is not installed; it comes with the extra 'dev'")

FILES = Path(__file__).parent / "typing"
ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$", re.MULTILINE)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """The first error that mypy --strict reports in each line, by file and line."""
    folder = tmp_path_factory.mktemp("typing")
    wrong = (FILES / "user_side_wrong.py").read_text(encoding="utf-8")
    assert wrong.startswith("# mypy: ignore-errors\n")  # for who checks all of tests/
    (folder / "user_side_wrong.py").write_text(wrong.replace("# mypy: ignore-errors", "", 1), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", "--no-pretty", "--config-file="]
    done = subprocess.run(
        [*command, f"--cache-dir={folder}", str(FILES / "user_side.py"), str(folder / "user_side_wrong.py")],
        env={"MYPYPATH": str(Path(penstock.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: dict[str, dict[int, str]] = {}
    for match in ERROR.finditer(done.stdout):
        errors.setdefault(Path(match["file"]).name, {}).setdefault(int(match["line"]), match["code"])
    return errors


def test_what_a_user_writes_passes_mypy_strict(found: dict[str, dict[int, str]]) -> None:
    assert found.get("user_side.py", {}) == {}


def test_a_users_mistakes_are_reported_where_they_are(found: dict[str, dict[int, str]]) -> None:
    text = (FILES / "user_side_wrong.py").read_text(encoding="utf-8").splitlines()
    expected = {
        number: line.partition("# error: ")[2] for number, line in enumerate(text, start=1) if "# error: " in line
    }
    assert len(expected) == 15
    assert found["user_side_wrong.py"] == expected

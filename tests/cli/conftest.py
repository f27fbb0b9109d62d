"""The command line as a user has it: a process of its own, in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE_S = 60

Penstock = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the process runs and pipeline files are written."""
    return tmp_path


@pytest.fixture
def penstock(folder: Path) -> Penstock:
    """Runs `penstock` with the given arguments and returns the ended process."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "penstock", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run

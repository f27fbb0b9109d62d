"""Builds the C++ programs of cpp/benchmarks, in build/benchmarks, and runs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.measures import Absent

__all__ = ["BUILD", "ROOT", "built", "compiler_version", "output_of"]

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "benchmarks"


def built(program: str, folder: Path = BUILD) -> Path:
    """Build one program as the module is built, optimised, and return its path.

    Raises:
        Absent: there is no CMake, no Ninja or no C++20 compiler, or it does not compile.
    """
    _configure(folder)
    output_of(_tool("cmake"), "--build", folder, "--target", program)
    return folder / "cpp" / "benchmarks" / program


def _configure(folder: Path) -> None:
    cmake, ninja = _tool("cmake"), _tool("ninja")
    # The wheel of oneTBB puts its CMake files under this prefix; where there are none, that rival is left out.
    output_of(
        cmake, "-S", ROOT, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-DCMAKE_BUILD_TYPE=Release",
        "-DPENSTOCK_BUILD_PYTHON=OFF", "-DPENSTOCK_BUILD_TESTS=OFF", "-DPENSTOCK_BUILD_BENCHMARKS=ON",
        f"-DCMAKE_PREFIX_PATH={sys.prefix}",
    )  # fmt: skip


def output_of(*command: str | Path) -> str:
    """Run a command and return what it printed on standard output.

    Raises:
        Absent: it failed; says how.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "; ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise Absent(f"{Path(command[0]).name} {command[1]} ended with status {done.returncode}: {last}")
    return done.stdout


def compiler_version(folder: Path = BUILD) -> str:
    """The C++ compiler that CMake chooses, as "GNU 12.2.0".

    Raises:
        Absent: as `built`.
    """
    _configure(folder)
    files = sorted(folder.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"))
    if not files:
        raise Absent(f"CMake has told of no C++ compiler in {folder.name}")
    found = dict(
        line.removeprefix("set(").removesuffix(")").split(" ", 1)
        for line in files[-1].read_text().splitlines()
        if line.startswith(("set(CMAKE_CXX_COMPILER_ID ", "set(CMAKE_CXX_COMPILER_VERSION "))
    )
    return f"{found['CMAKE_CXX_COMPILER_ID']} {found['CMAKE_CXX_COMPILER_VERSION']}".replace('"', "")


def _tool(name: str) -> str:
    """A command of this Python's environment, or of PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise Absent(f"the C++ programs are left out: there is no {name}; pip install '.[bench]' brings it")
    return found

"""The C++ tests of the core, one pytest test for each of them.

CMake configures and builds them in build/ctest, which is kept, so a second run only builds what changed. Without a
C++20 compiler these tests are skipped, and the sentence that pytest prints says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(source.stem for source in (ROOT / "cpp" / "tests").glob("test_*.cpp"))
PART_OF = {"atom": "priority_heap", "tickets": "priority_heap", "batch_graph": "readiness", "cache": "chunked_table"}
BUILD = ROOT / "build" / "ctest"
BUILD_LIMIT_S = 1500
TEST_LIMIT_S = 300

CPP20 = """
#include <atomic>
#include <concepts>
#include <span>
template <std::integral T> constexpr T twice(T x) { return x + x; }
int main() { static_assert(twice(2) == 4); std::atomic<int> a{0}; a.wait(1); return static_cast<int>(std::span<int>{}.size()); }
"""


def tool(name: str) -> str | None:
    """Return the path of a command, first from this Python's own environment, then from PATH."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


def output_of(*command: str | Path, limit_s: float) -> tuple[int, str]:
    """Run a command and return its exit code and what it printed; CTest's own limit is the shorter one."""
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=limit_s, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(errors="replace")


def missing(folder: Path) -> str | None:
    """Say what this machine lacks to build the C++ tests, or None."""
    if tool("cmake") is None or tool("ctest") is None:
        return "the C++ tests are skipped: there is no cmake; pip install 'penstock[test]' brings it"
    if tool("ninja") is None:
        return "the C++ tests are skipped: there is no ninja; pip install 'penstock[test]' brings it"
    named = os.environ.get("CXX")
    compiler = named or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        return "the C++ tests are skipped: there is no C++ compiler (c++, g++ or clang++ on PATH, or CXX)"
    if shutil.which(compiler.split()[0]) is None:
        return f"the C++ tests are skipped: CXX={compiler!r} names no command"
    source = folder / "cpp20.cpp"
    source.write_text(CPP20)
    code, printed = output_of(*compiler.split(), "-std=c++20", "-fsyntax-only", source, limit_s=60)
    if code != 0:
        return f"the C++ tests are skipped: {compiler} does not compile C++20:\n{printed}"
    return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder, with every C++ test that compiles built; one that does not fails in its own test below."""
    lack = missing(tmp_path_factory.mktemp("compiler"))
    if lack is not None:
        pytest.skip(lack)
    code, printed = output_of(
        str(tool("cmake")), "-S", ROOT, "-B", BUILD, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
        "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O2", "-DPENSTOCK_BUILD_TESTS=ON",
        "-DPENSTOCK_BUILD_PYTHON=OFF", f"-DPENSTOCK_TEST_TIMEOUT={TEST_LIMIT_S}", f"-DPython_EXECUTABLE={sys.executable}",
        limit_s=BUILD_LIMIT_S,
    )  # fmt: skip
    if code != 0:
        pytest.fail(f"cmake could not configure the C++ tests:\n{printed}", pytrace=False)
    output_of(str(tool("cmake")), "--build", BUILD, "--parallel", "2", "--", "-k", "0", limit_s=BUILD_LIMIT_S)
    return BUILD


def test_every_header_of_the_core_has_a_cpp_test() -> None:
    headers = [header.stem for header in sorted((ROOT / "cpp" / "include" / "penstock").glob("*.hpp"))]
    assert {"priority_heap", "ranking", "readiness", "ledger", "transitions", "event_log", "scheduler"} <= set(headers)
    untested = [
        header
        for header in headers
        if not any(name.startswith(f"test_{PART_OF.get(header, header)}") for name in NAMES)
    ]
    assert not untested, f"there is no cpp/tests/test_<header>.cpp for {untested}"


@pytest.mark.timeout(BUILD_LIMIT_S + TEST_LIMIT_S)
@pytest.mark.parametrize("name", NAMES)
def test_cpp(built: Path, name: str) -> None:
    code, printed = output_of(str(tool("cmake")), "--build", built, "--target", name, limit_s=BUILD_LIMIT_S)
    if code != 0:
        pytest.fail(f"{name} does not compile:\n{printed[-20000:]}", pytrace=False)
    code, printed = output_of(
        str(tool("ctest")), "--test-dir", built, "--tests-regex", f"^{name}$", "--output-on-failure",
        "--no-tests=error", limit_s=TEST_LIMIT_S + 60,
    )  # fmt: skip
    if code != 0:
        pytest.fail(printed[-20000:], pytrace=False)

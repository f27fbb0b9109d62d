"""Counts the instructions of the core's operations under callgrind and refuses a rise: `python -m benchmarks.gates`.

A count does not depend on how busy the machine is, so that it can fail a change where a time could only hint at one. It
depends on the compiler and the C library: `gates.json` names those that its counts are of, and with others the check is
left out. Needs valgrind, CMake and a C++20 compiler.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measures import Absent
from benchmarks.programs import ROOT, built, compiler_version, output_of

__all__ = ["accepted", "breaches", "count", "counts", "main", "toolchain"]

STORED = ROOT / "benchmarks" / "gates.json"
BUILD = ROOT / "build" / "benchmarks"
TOLERANCE = 0.05


def main(arguments: list[str] | None = None) -> int:
    """Check or store the counts. Exit status: 0; 1: a count rose beyond the tolerance; 2: something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the stored counts; the default")
    parser.add_argument("--update", action="store_true", help="store the counts of this build")
    given = parser.parse_args(arguments)
    if given.check and given.update:
        parser.error("--check and --update: give one of them")
    if shutil.which("valgrind") is None:
        print("the gates are left out: there is no valgrind; Debian has it as the package valgrind")
        return 0
    try:
        driver = built("gate_driver", BUILD)
        stored = json.loads(STORED.read_text()) if STORED.exists() else None
        here = toolchain(BUILD)
        if given.update:
            found = counts(driver)
            if stored is not None:
                print(table(stored["instructions"], found))
                for sentence in accepted(stored["instructions"], found):
                    print(sentence)
            STORED.write_text(json.dumps({"toolchain": here, "instructions": found}, indent=2) + "\n")
            print(f"stored the instructions of {len(found)} operations, with {here}")
            return 0
        if stored is None:
            print(f"there is no {STORED.name}; make it with python -m benchmarks.gates --update")
            return 2
        if stored["toolchain"] != here:
            print(f"the gates are left out: their counts are of {stored['toolchain']}, and here is {here}")
            return 0
        found = counts(driver)
    except Absent as absent:
        print(absent, file=sys.stderr)
        return 2
    print(table(stored["instructions"], found))
    broken = breaches(stored["instructions"], found)
    for sentence in broken:
        print(sentence)
    return 1 if broken else 0


def counts(driver: Path) -> dict[str, float]:
    """The instructions of each of the driver's operations, per operation."""
    return {operation: count(driver, operation) for operation in output_of(driver).splitlines()}


def count(driver: Path, operation: str) -> float:
    """Run one operation under callgrind and return its instructions, per operation.

    Raises:
        Absent: it failed, or callgrind counted nothing; says why.
    """
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no",
         "--toggle-collect=gate_measured", str(driver), operation],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or collected is None or int(collected.group(1)) == 0:
        raise Absent(f"valgrind ended with status {done.returncode} for {operation!r}:\n{done.stderr[-2000:]}")
    return round(int(collected.group(1)) / int(done.stdout), 2)


def breaches(stored: Mapping[str, float], found: Mapping[str, float], tolerance: float = TOLERANCE) -> list[str]:
    """Say which counts rose by more than `tolerance`, a share of them, or have nothing to be compared with."""
    sentences = []
    for operation in sorted({*stored, *found}):
        if operation not in stored:
            sentences.append(f"{operation!r} has no stored count; run python -m benchmarks.gates --update")
        elif operation not in found:
            sentences.append(f"{operation!r} is stored, but the driver does not have it any more; run --update")
        elif found[operation] > stored[operation] * (1 + tolerance):
            sentences.append(
                f"{operation!r} now takes {found[operation]:,.1f} instructions; {stored[operation]:,.1f} are stored, and"
                f" {100 * tolerance:g} % more are allowed. Make it cheaper, or say in the commit what the rise buys and"
                " run python -m benchmarks.gates --update"
            )
    return sentences


def accepted(stored: Mapping[str, float], found: Mapping[str, float], tolerance: float = TOLERANCE) -> list[str]:
    """Say which rises the gate would have refused, so that storing them does not pass for storing the falls beside them."""
    return [
        f"accepted: {operation!r} rose from {stored[operation]:,.1f} to {now:,.1f} instructions,"
        f" {100 * (now / stored[operation] - 1):+.1f} %; say in the commit what that buys"
        for operation, now in sorted(found.items())
        if operation in stored and now > stored[operation] * (1 + tolerance)
    ]


def table(stored: Mapping[str, float], found: Mapping[str, float]) -> str:
    lines = [f"{'instructions an operation':<48} {'stored':>10} {'now':>10} {'change':>8}"]
    for operation, now in found.items():
        before = stored.get(operation)
        change = "" if before is None else f"{100 * (now / before - 1):+.1f} %"
        lines.append(f"{operation:<48} {'' if before is None else f'{before:,.1f}':>10} {now:>10,.1f} {change:>8}")
    return "\n".join(lines)


def toolchain(folder: Path) -> str:
    """The compiler, C library and processor family that the counts depend on."""
    return f"{compiler_version(folder)}, {' '.join(platform.libc_ver())}, {platform.machine()}"


if __name__ == "__main__":
    raise SystemExit(main())

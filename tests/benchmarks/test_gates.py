"""The instruction gates refuse a slower core, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from benchmarks import gates
from benchmarks.measures import Absent
from benchmarks.programs import ROOT, output_of

OPERATION = "ledger: acquire and release"


def test_a_rise_within_the_tolerance_passes_and_one_beyond_it_is_named_with_both_counts() -> None:
    assert gates.breaches({"push": 100.0}, {"push": 105.0}) == []
    assert gates.breaches({"push": 100.0}, {"push": 90.0}) == []
    (sentence,) = gates.breaches({"push": 100.0, "pop": 50.0}, {"push": 105.2, "pop": 50.0})
    assert sentence.startswith("'push' now takes 105.2 instructions; 100.0 are stored, and 5 % more are allowed.")


def test_an_operation_that_only_one_of_the_two_has_is_a_breach() -> None:
    new, old = gates.breaches({"old": 1.0}, {"new": 1.0})
    assert "'new' has no stored count" in new
    assert "'old' is stored, but the driver does not have it any more" in old


def test_an_update_names_each_rise_that_it_accepts_among_the_falls() -> None:
    (sentence,) = gates.accepted({"push": 100.0, "pop": 50.0, "old": 1.0}, {"push": 176.0, "pop": 20.0, "new": 9.0})
    assert sentence == (
        "accepted: 'push' rose from 100.0 to 176.0 instructions, +76.0 %; say in the commit what that buys"
    )
    assert gates.accepted({"push": 100.0}, {"push": 105.0}) == []


def test_the_stored_counts_name_their_toolchain_and_are_all_positive() -> None:
    stored = json.loads(gates.STORED.read_text())
    assert set(stored) == {"toolchain", "instructions"}
    assert stored["instructions"][OPERATION] > 0
    assert min(stored["instructions"].values()) > 0


def test_without_valgrind_the_check_is_left_out_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert gates.main(["--check"]) == 0
    assert "there is no valgrind" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="counting instructions needs valgrind")
def test_a_core_that_was_made_slower_takes_more_instructions_than_the_gate_allows(tmp_path: Path) -> None:
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("counting instructions needs a C++ compiler")
    slower = tmp_path / "headers" / "penstock"
    slower.mkdir(parents=True)
    ledger = (ROOT / "cpp" / "include" / "penstock" / "ledger.hpp").read_text()
    release = "void release(const Demand& demand, Grant grant) noexcept {"
    assert ledger.count(release) == 1
    waste = "for (volatile int k = 0; k < 20; k = k + 1) {}"
    (slower / "ledger.hpp").write_text(ledger.replace(release, f"{release} {waste}"))
    counted = {}
    for name, includes in (("as it is", ()), ("slower", (f"-I{slower.parent}",))):
        driver = tmp_path / name.replace(" ", "_")
        output_of(
            compiler, "-std=c++20", "-O1", "-pthread", *includes, f"-I{ROOT / 'cpp' / 'include'}", f"-I{ROOT / 'cpp' / 'src'}",
            ROOT / "cpp" / "benchmarks" / "gate_driver.cpp", *sorted((ROOT / "cpp" / "src").glob("*.cpp")), "-o", driver,
        )  # fmt: skip
        counted[name] = {OPERATION: gates.count(driver, OPERATION)}
    assert gates.breaches(counted["as it is"], counted["as it is"]) == []
    (sentence,) = gates.breaches(counted["as it is"], counted["slower"])
    assert OPERATION in sentence
    with pytest.raises(Absent, match="no operation of that name"):
        gates.count(driver, "nothing")

"""Random bytes into everything that reads: a refusal in words, or a right answer, and never anything else.

The short form is seconds; PENSTOCK_LONG=1 asks for a hundred times as much. The reader of journals is also fuzzed where
its damage is tested, in tests/journal/test_store_errors.py.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock import Pipeline, task
from penstock.cli.main import cli
from penstock.errors import InternalError, PenstockError
from penstock.journal.errors import Damaged, StoreError
from penstock.journal.packs import PackKind, columns, packed, read_json
from penstock.journal.place import new_run_folder
from penstock.journal.reading import Pack, RecordedRun, _take, read_run
from penstock.journal.results import decode
from penstock.journal.schema import FILE
from penstock.pipeline_yaml import read_yaml
from penstock.workloads import read

TIMES = 100 if os.environ.get("PENSTOCK_LONG") == "1" else 1
SEED = int(os.environ.get("PENSTOCK_SEED", "7"))

pytestmark = pytest.mark.timeout(120 * (max(1, TIMES)))

WFFORMAT = b"""{"name": "w", "schemaVersion": "1.5", "workflow": {"specification": {"tasks": [{"name": "a", "id": "a", "parents": [],
 "children": [], "inputFiles": [], "outputFiles": []}], "files": []}, "execution": {"makespanInSeconds": 1, "tasks": [{"id": "a",
 "runtimeInSeconds": 1.5, "coreCount": 1, "memoryInBytes": 100}], "machines": []}}}"""
PSPLIB = b"""jobs (incl. supersource/sink ):  4
RESOURCES
  - renewable                 :  2   R
PRECEDENCE RELATIONS:
jobnr.    #modes  #successors   successors
   1        1          2           2   3
   2        1          1           4
   3        1          1           4
   4        1          0
REQUESTS/DURATIONS:
jobnr. mode duration  R 1  R 2
------------------------------------------------------------------------
  1      1     0       0    0
  2      1     8       4    0
  3      1     4      10    3
  4      1     0       0    0
RESOURCEAVAILABILITIES:
  R 1  R 2
   12   13
"""
YAML = Path(__file__).parents[1] / "data" / "pipeline_v1.yaml"


def changed(rng: random.Random, data: bytes) -> bytes:
    """Return bytes that are nearly `data`: flipped, cut, doubled, put together anew, or simply random."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(content) + 1)
        how = rng.randrange(6)
        if how == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif how == 1:
            del content[at : at + rng.randrange(1, 40)]
        elif how == 2:
            content[at:at] = content[rng.randrange(len(content) + 1) :][: rng.randrange(60)]
        elif how == 3:
            content[at:at] = rng.choice(
                [
                    b"{",
                    b"}",
                    b"[",
                    b"]",
                    b":",
                    b"- ",
                    b"&a",
                    b"*a",
                    b"!!python/object:os.system",
                    b"\0",
                    b"\xff",
                    b"${{",
                    b"\n  ",
                    b"9" * 30,
                    b"9" * 5000,
                    b"1e300",
                    b"null",
                    b"[" * 100_000,
                ]
            )
        elif how == 4:
            content[at : at + 8] = rng.randbytes(8)
        else:
            return rng.randbytes(rng.randrange(300))
    return bytes(content)


def test_a_yaml_file_of_any_bytes_is_a_pipeline_or_an_error_with_its_place() -> None:
    rng = random.Random(SEED)
    source = YAML.read_bytes()
    read = refused = 0
    for _ in range(400 * TIMES):
        text = changed(rng, source).decode("utf-8", "replace")
        try:
            read_yaml(text, "fuzz.yaml").freeze()
            read += 1
        except InternalError:
            raise
        except PenstockError as error:
            refused += bool(str(error))
    assert read
    assert refused > read


def test_a_journal_of_any_bytes_is_refused_in_words(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    number, folder = new_run_folder(tmp_path)
    for _ in range(100 * TIMES):
        (folder / FILE).write_bytes(changed(rng, b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20" + bytes(4096)))
        with pytest.raises(StoreError, match=r"journal\.sqlite"):
            read_run(tmp_path, number)


def test_packs_and_results_of_any_bytes_are_damaged_and_nothing_else(tmp_path: Path) -> None:
    """As if a digest were right by chance: decoding alone must not fail any other way, nor take memory without end."""
    rng = random.Random(SEED)
    good = {
        PackKind.RUN: b'{"name":"n","at":1.0,"options":{}}',
        PackKind.SESSION: b'{"number":1}',
        PackKind.TASKS: packed(
            {
                "head": b'{"first":0,"count":1,"labels":["f"]}',
                "names": b"a",
                "label": bytes(4),
                "lane": b"\0",
                "keys": bytes(16),
                "codes": bytes(16),
                "args": bytes(16),
                "degree": bytes(4),
                "before": b"",
                "origin": bytes(8),
            }
        ),
        PackKind.EVENTS: bytes(64),
        PackKind.RESULTS: packed(
            {
                "task": bytes(4),
                "attempt": bytes(4),
                "codec": b"\0",
                "length": bytes(4),
                "digest": bytes(16),
                "body": b"",
            }
        ),
        PackKind.ERRORS: b'{"errors":[[0,1,"E","m","t","EXCEPTION"]]}',
        PackKind.SKIPS: b'{"skips":[[0,["a"]]]}',
        PackKind.END: b'{"ending":"failed"}',
    }
    for seq, (kind, body) in enumerate(good.items()):
        run = RecordedRun(1, tmp_path)
        if kind != PackKind.SESSION:
            _take(run, Pack(0, 1, PackKind.SESSION, b"", good[PackKind.SESSION]))
        _take(run, Pack(seq, 1, kind, b"", body))  # the sample itself is right
    refused = 0
    for _ in range(2000 * TIMES):
        kind = rng.choice(list(good))
        run = RecordedRun(1, tmp_path)
        _take(run, Pack(0, 1, PackKind.SESSION, b"", good[PackKind.SESSION]))
        try:
            _take(run, Pack(1, 2 if kind == PackKind.SESSION else 1, kind, b"", changed(rng, good[kind])))
        except Damaged:
            refused += 1
    assert refused > 500
    for _ in range(500 * TIMES):
        with pytest.raises(Damaged):
            decode(rng.randrange(256) | 1, rng.randbytes(rng.randrange(100)), bytes(16), tmp_path)
        with pytest.raises(Damaged):
            columns(rng.randbytes(rng.randrange(1, 9)), "head")
        with pytest.raises(Damaged):
            read_json(b"[" * rng.randrange(1, 100_000))


def test_a_recording_or_a_workload_of_any_bytes_is_read_or_refused_in_words(tmp_path: Path) -> None:
    @task
    def number(n: int, *before: int) -> int:
        return n

    with Pipeline("recorded") as p:
        first = number(1)
        number(2, number(3, first))
    recording = tmp_path / "recording.npz"
    p.run(progress=False).save_events(recording)
    whole = recording.read_bytes()
    assert len(read(recording)) == 3
    rng = random.Random(SEED)
    refused = 0
    for _ in range(150 * TIMES):
        for suffix, source in ((".npz", whole), (".json", WFFORMAT), (".sm", PSPLIB)):
            file = tmp_path / f"changed{suffix}"
            file.write_bytes(changed(rng, source))
            try:
                read(file)
            except InternalError:
                raise
            except PenstockError:
                refused += 1
    assert refused > 100 * TIMES


def test_the_command_line_answers_any_words_with_a_status_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(SEED)
    (tmp_path / "bad.yaml").write_bytes(changed(rng, YAML.read_bytes()))
    words = [
        "plan",
        "runs",
        "resume",
        "show",
        "rm",
        "doctor",
        "--json",
        "--store",
        "--limits",
        "cpu=0.8",
        "-1",
        "0",
        "1",
        "99",
        "",
        "bad.yaml",
        "missing.py",
        "\x00",
        "é",
        "--",
        "--force",
        "--from",
        "x",
        ".",
        "/",
        "--help",
        "-h",
        "off",
    ]
    runner = CliRunner()
    statuses = set()
    for _ in range(150 * TIMES):
        given = [rng.choice(words[:6]), *rng.choices(words, k=rng.randrange(5))]
        if "doctor" in given:
            continue  # it measures the machine, for seconds
        done = runner.invoke(cli, given)
        assert done.exception is None or isinstance(done.exception, SystemExit), (given, done.exception)
        assert done.exit_code in (0, 1, 2, 130), given
        statuses.add(done.exit_code)
    assert {0, 2} <= statuses

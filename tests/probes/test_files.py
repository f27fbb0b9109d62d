"""Reading the kernel's files: all of them, however long, and only the numbers that are asked for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from penstock.probes.files import numbers_of, read

STAT = "anon 5\ninactive_file 70\ntotal_inactive_file 9000\nactive_file 8\nMemTotal:       24689464 kB\nno number\n"


@pytest.mark.parametrize("size", [0, 1, 1 << 14, (1 << 14) + 1, 100_000])
def test_a_file_of_any_length_is_read_whole_and_closed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_text("x" * size)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert read(str(path)) == "x" * size
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_file_that_is_given_piece_by_piece_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def give() -> None:
        with path.open("wb", buffering=0) as pipe:
            for piece in (b"one ", b"two ", b"three"):
                pipe.write(piece)

    giver = threading.Thread(target=give)
    giver.start()
    assert read(str(path)) == "one two three"
    giver.join()


def test_bytes_that_are_no_text_are_replaced_and_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "comm").write_bytes(b"caf\xe9")
    assert read(str(tmp_path / "comm")) == "caf\ufffd"
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "absent"))


def test_only_whole_names_at_the_beginning_of_a_line_count() -> None:
    assert numbers_of(STAT, "inactive_file", "active_file", "MemTotal", "absent") == {
        "inactive_file": 70, "active_file": 8, "MemTotal": 24689464,
    }  # fmt: skip
    assert numbers_of("", "anon") == {}


def test_a_line_that_holds_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="number"):
        numbers_of(STAT, "no")

"""The socket on which a live run answers: what it says, to whom, and that nothing asked of it harms the run."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline, questions, task
from penstock.questions import LONGEST, VERSION, Questions, folders, is_private
from penstock.run import Run

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no local sockets here"),
]


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sockets of this test lie, and no others. Short, as the paths of sockets must be."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "penstock"


@pytest.fixture
def live(own_folder: Path) -> Iterator[tuple[Run, Path]]:
    """A run of which one task is held, and its socket."""
    begun, held = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return held.wait(30)

    with Pipeline("sums") as p:
        task(name="held")(hold)()
        task(name="later")(int).with_options(after=[p["held"]])()
    run = p.start(progress=False, store=own_folder.parent / "store")
    (path,) = own_folder.glob("*.sock")
    assert begun.wait(30)
    yield run, path
    held.set()
    assert run.wait(30).ok
    assert not path.exists()
    assert "penstock-questions" not in {thread.name for thread in threading.enumerate()}


def ask(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(30)
        caller.connect(str(path))
        caller.sendall(line)
        caller.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: caller.recv(65536), b""))


def asked(path: Path, **question: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(path, json.dumps(question).encode() + b"\n"))
    return answer


def test_a_live_run_says_why_a_task_waits_and_who_it_is(live: tuple[Run, Path]) -> None:
    run, path = live
    answer = asked(path, version=VERSION, why="later")
    assert answer["why"] == run.why("later") == "'later' waits for 'held'."
    assert answer["version"] == VERSION
    assert answer["run"] | {"started_at": 0} == {
        "pipeline": "sums",
        "pid": os.getpid(),
        "started_at": 0,
        "target": None,
        "number": 1,
    }


def test_of_a_task_that_it_does_not_have_a_run_names_those_that_it_has(live: tuple[Run, Path]) -> None:
    _, path = live
    answer = asked(path, version=VERSION, why="latter")
    assert answer["names"] == ["held", "later"]
    assert "why" not in answer


@pytest.mark.parametrize(
    "line",
    [b'{"version": 99, "why": "later"}\n', b"[]\n", b'{"version": 1, "why": 3}\n', b'{"version": 1, "do": "x"}\n'],
)
def test_a_question_of_another_form_is_told_which_one_there_is(live: tuple[Run, Path], line: bytes) -> None:
    _, path = live
    answer = json.loads(ask(path, line))
    assert "it answers {" in answer["problem"]
    assert "why" not in answer


def test_noise_and_callers_who_say_nothing_get_no_answer_and_the_next_one_does(live: tuple[Run, Path]) -> None:
    _, path = live
    for noise in (b"", b"\xff\xfe\x00\n", b"GET / HTTP/1.1\r\n\r\n", b"{" * 100_000 + b"\n"):
        assert ask(path, noise) == b""
    assert asked(path, version=VERSION, why="held")["why"] == "'held' is running, attempt 1."


def test_a_line_without_end_is_cut_off(live: tuple[Run, Path]) -> None:
    _, path = live
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(30)
        caller.connect(str(path))
        with pytest.raises(OSError, match=r"pipe|reset"):
            caller.sendall(b"x" * (2 * LONGEST))
    assert "why" in asked(path, version=VERSION, why="held")


def test_a_caller_who_stays_silent_is_left_after_a_while(
    live: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = live
    monkeypatch.setattr(questions, "PATIENCE_S", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(path))
        assert "why" in asked(path, version=VERSION, why="held")


def test_only_the_user_himself_can_reach_the_socket(live: tuple[Run, Path]) -> None:
    _, path = live
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert is_private(path.parent)


def test_a_folder_that_others_can_look_into_is_not_used(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = own_folder.parent / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr(questions.tempfile, "gettempdir", lambda: str(elsewhere))
    own_folder.mkdir(mode=0o755)
    own_folder.chmod(0o755)
    link = elsewhere / f"penstock-{os.geteuid()}"
    link.symlink_to(own_folder.parent)  # another user's trap
    assert not any(is_private(folder) for folder in folders())

    with Pipeline("sums") as p:
        task(name="one")(int)()
    run = p.start(progress=False, store=own_folder.parent / "store")
    assert run.wait(30).ok
    assert list(own_folder.iterdir()) == []
    link.unlink()


def test_a_run_without_a_journal_and_without_a_file_has_no_socket(own_folder: Path) -> None:
    with Pipeline("sums") as p:
        task(name="one")(int)()
    run = p.start(progress=False)
    assert run.wait(30).ok
    assert not own_folder.exists()


def test_a_copy_of_the_process_does_not_keep_the_socket_alive(live: tuple[Run, Path]) -> None:
    _, path = live
    inherited, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(says, b"".join(b"o" if q._listener.fileno() >= 0 else b"c" for q in questions._open))
        os._exit(0)
    os.close(says)
    os.waitpid(child, 0)
    assert set(os.read(inherited, 100)) == set(b"c")
    os.close(inherited)
    assert "why" in asked(path, version=VERSION, why="held")


def test_closing_twice_does_nothing_more(own_folder: Path, live: tuple[Run, Path]) -> None:
    run, first = live
    second = Questions(own_folder, run.view, lambda name: 0, {})
    second.close()
    second.close()
    second.thread.join(30)
    assert not second.thread.is_alive()
    assert list(own_folder.iterdir()) == [first]

"""The documents tell the truth: their Python runs and prints what they say, and their links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").glob("*.md")])
RUN = ["README.md", "docs/guide.md"]

# Runs the blocks of one document in order, in one namespace, as a script would; writes what each one printed.
RUNNER = """
import contextlib, io, json, sys
document, blocks = json.load(sys.stdin)
printed = []
for line, code in blocks:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\\n" * line + code, document, "exec"))
    printed.append(out.getvalue())
with open(sys.argv[1], "w") as file:
    json.dump(printed, file)
"""


def blocks_of(text: str) -> list[tuple[int, str, str | None]]:
    """Return a document's Python blocks: lines before the code, the code, and the text block right below, if any."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
    found = list(fence.finditer(text))
    blocks = []
    for block, following in zip_longest(found, found[1:]):
        if block[1] == "python":
            is_output = following is not None and following[1] == "text" and following.start() == block.end()
            expected = following[2] if following is not None and is_output else None
            blocks.append((text.count("\n", 0, block.start(2)), block[2], expected))
    return blocks


def run_blocks(document: str, text: str, folder: Path) -> list[tuple[str, str | None]]:
    """Run a document's Python in a process of its own; return what each block printed and what it should have.

    Raises:
        AssertionError: a block raised; with its traceback, whose lines are the document's.
    """
    blocks = blocks_of(text)
    answer = folder / "printed.json"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER, str(answer)],
        input=json.dumps([document, [block[:2] for block in blocks]]),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{document} does not run:\n{done.stderr}"
    return list(zip(json.loads(answer.read_text()), [block[2] for block in blocks], strict=True))


@pytest.mark.parametrize("document", RUN)
def test_the_python_of_a_document_runs_and_prints_what_it_says(document: str, tmp_path: Path) -> None:
    outcomes = run_blocks(document, (ROOT / document).read_text(encoding="utf-8"), tmp_path)
    assert outcomes, f"{document} has no Python"
    for printed, expected in outcomes:
        if expected is not None:
            assert printed == expected


def test_a_block_that_prints_something_else_or_raises_is_noticed(tmp_path: Path) -> None:
    said = "Words.\n\n```python\nx = 1\nprint(x)\n```\n```text\n2\n```\n\n```sh\nnot python\n```\n\n```python\nx += 1\n```\n"
    assert run_blocks("said.md", said, tmp_path) == [("1\n", "2\n"), ("", None)]
    with pytest.raises(AssertionError, match=r'(?s)wrong.md does not run.*"wrong.md", line 4.*ZeroDivisionError'):
        run_blocks("wrong.md", "Words.\n\n```python\n1 / 0\n```\n", tmp_path)


def test_the_page_about_the_house_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    core = [path.name for path in (ROOT / "cpp" / "include" / "penstock").glob("*.hpp")]
    package = ROOT / "python" / "penstock"
    modules = [path.stem for path in package.glob("*.py") if not path.name.startswith("_")]
    folders = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    assert core
    assert modules
    assert folders
    assert [name for name in sorted(core + modules + folders) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_or_a_heading_leads_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), f"{document.name} links to {target}, which is not there"
        if heading:
            assert heading in headings_of(file.read_text(encoding="utf-8")), f"{target} is no heading"


def headings_of(text: str) -> set[str]:
    """Return the anchors that a hosting site makes of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}

"""`penstock.pipeline_file`: finds the pipeline in a file, or says in which line what is wrong."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from penstock import Pipeline
from penstock.errors import OptionError, PipelineFileError
from penstock.pipeline_file import load_pipeline, split_name

HEAD = "from penstock import Pipeline, task\n@task\ndef f(x=1): return x\n"
ONE = HEAD + "with Pipeline('one') as p:\n    f()\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a file; what loading it leaves in the interpreter is taken back."""
    path, modules = list(sys.path), set(sys.modules)
    yield lambda text, name="some_pipeline.py": _written(tmp_path / name, text)
    sys.path[:] = path
    registry: Any = cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES
    for name in set(sys.modules) - modules:
        if name.endswith("some_pipeline") or name in registry:
            registry.discard(name)
            del sys.modules[name]


def _written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(file: str | Path, name: str | None = None) -> PipelineFileError:
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(file, name)
    return caught.value


# ------------------------------------------------------------------------------------------------------------- finding


def test_the_only_pipeline_of_a_file_is_found(write: Write) -> None:
    p = load_pipeline(write(ONE))
    assert p.name == "one"
    assert len(p) == 1


def test_two_names_of_one_pipeline_are_one(write: Write) -> None:
    assert load_pipeline(write(ONE + "q = p\n")).name == "one"


def test_a_name_says_which_of_several(write: Write) -> None:
    path = write(HEAD + "a = Pipeline('first')\nb = Pipeline('second')\n")
    assert load_pipeline(f"{path}:b").name == "second"
    assert load_pipeline(path, "a").name == "first"
    error = refused(path)
    assert error.problem == f"it holds 2 pipelines; say which one: {path}:a, {path}:b."


def test_a_function_that_promises_a_pipeline_is_called(write: Write) -> None:
    text = HEAD + "def build() -> Pipeline:\n    with Pipeline('built') as p:\n        f()\n    return p\n"
    assert load_pipeline(write(text)).name == "built"
    assert load_pipeline(write("from __future__ import annotations\n" + text)).name == "built"


def test_a_pipeline_comes_before_functions(write: Write) -> None:
    text = HEAD + "def build() -> Pipeline:\n    return Pipeline('built')\np = Pipeline('ready')\n"
    assert load_pipeline(write(text)).name == "ready"
    assert load_pipeline(f"{write(text)}:build").name == "built"


def test_a_function_without_annotation_is_called_when_named(write: Write) -> None:
    path = write(HEAD + "def build():\n    return Pipeline('built')\n")
    assert load_pipeline(path, "build").name == "built"
    assert "it holds no pipeline" in refused(path).problem


def test_functions_that_need_arguments_are_no_candidates(write: Write) -> None:
    path = write(HEAD + "def build(n) -> Pipeline:\n    return Pipeline('built')\n")
    assert "it holds no pipeline; allowed are a Pipeline at module level" in refused(path).problem
    assert refused(path, "build").problem == "function 'build' needs arguments (n); give them defaults."


def test_a_function_that_was_imported_is_no_candidate(write: Write) -> None:
    write(HEAD + "def theirs() -> Pipeline:\n    return Pipeline('theirs')\n", "its_neighbour.py")
    path = write(HEAD + "from its_neighbour import theirs\ndef mine() -> Pipeline:\n    return Pipeline('mine')\n")
    assert load_pipeline(path).name == "mine"
    del sys.modules["its_neighbour"]


def test_a_file_name_with_a_colon_is_taken_as_it_is(write: Write, tmp_path: Path) -> None:
    path = write(ONE, "odd:name")
    assert split_name(path) == (path, None)
    assert split_name("a/digits.py:small") == (Path("a/digits.py"), "small")
    assert split_name("C:\\digits.py") == (Path("C:\\digits.py"), None)


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_a_missing_file_is_named_with_one_that_is_near(write: Write, tmp_path: Path) -> None:
    write(ONE)
    error = refused(tmp_path / "som_pipeline.py")
    assert str(error) == f"{tmp_path}/som_pipeline.py: there is no such file. Did you mean 'some_pipeline.py'?"
    assert refused(tmp_path / "other.py").problem == "there is no such file."  # that both end in .py is not near
    assert "there is no such file." in refused(tmp_path / "no" / "such.py").problem


def test_a_folder_and_an_unknown_ending_are_refused(write: Write, tmp_path: Path) -> None:
    assert "this is no file" in refused(tmp_path).problem
    assert refused(write("{}", "p.json")).problem == "it ends in '.json'; allowed are files in .py, .yaml and .yml."


def test_a_syntax_error_has_line_and_column(write: Write) -> None:
    error = refused(write("x = 1\ny = (1,\n"))
    assert (error.line, error.column) == (2, 5)
    assert error.problem == "'(' was never closed."


def test_bytes_that_are_no_python_are_refused(write: Write) -> None:
    assert "null bytes" in refused(write(b"x = 1\0")).problem
    assert "codec can't decode" in refused(write(b"x = '\xff'")).problem


def test_what_the_file_raises_is_told_with_its_line(write: Write) -> None:
    error = refused(write(HEAD + "def g():\n    return 1 / 0\n\ng()\n"))
    assert (error.line, error.problem) == (5, "ZeroDivisionError: division by zero")
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_what_a_neighbour_raises_is_told_with_both_places(write: Write) -> None:
    neighbour = write("def table():\n    return {}['x']\n", "its_neighbour.py")
    error = refused(write("from its_neighbour import table\n\nrows = table()\n"))
    del sys.modules["its_neighbour"]
    assert (error.line, error.problem) == (3, f"KeyError: 'x' (raised in {neighbour}:2, in table)")


def test_a_module_that_is_missing_is_named_without_frames_of_the_import_system(write: Write) -> None:
    error = refused(write("import os\nimport no_such_module_at_all\n"))
    assert (error.line, error.problem) == (2, "ModuleNotFoundError: No module named 'no_such_module_at_all'")


def test_a_wrong_call_of_ours_is_told_with_the_users_line_and_no_place_in_our_code(write: Write) -> None:
    error = refused(write(HEAD + "with Pipeline('p'):\n    f(1, 2)\n"))
    assert error.line == len(HEAD.splitlines()) + 2
    assert error.problem.startswith("TypeError: task 'f': too many positional arguments")
    assert "raised in" not in error.problem


def test_a_mistake_in_an_option_keeps_its_own_words(write: Write) -> None:
    error = refused(write("from penstock import task\n\n@task(prioriti=1)\ndef f(): ...\n"))
    assert error.problem == "task 'f': there is no option 'prioriti'. Did you mean 'priority'?"
    assert error.line in (3, 4)  # Python 3.10 counts a decorator to the line of its function
    assert isinstance(error.__cause__, OptionError)


def test_a_file_that_exits_is_an_error_and_not_the_end(write: Write) -> None:
    assert refused(write("import sys\nsys.exit(3)\n")).problem == "SystemExit: 3"


def test_an_unknown_name_suggests_one(write: Write) -> None:
    path = write(HEAD + "digits = Pipeline('d')\n")
    assert refused(path, "digist").problem == "it has no 'digist'. Did you mean 'digits'?"
    assert refused(path, "x").problem == "it has no 'x'. It holds 'digits'."
    assert refused(path, "f").problem.startswith(
        "'f' is or returns an object of type Task; allowed is a penstock.Pipeline."
    )


def test_a_function_that_returns_something_else_is_refused(write: Write) -> None:
    path = write(HEAD + "def build() -> Pipeline:\n    return 3\n")
    assert refused(path).problem == "'build' is or returns an object of type int; allowed is a penstock.Pipeline."


# ------------------------------------------------------------------------------------------- the file among other code


def test_a_file_can_import_its_neighbours_and_is_not_main(write: Write) -> None:
    write("name = 'from a neighbour'\n", "its_neighbour.py")
    text = "from its_neighbour import name\nfrom penstock import Pipeline\np = Pipeline(name)\n"
    p = load_pipeline(write(text + "if __name__ == '__main__':\n    raise SystemExit('ran as a script')\n"))
    assert p.name == "from a neighbour"
    del sys.modules["its_neighbour"]


def test_a_file_named_like_a_module_in_use_does_not_replace_it(write: Write) -> None:
    import json

    p = load_pipeline(write(ONE, "json.py"))
    assert p.name == "one"
    assert sys.modules["json"] is json
    sys.modules.pop("penstock_file_json")


def test_loading_a_failing_file_leaves_no_module_behind(write: Write) -> None:
    refused(write("raise ValueError\n"))
    assert "some_pipeline" not in sys.modules


def test_loading_again_reads_the_file_again(write: Write) -> None:
    assert load_pipeline(write(ONE)).name == "one"
    assert load_pipeline(write(ONE.replace("'one'", "'two'"))).name == "two"


def test_a_file_loaded_while_another_pipeline_records_is_its_own(write: Write) -> None:
    path = write(HEAD + "value = f(3)\np = Pipeline('p')\n")
    yaml = write("tasks: {a: {command: [date]}}", "p.yaml")
    with Pipeline("outer") as outer:
        load_pipeline(path)
        assert len(load_pipeline(yaml)) == 1
    assert len(outer) == 0
    assert sys.modules["some_pipeline"].value == 3


def test_tasks_of_a_file_can_be_called_in_a_process_that_cannot_import_it(write: Write, tmp_path: Path) -> None:
    text = (
        "from penstock import Pipeline, task\nK = 40\n@task\ndef f(x): return K + x\nwith Pipeline() as p:\n    f(2)\n"
    )
    call = next(iter(load_pipeline(write(text))))
    pickled = tmp_path / "call.pickle"
    pickled.write_bytes(cloudpickle.dumps((call.task, call.spec.function, call.args)))
    code = f"import pickle; t, f, args = pickle.load(open({str(pickled)!r}, 'rb')); print(t(*args), f(*args))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.sep,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p != str(tmp_path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "42 42\n", done.stderr


def test_yaml_files_are_read_by_either_ending_and_checked_by_name(write: Write) -> None:
    text = "name: sample\ntasks: {a: {command: [date]}}\n"
    for name in ("p.yaml", "p.yml", "p.YAML"):
        path = write(text, name)
        assert load_pipeline(path).name == "sample"
        assert load_pipeline(f"{path}:sample").name == "sample"
        assert refused(f"{path}:other").problem == "its pipeline is named 'sample', not 'other'."


def test_a_yaml_file_that_is_not_utf8_is_refused(write: Write) -> None:
    assert refused(write(b"name: \xff", "p.yaml")).problem == "it is not UTF-8 text (byte 6 does not fit)."


def test_the_error_survives_pickling(write: Write) -> None:
    error = refused(write("x = 1\ny = (1,\n"))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)

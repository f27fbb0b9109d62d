"""Loads the pipeline that a file describes: `FILE` or `FILE:NAME`, a Python file or a YAML file of commands.

A Python file holds a `Pipeline` at module level, or a function without arguments that returns one. It is executed, with
its own folder first on the import path, under a name other than `__main__`: what is to happen only when the file is run
as a script goes below `if __name__ == "__main__":`. The YAML format is in docs/pipeline_files.md.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import penstock
from penstock.errors import PenstockError, PipelineFileError, did_you_mean
from penstock.pipeline import Pipeline
from penstock.task import recorder

__all__ = ["load_pipeline", "split_name"]

SUFFIXES = (".py", ".yaml", ".yml")
OURS = str(Path(penstock.__file__).parent) + os.sep


def load_pipeline(file: str | PathLike[str], name: str | None = None) -> Pipeline:
    """Return the pipeline in a file.

    Args:
        file: path of a .py, .yaml or .yml file; after a colon the name of the pipeline may follow: "digits.py:small".
        name: that name, given apart. In a Python file it is a variable or a function, in YAML the `name:` itself.

    Raises:
        PipelineFileError: the file is missing, does not parse, raises, holds no pipeline, or holds several and no name
            says which; with line and column where there are any.
        CycleError: tasks in a YAML file wait for one another in a ring.
    """
    path, in_file = split_name(file)
    name = name or in_file
    shown = fspath(path)
    if not path.exists():
        raise PipelineFileError(f"there is no such file.{_near(path)}", shown)
    if not path.is_file():
        raise PipelineFileError("this is no file; give a .py, .yaml or .yml file.", shown)
    outer = recorder.set(None)  # a file that is loaded inside `with Pipeline(...)` is still its own
    try:
        return _loaded(path, name)
    finally:
        recorder.reset(outer)


def _loaded(path: Path, name: str | None) -> Pipeline:
    shown, suffix = fspath(path), path.suffix.lower()
    if suffix == ".py":
        return _Module(path).pipeline(name)
    if suffix not in SUFFIXES:
        raise PipelineFileError(f"it ends in {suffix!r}; allowed are files in .py, .yaml and .yml.", shown)
    from penstock.pipeline_yaml import read_yaml

    pipeline = read_yaml(_text(path), shown)
    if name not in (None, pipeline.name):
        raise PipelineFileError(f"its pipeline is named {pipeline.name!r}, not {name!r}.", shown)
    return pipeline


def split_name(file: str | PathLike[str]) -> tuple[Path, str | None]:
    """Return path and name of `FILE[:NAME]`; a file whose name really has the colon is taken as it is."""
    text = fspath(file)
    path, colon, name = text.rpartition(":")
    if colon and path and name.isidentifier() and not Path(text).exists():
        return Path(path), name
    return Path(text), None


def _near(path: Path) -> str:
    folder = path.parent
    # By their stems: all files that end alike look near.
    there = (
        {entry.stem: entry.name for entry in folder.iterdir() if entry.suffix in SUFFIXES} if folder.is_dir() else {}
    )
    near = get_close_matches(path.stem, list(there), n=1)
    return f" Did you mean {there[near[0]]!r}?" if near else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PipelineFileError(f"it is not UTF-8 text (byte {error.start} does not fit).", fspath(path)) from None
    except OSError as error:
        raise PipelineFileError(f"it cannot be read: {error.strerror}.", fspath(path)) from None


class _Module:
    """A pipeline file in Python, executed."""

    def __init__(self, path: Path) -> None:
        self.shown = fspath(path)
        self.path = path.resolve()
        self.module = ModuleType(_module_name(self.path))
        self.module.__file__ = str(self.path)
        self._execute(self._compiled())

    def pipeline(self, name: str | None) -> Pipeline:
        """Return the pipeline called `name`, or the only one."""
        found = self._candidates()
        if name is None:
            if len(found) == 1:
                return self._made(*found.popitem())
            if not found:
                raise self._error(
                    "it holds no pipeline; allowed are a Pipeline at module level, or a function without arguments that "
                    "is annotated to return one (`def main() -> Pipeline:`)."
                )
            names = ", ".join(f"{self.shown}:{one}" for one in found)
            raise self._error(f"it holds {len(found)} pipelines; say which one: {names}.")
        value = getattr(self.module, name, None)
        if value is None:
            held = f" It holds {', '.join(map(repr, found))}." if found else " It holds no pipeline."
            raise self._error(f"it has no {name!r}.{did_you_mean(name, found) or held}")
        return self._made(name, value)

    def _candidates(self) -> dict[str, object]:
        """Return the pipelines at module level by name, or, if there are none, the functions that promise one."""
        pipelines: dict[str, object] = {}
        for name, value in self._names():
            if isinstance(value, Pipeline) and not any(value is known for known in pipelines.values()):
                pipelines[name] = value
        return pipelines or {name: value for name, value in self._names() if self._promises(value)}

    def _names(self) -> Iterator[tuple[str, object]]:
        return ((name, value) for name, value in vars(self.module).items() if not name.startswith("__"))

    def _promises(self, value: object) -> bool:
        if not inspect.isfunction(value) or value.__module__ != self.module.__name__:
            return False
        returns = value.__annotations__.get("return")
        return (returns is Pipeline or returns in ("Pipeline", "penstock.Pipeline")) and not _needed(value)

    def _made(self, name: str, value: object) -> Pipeline:
        """Return `value` if it is a pipeline, or the one that it returns as a function."""
        if not isinstance(value, Pipeline) and inspect.isfunction(value):
            needed = _needed(value)
            if needed:
                raise self._error(f"function {name!r} needs arguments ({', '.join(needed)}); give them defaults.")
            value = self._guarded(value)
        if not isinstance(value, Pipeline):
            raise self._error(
                f"{name!r} is or returns an object of type {type(value).__qualname__}; allowed is a penstock.Pipeline."
            )
        return value

    def _compiled(self) -> CodeType:
        try:
            return compile(self.path.read_bytes(), str(self.path), "exec", dont_inherit=True)
        except SyntaxError as error:
            raise self._error(f"{error.msg}.", error.lineno, error.offset) from None
        except ValueError as error:  # null bytes, before Python 3.12
            raise self._error(f"{error}.") from None
        except OSError as error:
            raise self._error(f"it cannot be read: {error.strerror}.") from None

    def _execute(self, code: CodeType) -> None:
        folder = str(self.path.parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        before = sys.modules.get(self.module.__name__)
        sys.modules[self.module.__name__] = self.module
        try:
            self._guarded(exec, code, vars(self.module))
        except PipelineFileError:
            del sys.modules[self.module.__name__]
            if before is not None:
                sys.modules[self.module.__name__] = before
            raise
        import cloudpickle  # type: ignore[import-untyped]

        cloudpickle.register_pickle_by_value(self.module)  # a worker process could not import it by its name

    def _guarded(self, function: Any, *args: Any) -> object:
        """Call the user's code; what it raises becomes an error that says where in the file."""
        try:
            return function(*args)
        except (Exception, SystemExit) as error:
            line, elsewhere = self._place(error)
            if isinstance(error, PenstockError):
                raise self._error(str(error), line) from error
            raise self._error(f"{type(error).__name__}: {error}{elsewhere}", line) from error

    def _place(self, error: BaseException) -> tuple[int | None, str]:
        """Return the last line of this file that led to `error`, and in words where it was raised if not there."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(self.path)]
        line = own[-1].lineno if own else None
        # An import that fails ends in frames of the import system, a wrong use of ours in ours. Those say nothing.
        last = next((frame for frame in reversed(frames) if not frame.filename.startswith(("<frozen ", OURS))), None)
        if last is None or last.filename == str(self.path):
            return line, ""
        return line, f" (raised in {last.filename}:{last.lineno}, in {last.name})"

    def _error(self, problem: str, line: int | None = None, column: int | None = None) -> PipelineFileError:
        return PipelineFileError(problem, self.shown, line, column)


def _module_name(path: Path) -> str:
    """Return the file's stem, unless a module of that name that is not this file is imported already."""
    known = sys.modules.get(path.stem)
    if path.stem.isidentifier() and (known is None or getattr(known, "__file__", None) == str(path)):
        return path.stem
    return f"penstock_file_{path.stem}"


def _needed(function: Any) -> list[str]:
    """Return the names of the parameters that a call must give."""
    plain = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is one.empty and one.kind not in plain]

"""Pickling for worker processes: functions from anywhere, arrays without a copy, errors that name what is wrong.

A function, class or task travels as the name of its module where a worker can import that, else by value: those of a
script, of a notebook, and of a pipeline file that was loaded by its path. Buffers of arrays are passed beside the
pickle (protocol 5).
"""

from __future__ import annotations

import importlib
import inspect
import io
import os
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import cloudpickle  # type: ignore[import-untyped]

from penstock.errors import PickleError, message_of
from penstock.task import Task

__all__ = ["dump", "dump_arguments", "dump_function", "dump_result", "load"]

Dumped = list["bytes | memoryview"]
"""A pickle and the buffers that belong to it, in order."""


def dump(value: object) -> Dumped:
    """Return `value` as a pickle and its buffers; the buffers are `value`'s own memory, not copies.

    Raises:
        Exception: whatever the objects in it raise when they are pickled; most often TypeError or pickle.PicklingError.
    """
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    _Pickler(file, 5, buffers.append).dump(value)
    return [file.getvalue(), *[buffer.raw() for buffer in buffers]]


def load(parts: Sequence[bytes | bytearray | memoryview]) -> Any:
    """Return what `dump` was given. Arrays use the memory of `parts`, so they can be written to where it can.

    Raises:
        Exception: whatever the objects in it raise when they are made.
    """
    return pickle.loads(parts[0], buffers=parts[1:])


def dump_function(task: str, function: Callable[..., Any]) -> Dumped:
    """Return the function of a task, pickled.

    Raises:
        PickleError: it cannot be; names the task and says why.
    """
    try:
        return dump(function)
    except BaseException as error:  # a user's method may even call sys.exit()
        raise PickleError(
            f"task {task!r}: its function cannot be pickled, which a task with executor='processes' needs: "
            f"{_why(error)}. Make what it uses inside the function, or use executor='threads'."
        ) from error


def dump_arguments(
    task: str, function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> Dumped:
    """Return the arguments of a task, pickled as one `(args, kwargs)`.

    Raises:
        PickleError: they cannot be; names the task, the argument, its type, and says why.
    """
    try:
        return dump((args, dict(kwargs)))
    except BaseException as error:
        place, value = _culprit(function, args, kwargs)
        raise PickleError(
            f"task {task!r}: {place}, {_a_type(value)}, cannot be pickled: {_why(error)}. A task with "
            "executor='processes' gets its arguments by pickle: pass plain data, or use executor='threads'."
        ) from error


def dump_result(task: str, value: object) -> Dumped:
    """Return the result of a task, pickled.

    Raises:
        PickleError: it cannot be; names the task and the result's type, and says why.
    """
    try:
        return dump(value)
    except MemoryError:
        raise
    except BaseException as error:
        raise PickleError(
            f"task {task!r}: its result, {_a_type(value)}, cannot be pickled: {_why(error)}. A task with "
            "executor='processes' returns its result by pickle: return plain data, or use executor='threads'."
        ) from error


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Reduce a code object as cloudpickle does, and keep its file name.

    cloudpickle 3.1.3 writes "<dynamic-code>" in its place, so that equal functions have equal pickles. We compare no
    pickles, and without the name a traceback from a worker cannot show the line that failed.
    """
    return _code_from, (code.co_filename, *cloudpickle.Pickler.dispatch_table[CodeType](code))


def _code_from(file: str, make: Callable[..., CodeType], args: tuple[Any, ...]) -> CodeType:
    return make(*args).replace(co_filename=file)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle's, which asks whether a worker can really import a module before it relies on that."""

    dispatch_table: ClassVar[Any] = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (FunctionType, type, Task)):
            module = sys.modules.get(getattr(obj, "__module__", None) or "")
        else:
            module = obj if isinstance(obj, ModuleType) else None
        if isinstance(module, ModuleType) and module.__name__ != "__main__":
            if not _can_be_imported(module):
                cloudpickle.register_pickle_by_value(module)
            elif isinstance(obj, FunctionType):
                # `@task` puts the task in the place of its function, so the function is looked up through it.
                holder = _found(module, obj.__qualname__)
                if isinstance(holder, Task) and holder.spec.function is obj:
                    return _function_of_task, (module.__name__, obj.__qualname__)
        return super().reducer_override(obj)


def _function_of_task(module: str, qualname: str) -> Callable[..., Any]:
    function: Callable[..., Any] = _found(importlib.import_module(module), qualname).spec.function
    return function


def _found(module: ModuleType, qualname: str) -> Any:
    found: object = module
    for attribute in qualname.split("."):
        found = getattr(found, attribute, None)
    return found


_importable: WeakKeyDictionary[ModuleType, bool] = WeakKeyDictionary()


def _can_be_imported(module: ModuleType) -> bool:
    """Return whether `import` in a process with this one's sys.path would find the file that `module` came from."""
    known = _importable.get(module)
    if known is None:
        # What is not in its own place in sys.modules is known to cloudpickle as dynamic.
        known = _importable[module] = sys.modules.get(module.__name__) is not module or _is_found(module)
    return known


def _is_found(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if file is None:
        return True  # built in, or a package without a file: both come by name
    package, _, _ = module.__name__.rpartition(".")
    path = None
    if package:
        parent = sys.modules.get(package)
        path = getattr(parent, "__path__", None)
        if parent is None or path is None or not _can_be_imported(parent):
            return False
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(module.__name__, path) if find is not None else None
        if spec is not None:
            return (
                not spec.has_location or spec.origin is None or os.path.realpath(spec.origin) == os.path.realpath(file)
            )
    return False


def _culprit(
    function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[str, object]:
    """Return the words for the first argument that cannot be pickled, and its value."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    for place, value in enumerate(args):
        if not _can_be_pickled(value):
            name = f" ({names[place]!r})" if place < len(names) else ""
            return f"argument {place + 1}{name}", value
    for key, value in kwargs.items():
        if not _can_be_pickled(value):
            return f"argument {key!r}", value
    return "the arguments together", (args, kwargs)


def _can_be_pickled(value: object) -> bool:
    try:
        dump(value)
    except BaseException:  # noqa: BLE001  pickling calls methods of the user's classes
        return False
    return True


def _a_type(value: object) -> str:
    kind = type(value)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _why(error: BaseException) -> str:
    return message_of(error).strip().rstrip(".") or type(error).__name__

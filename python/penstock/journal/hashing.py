"""What a task is made of, as digests: its code, its arguments, and both with all that they come from.

Two runs of a program must agree on them, whatever the hash seed of its strings and the order of its sets. What cannot
be compared at all, an open file say, counts as its type alone and is noted as such.
"""

from __future__ import annotations

import dis
import enum
import functools
import inspect
import os
import pickle
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from penstock.executors.pickling import dump
from penstock.task import Call, Part, Task

__all__ = ["Hasher", "short"]

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
SHORT = 16
_NO_ARGUMENTS = blake2b(b"no arguments", digest_size=SHORT).digest()


def short(data: bytes) -> bytes:
    """Return 16 bytes that stand for `data`."""
    return blake2b(data, digest_size=SHORT).digest()


class Hasher:
    """Digests of functions and arguments; remembers those of functions.

    Attributes:
        opaque: what was last given to `arguments` and cannot be compared, as text.
    """

    def __init__(self) -> None:
        self.opaque: list[str] = []
        self._functions: dict[
            int, tuple[object, bytes]
        ] = {}  # by id(); the object is kept so that the id stays its own
        self._at_work: list[int] = []

    # -------------------------------------------------------------------------------------------------------- code

    def code(self, function: object) -> bytes:
        """Return 16 bytes that change when the function's code does, or that of what it calls in the user's own modules.

        Counted are instructions, constants, defaults, what it closes over, and what it takes from its module or from
        others of the user's: functions, classes, constants, and containers and arrays whose names are in capitals. Not
        counted are line numbers, its docstring, other data of modules, and the code of installed packages.
        """
        known = self._functions.get(id(function))
        if known is not None:
            return known[1]
        if id(function) in self._at_work:
            return bytes(SHORT)  # it calls itself, perhaps by way of others
        self._at_work.append(id(function))
        try:
            found = short(b"".join(self._code_parts(function)))
        finally:
            self._at_work.pop()
        if not self._at_work:  # inside a ring of calls a digest depends on where the walk began
            self._functions[id(function)] = (function, found)
        return found

    def _code_parts(self, function: object) -> Iterable[bytes]:
        if isinstance(function, Task):
            function = function.spec.function
        if isinstance(function, functools.partial):
            yield b"partial" + self.code(function.func) + self.arguments(function.args, function.keywords)
        elif isinstance(function, MethodType):
            yield b"method" + self.code(function.__func__) + self._value(function.__self__)
        elif isinstance(function, FunctionType):
            if _is_users(function.__code__):
                yield from self._function(function)
            else:
                yield f"library {function.__module__}.{function.__qualname__}".encode()
        elif isinstance(function, type):
            yield from self._class(function)
        elif callable(function):
            call = vars(type(function)).get("__call__")
            name = getattr(function, "__qualname__", None) or getattr(function, "__name__", "")
            yield f"callable {_label(function)} {getattr(function, '__module__', '')}.{name}".encode()
            if isinstance(call, FunctionType) and _is_users(call.__code__):
                yield self.code(call) + self._value(function)

    def _function(self, function: FunctionType) -> Iterable[bytes]:
        yield b"function" + self._code_object(function.__code__, function.__doc__)
        yield self._value(function.__defaults__) + self._value(function.__kwdefaults__)
        yield self._closed_over(function)
        names = _names_in(function.__code__)
        for name in sorted(names):
            if name in function.__globals__:
                yield name.encode() + self._named(name, function.__globals__[name], names, frozenset())
        for name in sorted(_imports_in(function.__code__)):
            if (file := _users_module_file(name)) is not None:
                yield name.encode() + _file_digest(file)

    def _closed_over(self, function: FunctionType) -> bytes:
        """Return what stands for what a function closes over, as it was when this process first looked at it.

        Later, a list to which its own calls append, say, would make it another function than the one that ran.
        """
        if not function.__closure__:
            return b""
        known = _closures.get(function)
        if known is None:
            known = b"".join([self._used(_content(cell), counts=True) for cell in function.__closure__])
            if len(self._at_work) <= 1:  # inside a ring of calls a digest depends on where the walk began
                _closures[function] = known
        return known

    def _named(self, name: str, value: object, names: set[str], inside: frozenset[str]) -> bytes:
        """Return what stands for a value that code with those `names` finds in a module, or in a module of that."""
        if not isinstance(value, ModuleType):
            return self._used(value, counts=name.isupper())
        parts = [b"module " + value.__name__.encode()]
        if value.__name__ not in inside and _is_users_module(value):
            inside |= {value.__name__}
            content = vars(
                value
            )  # which of the names are taken from it cannot be told from its code; more does no harm
            parts += [
                one.encode() + self._named(one, content[one], names, inside) for one in sorted(names) if one in content
            ]
        return b"".join(parts)

    def _class(self, kind: type) -> Iterable[bytes]:
        yield f"class {kind.__module__}.{kind.__qualname__}".encode()
        for base in kind.__bases__:
            yield self._used(base)
        for name, member in sorted(vars(kind).items()):
            plain = inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", member)) or member)
            if isinstance(plain, FunctionType):
                if _is_users(plain.__code__):
                    yield name.encode() + self.code(plain)
            elif _is_constant(member) and not name.startswith("__"):
                yield name.encode() + self._value(member)

    def _used(self, value: object, *, counts: bool = False) -> bytes:
        """Return what stands for a value that code uses but was not given.

        counts: containers and arrays do by content; else what may change while programs run says nothing of the code.
        """
        if isinstance(value, (FunctionType, MethodType, functools.partial, Task)):
            return self.code(value)
        if isinstance(value, type):
            module = sys.modules.get(value.__module__)
            file = getattr(module, "__file__", None)
            return self.code(value) if file is None or _is_users_file(file) else _label(value).encode()
        if isinstance(value, ModuleType):
            return b"module " + value.__name__.encode()
        if _is_constant(value) or (counts and _is_container(value)):
            return self._value(value)
        return b"some " + type(value).__qualname__.encode()

    def _code_object(self, code: CodeType, doc: str | None) -> bytes:
        parts = [code.co_code, repr((code.co_argcount, code.co_kwonlyargcount, code.co_flags & 0xFF)).encode()]
        parts += [" ".join((*code.co_names, *code.co_varnames, *code.co_freevars)).encode("utf-8", "backslashreplace")]
        for place, constant in enumerate(code.co_consts):
            if isinstance(constant, CodeType):
                parts.append(self._code_object(constant, None))
            elif place == 0 and constant == doc:
                parts.append(b"doc")
            else:
                parts.append(self._value(constant))
        return short(b"".join(parts))

    # --------------------------------------------------------------------------------------------------- arguments

    def arguments(self, args: tuple[object, ...], kwargs: Any) -> bytes:
        """Return 16 bytes that change when the arguments do; a call in them counts by its place, not by its result."""
        self.opaque = []
        if not args and not kwargs:
            return _NO_ARGUMENTS
        digest = blake2b(digest_size=SHORT)
        feeder = _Feeder(digest.update, self)
        for value in args:
            feeder.feed(value)
        for key in sorted(kwargs):
            feeder.feed(key)
            feeder.feed(kwargs[key])
        self.opaque = feeder.opaque
        return digest.digest()

    def _value(self, value: object) -> bytes:
        digest = blake2b(digest_size=SHORT)
        _Feeder(digest.update, self).feed(value)
        return digest.digest()


class _Feeder:
    """Writes values into a digest, each with its kind and its length, so that no two of them look alike."""

    def __init__(self, update: Callable[[Any], None], hasher: Hasher) -> None:
        self.update = update
        self.hasher = hasher
        self.opaque: list[str] = []
        self._calls: dict[int, int] = {}
        self._inside: list[int] = []

    def feed(self, value: object) -> None:
        kind = type(value)
        if kind in (int, bool, float, complex, type(None)):
            self.update(f"{kind.__name__} {value!r};".encode())
        elif kind is str:
            data = value.encode("utf-8", "surrogatepass")  # type: ignore[attr-defined]
            self.update(b"str %d;" % len(data) + data)
        elif kind is bytes or kind is bytearray:
            self.update(b"%s %d;" % (kind.__name__.encode(), len(value)))  # type: ignore[arg-type]
            self.update(value)
        else:
            self._feed_rest(value)

    def _feed_rest(self, value: object) -> None:
        if id(value) in self._inside:
            self.update(b"ring %d;" % self._inside.index(id(value)))
            return
        self._inside.append(id(value))
        try:
            self._feed_object(value)
        except Exception:  # noqa: BLE001  a property of a user's class may raise anything; so may nesting without end
            self._give_up(value)
        finally:
            self._inside.pop()

    def _feed_object(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, Call):
            self.update(b"call %d;" % self._calls.setdefault(id(value), len(self._calls)))
        elif isinstance(value, Part):
            self.update(b"part;")
            self.feed(value.whole)
            self.feed(value.key)
        elif kind in (list, tuple):
            self.update(b"%s %d;" % (kind.__name__.encode(), len(value)))
            for element in value:
                self.feed(element)
        elif kind is dict:
            self.update(b"dict %d;" % len(value))
            self._unordered([(key, element) for key, element in value.items()])
        elif kind in (set, frozenset):
            self.update(b"set %d;" % len(value))
            self._unordered(list(value))
        elif isinstance(value, (FunctionType, MethodType, BuiltinFunctionType, functools.partial, Task, type)):
            self.update(b"code;" + self.hasher.code(value))
        elif isinstance(value, PurePath):
            self.update(b"path;")
            self.feed(str(value))
        elif isinstance(value, enum.Enum):
            self.update(f"enum {_label(value)}.{value.name};".encode())
        elif _is_array(value):
            self._array(value)
        elif is_dataclass(value):
            self._fields(value)
        else:
            self._pickled(value)

    def _unordered(self, values: list[Any]) -> None:
        """Calls are numbered in order of appearance, so their order is kept; nothing that is hashed by content is."""
        pieces = []
        for value in values:
            digest = blake2b(digest_size=16)
            inner = _Feeder(digest.update, self.hasher)
            inner._calls, inner._inside = self._calls, self._inside
            inner.feed(value)
            self.opaque += inner.opaque
            pieces.append(digest.digest())
        self.update(b"".join(sorted(pieces)))

    def _fields(self, value: Any) -> None:
        self.update(f"fields {_label(value)};".encode())
        for one in fields(value):
            self.update(one.name.encode() + b";")
            self.feed(getattr(value, one.name, None))

    def _array(self, value: Any) -> None:
        if value.dtype.hasobject:
            self.update(f"array {value.shape};".encode())
            for element in value.ravel().tolist():
                self.feed(element)
            return
        self.update(f"array {value.dtype.str} {value.dtype.descr} {value.shape};".encode())
        if not value.flags.c_contiguous:
            value = value.copy(order="C")
        if value.nbytes:
            self.update(memoryview(value.reshape(-1).view("u1")))

    def _pickled(self, value: object) -> None:
        try:
            buffers: list[pickle.PickleBuffer] = []
            try:
                parts: list[Any] = [pickle.dumps(value, 5, buffer_callback=buffers.append)]
                parts += [buffer.raw() for buffer in buffers]
            except Exception:  # noqa: BLE001  no name to refer to it by
                parts = list(dump(value))
        except BaseException:  # noqa: BLE001  pickling calls methods of the user's classes
            self._give_up(value)
            return
        self.update(f"object {_label(value)};".encode())
        for part in parts:
            self.update(b"%d;" % len(part))
            self.update(part)

    def _give_up(self, value: object) -> None:
        self.opaque.append(f"a {type(value).__name__}")
        self.update(f"opaque {_label(value)};".encode())


_closures: weakref.WeakKeyDictionary[FunctionType, bytes] = weakref.WeakKeyDictionary()


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_array(value: object) -> bool:
    kind = type(value)  # by name: another thread may be in the middle of importing numpy
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def _is_constant(value: object) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(_is_constant(element) for element in value)
    return isinstance(value, (*_ATOMS, PurePath, enum.Enum))


def _is_container(value: object) -> bool:
    return type(value) in (list, tuple, dict, set, frozenset, bytearray) or _is_array(value) or is_dataclass(value)


def _label(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _names_in(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_in(constant)
    return names


def _imports_in(code: CodeType) -> set[str]:
    """Return the modules that code imports when it runs, by their full names."""
    names = {str(one.argval) for one in dis.get_instructions(code) if one.opname == "IMPORT_NAME" and one.argval}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _imports_in(constant)
    return names


def _is_users_module(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.endswith(".py") and _is_users_file(file)


def _users_module_file(name: str) -> Path | None:
    """Return the source of one of the user's modules, without importing it; None for others."""
    parts = name.split(".")
    for folder in map(Path, sys.path):
        path = folder.joinpath(*parts)
        for file in (path / "__init__.py", path.with_name(path.name + ".py")):
            if file.is_file():
                return file if _is_users_file(str(file)) else None
    return None


def _file_digest(file: Path) -> bytes:
    try:
        return short(file.read_bytes())
    except OSError:
        return b"unreadable"


def _is_users(code: CodeType) -> bool:
    return _is_users_file(code.co_filename)


@functools.lru_cache(maxsize=4096)
def _is_users_file(file: str) -> bool:
    if file.startswith("<frozen"):
        return False
    path = os.path.realpath(file)
    parts = Path(path).parts
    return not ("site-packages" in parts or "dist-packages" in parts or path.startswith(_LIBRARIES))


_LIBRARIES = (
    *{
        os.path.realpath(sysconfig.get_paths()[name]) + os.sep
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
        if sysconfig.get_paths().get(name)
    },
    str(Path(__file__).resolve().parents[1]) + os.sep,
)

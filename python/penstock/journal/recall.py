"""Decides, as calls are submitted, which of them need not run: an earlier process committed their results.

A result is taken over when it is of the same key (code, arguments, and the same of all that the task depends on), whole,
and when the results that it was made of are the ones taken over now. Whatever is in doubt runs again, and says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from penstock.errors import OptionError, did_you_mean
from penstock.journal.cache import MISSING, Cache
from penstock.journal.errors import StoreError
from penstock.journal.hashing import Hasher, short
from penstock.journal.packs import DIGEST_BYTES
from penstock.journal.results import Codec, decode, encode, pieces_digest
from penstock.resources import Demand
from penstock.states import State

if TYPE_CHECKING:
    from penstock.engine import Engine
    from penstock.journal.reading import RecordedRun
    from penstock.options import TaskSpec
    from penstock.task import Call

__all__ = ["Known", "Recall"]

_log = logging.getLogger("penstock.journal")

Row = tuple[int, int]  # session and task


@dataclass(slots=True)
class Known:
    """What is known of a call.

    Attributes:
        key, code, arguments: 16 bytes each; see `hashing`.
        row: whose result is taken over, or None.
        value: that result.
        skips: names of what that task had skipped, to be skipped again.
        expected: the row whose result counts if what it depends on comes out as it did before, or None.
        is_skipped: an earlier task, whose result is taken over, had it skipped.
    """

    key: bytes
    code: bytes
    arguments: bytes
    row: Row | None = None
    value: object = None
    skips: tuple[str, ...] = ()
    expected: Row | None = None
    is_skipped: bool = False


class Recall:
    """What one run remembers of the processes before it, and of other runs by the cache.

    Args:
        past: the run to go on with, or None.
        cache: for tasks with cache=True, or None.
        force, start_from: as in `Pipeline.run`.

    Attributes:
        taken_over: names of the tasks whose results were taken over.
        again: why tasks that had finished run again, by name.
        answered: ids of the tasks whose functions did not run, because what they give is known.
        cache_keys: under which key the result of a running task will be kept, by task id.
    """

    def __init__(
        self,
        past: RecordedRun | None,
        cache: Callable[[], Cache] | None = None,
        force: Sequence[str] = (),
        start_from: Sequence[str] = (),
    ) -> None:
        self.taken_over: list[str] = []
        self.again: dict[str, str] = {}
        self.answered: set[int] = set()
        self.cache_keys: dict[int, bytes] = {}
        self.known: dict[Call[Any], Known] = {}
        self._past = past
        self._cache = cache
        self._force, self._start_from = frozenset(force), frozenset(start_from)
        self._hasher = Hasher()
        self._codes: dict[int, tuple[object, bytes]] = {}
        self._easy: dict[int, tuple[object, TaskSpec]] = {}
        self._alone: dict[int, Known] = {}  # calls without arguments: all those of one task are alike
        self._rows: dict[bytes, list[Row]] = {}
        self._finished: dict[str, Row] = {}
        self._skipped: set[str] = set()
        self._used: set[Row] = set()
        if past is not None:
            self._results = past.folder / "results"
            self._index(past)

    def _index(self, past: RecordedRun) -> None:
        for session in past.sessions:
            for task in sorted(session.results):
                if task < len(session.names) and session.results[task].codec != Codec.UNSTORED:
                    row = (session.number, task)
                    self._rows.setdefault(session.keys[task], []).append(row)
                    self._finished[session.names[task]] = row

    def check_names(self, names: Sequence[str]) -> None:
        """Raise OptionError when force= or start_from= names no task of the pipeline."""
        for option, given in (("force", self._force), ("start_from", self._start_from)):
            for name in sorted(given - set(names)):
                raise OptionError(f"{option}: the pipeline has no task {name!r}.{did_you_mean(name, names)}")

    # -------------------------------------------------------------------------------------------------- submission

    def plan(self, calls: Sequence[Call[Any]], names: Sequence[str]) -> bool:
        """Decide about calls that are about to be submitted; those that they depend on are among them or known.

        Returns:
            Whether one of them may be spared; False says that all of them simply run.
        """
        known, keyed = self.known, self._keyed
        order = _in_order([k for k, call in enumerate(calls) if call not in known], calls)
        for k in order:
            known[calls[k]] = keyed(calls[k])
        if self._past is None:
            return self._cache is not None and any(call.spec.cache for call in calls)
        self._note_skips(calls, names, order)
        for k in order:
            self._decide(calls[k], names[k])
        return True

    def instead(self, call: Call[Any]) -> tuple[Callable[..., Any], tuple[object, ...] | None] | None:
        """Return function and arguments that stand for a call whose result is taken over; None: it runs."""
        known = self.known[call]
        if known.row is None:
            return None
        if known.skips:
            return _again_with_skips, (known.value, known.skips)
        return _again, (known.value,)

    def function_of(self, engine: Engine, call: Call[Any]) -> Callable[..., Any] | None:
        """Return what a worker calls for a call that may turn out not to need running; None for its own function."""
        function = call.spec.function
        if function is None or call.spec.executor != "threads" or not self._may_answer(call):
            return None
        return _Asking(self, engine, function)

    def spec_of(self, spec: TaskSpec) -> TaskSpec:
        """Return the options under which a result that is taken over passes through the scheduler: it needs nothing."""
        known = self._easy.get(id(spec))
        if known is None:
            easy = replace(
                spec,
                demand=Demand(),
                executor="threads",
                timeout_s=None,
                deadline_s=None,
                duration_s=None,
                command=None,
            )
            known = self._easy[id(spec)] = (spec, easy)  # with the spec, so that its id stays its own
        return known[1]

    def _keyed(self, call: Call[Any]) -> Known:
        spec = call.spec
        alone = not (call.args or call.kwargs or call.follows)
        if alone and (same := self._alone.get(id(spec))) is not None:
            return Known(same.key, same.code, same.arguments)
        code = self._code(spec)
        arguments = self._hasher.arguments(call.args, call.kwargs)
        digest = blake2b(code + arguments, digest_size=DIGEST_BYTES)
        for before in _before(call):
            digest.update(self.known[before].key)
        known = Known(digest.digest(), code, arguments)
        if alone:
            self._alone[id(spec)] = known  # `_codes` keeps the spec, so that its id stays its own
        return known

    def _code(self, spec: TaskSpec) -> bytes:
        known = self._codes.get(id(spec))
        if known is None:
            parts = [b"command" if spec.function is None else self._hasher.code(spec.function), spec.needs.encode()]
            if spec.fallbacks:
                parts.append(self._hasher.arguments((spec.fallbacks,), {}))
            known = self._codes[id(spec)] = (spec, short(b"|".join(parts)))
        return known[1]

    def _note_skips(self, calls: Sequence[Call[Any]], names: Sequence[str], order: Sequence[int]) -> None:
        """Find out which calls will be skipped again because who had them skipped is taken over."""
        assert self._past is not None
        if self._force or self._start_from:
            return  # whoever had them skipped may run again, and decide otherwise
        skippers: dict[Row, tuple[str, ...]] = {}
        for session in self._past.sessions:
            for task, targets in session.skips:
                skippers[session.number, task] = (*skippers.get((session.number, task), ()), *targets)
        if not skippers:
            return
        for k in order:
            for row in self._rows.get(self.known[calls[k]].key, ()):
                if row in skippers:
                    self.known[calls[k]].skips = skippers[row]
                    self._skipped.update(skippers[row])
        for k in order:
            known = self.known[calls[k]]
            lost = [before for before in _before(calls[k]) if self.known[before].is_skipped]
            known.is_skipped = names[k] in self._skipped or (bool(lost) and calls[k].spec.needs == "all")

    def _decide(self, call: Call[Any], name: str) -> None:
        known = self.known[call]
        before = _before(call)
        reason = self._asked(name) or self._upset(before)
        if reason is None and known.key in self._rows:
            reason = self._take(call, name, known, before)
        elif reason is None:
            reason = self._changed(name, known)
        elif known.key in self._rows and name not in self._force | self._start_from:
            self._expect(known, name, before)
        if known.row is not None:
            self.taken_over.append(name)
        elif name in self._finished and known.expected is None:
            self.again[name] = reason or "it had not finished"

    def _asked(self, name: str) -> str | None:
        return "you asked for it" if name in self._force or name in self._start_from else None

    def _upset(self, before: Sequence[Call[Any]]) -> str | None:
        for one in before:
            if self.known[one].row is None and not self.known[one].is_skipped:
                return f"{one.name!r}, which it depends on, runs again"
        return None

    def _changed(self, name: str, known: Known) -> str | None:
        row = self._finished.get(name)
        if row is None or self._past is None:
            return None
        session = self._past.sessions[row[0] - 1]
        changed = [
            what
            for what, now, then in (
                ("code", known.code, session.codes[row[1]]),
                ("arguments", known.arguments, session.arguments[row[1]]),
            )
            if now != then
        ]
        if not changed:
            return "what it depends on has changed"
        python = self._past.sessions[row[0] - 1].about.get("python")
        suffix = "" if python in (None, _python()) else f" (Python was {python} then and is {_python()} now)"
        return f"its {' and '.join(changed)} {'have' if changed[-1] == 'arguments' else 'has'} changed{suffix}"

    def _candidates(self, key: bytes, name: str) -> list[Row]:
        """Rows of that key that nobody has taken, the one of the same name first, then the newest."""
        assert self._past is not None
        sessions = self._past.sessions
        rows = [row for row in self._rows.get(key, ()) if row not in self._used]
        return sorted(rows, key=lambda row: (sessions[row[0] - 1].names[row[1]] == name, row), reverse=True)

    def _take(self, call: Call[Any], name: str, known: Known, before: Sequence[Call[Any]]) -> str | None:
        assert self._past is not None
        reason: str | None = "another task of the same kind has its result"
        for row in self._candidates(known.key, name):
            if not self._same_inputs(row, before):
                reason = "what it depends on has another result now"
                continue
            result = self._past.result_of(*row)
            assert result is not None
            try:
                known.value = decode(result.codec, result.body, result.digest, self._results)
            except Exception as error:  # noqa: BLE001  unpickling runs users' code; damage is one more reason
                reason = f"its stored result cannot be used ({type(error).__name__}: {error})"
                continue
            known.row = row
            self._used.add(row)
            return None
        return reason

    def _same_inputs(self, row: Row, before: Sequence[Call[Any]]) -> bool:
        """Whether the results that a stored one was made of are those that are taken over now."""
        assert self._past is not None
        then = self._past.sessions[row[0] - 1].predecessors[row[1]][: len(before)]
        if len(then) != len(before):
            return False
        return all(
            self.known[one].is_skipped or self._same_result(self.known[one].row, (row[0], task))
            for one, task in zip(before, then, strict=True)
        )

    def _same_result(self, now: Row | None, then: Row) -> bool:
        assert self._past is not None
        then = self._past.origin(*then)
        if now is None or now == then:
            return now is not None
        one, other = self._past.result_of(*now), self._past.result_of(*then)
        return one is not None and other is not None and (one.codec, one.digest) == (other.codec, other.digest)

    # ------------------------------------------------------------------------------------------------ while it runs

    def _expect(self, known: Known, name: str, before: Sequence[Call[Any]]) -> None:
        """Let a stored result count after all if a forced task before it gives what it gave then."""
        upset = [one for one in before if self.known[one].row is None and not self.known[one].is_skipped]
        if all(one.name in self._force or self.known[one].expected is not None for one in upset):
            known.expected = next(iter(self._candidates(known.key, name)), None)
            if known.expected is not None:
                self._used.add(known.expected)

    def _may_answer(self, call: Call[Any]) -> bool:
        return self.known[call].expected is not None or (call.spec.cache and self._cache is not None)

    def answer(
        self, engine: Engine, task: int, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[object] | None:
        """Return the result of a task that is about to run, if there is one already.

        Args:
            engine: whose task it is.
            task: its id.
            args, kwargs: its arguments, with results in the places of calls.
        """
        call = engine.call_of(task)
        if call is None or call not in self.known or not self._may_answer(call) or task in engine.failures:
            return None
        known = self.known[call]
        if known.expected is not None and self._came_out_the_same(engine, call, known.expected):
            assert self._past is not None
            result = self._past.result_of(*known.expected)
            assert result is not None
            try:
                return (decode(result.codec, result.body, result.digest, self._results),)
            except Exception:  # noqa: BLE001  it runs, then
                return None
        if not call.spec.cache or self._cache is None:
            return None
        hasher = Hasher()  # one of its own: workers ask at the same time
        key = short(known.code + hasher.arguments(args, kwargs))
        if hasher.opaque:  # an argument cannot be compared, so nobody can say that it is the same
            return None
        try:
            value = self._cache().get(key)
        except StoreError as error:  # the task can do without
            _log.warning("%s Tasks with cache=True run without it.", error)
            self._cache = None
            return None
        if value is not MISSING:
            return (value,)
        self.cache_keys[task] = key
        return None

    def _came_out_the_same(self, engine: Engine, call: Call[Any], row: Row) -> bool:
        assert self._past is not None
        before = _before(call)
        then = self._past.sessions[row[0] - 1].predecessors[row[1]][: len(before)]
        if len(then) != len(before):
            return False
        for one, there in zip(before, then, strict=True):
            result = self._past.result_of(*self._past.origin(row[0], there))
            if self.known[one].row is not None:
                if not self._same_result(self.known[one].row, (row[0], there)):
                    return False
            elif result is None or engine.scheduler.state(engine.ids[one]) != State.SUCCEEDED:
                return False
            else:
                stored = encode(engine.results[engine.ids[one]], "x")
                if (stored.codec, pieces_digest(stored)) != (result.codec, result.digest):
                    return False
        return True


class _Asking:
    """Stands for a task's function on a worker thread: asks whether the result is there before it calls it."""

    def __init__(self, recall: Recall, engine: Engine, function: Callable[..., Any]) -> None:
        self._recall = recall
        self._engine = engine
        self._function = function
        self.__name__ = getattr(function, "__name__", "task")

    def __call__(self, *args: object, **kwargs: object) -> object:
        from penstock import _core

        answer = self._recall.answer(self._engine, _core.current_task(), args, kwargs)
        if answer is None:
            return self._function(*args, **kwargs)
        self._recall.answered.add(_core.current_task())
        return answer[0]


def _again(value: object) -> object:
    return value


def _again_with_skips(value: object, targets: tuple[str, ...]) -> object:
    from penstock.context import current
    from penstock.errors import PenstockError

    for target in targets:
        with suppress(PenstockError):  # the pipeline has no such task any more
            current().skip(target)
    return value


def _before(call: Call[Any]) -> tuple[Call[Any], ...]:
    return call.inputs if not call.follows else tuple(dict.fromkeys([*call.inputs, *call.follows]))


def _in_order(wanted: Sequence[int], calls: Sequence[Call[Any]]) -> list[int]:
    """Return positions so that each comes after those that it depends on."""
    place = {calls[k]: k for k in wanted}
    if all(place.get(one, -1) < k for k in wanted for one in _before(calls[k])):
        return list(wanted)
    from graphlib import TopologicalSorter

    graph = {k: [place[one] for one in _before(calls[k]) if one in place] for k in wanted}
    return list(TopologicalSorter(graph).static_order())


def _python() -> str:
    import sys

    return sys.implementation.cache_tag or "unknown"

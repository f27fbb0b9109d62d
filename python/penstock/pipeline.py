"""A pipeline: calls of tasks, in the order in which they were written, and what each one waits for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from penstock.errors import CycleError, DuplicateNameError, OptionError, PenstockError, did_you_mean
from penstock.keeping import Keeping
from penstock.options import Duration, is_name
from penstock.policies import Policy, resolve
from penstock.resources import Limits
from penstock.task import Call, Recorder, recorder

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType

    from penstock.result import RunResult
    from penstock.run import Run

__all__ = ["FrozenPipeline", "OnFailure", "Pipeline", "Preempt", "Progress", "freeze_calls"]

Progress = Literal["auto"] | bool
AlertTargets = Callable[..., object] | str | object | Sequence[Callable[..., object] | str | object]
"""A function of one `Alert`, an address, an `Alerts`, or several of these."""

Durability = Literal["group", "each"]
OnStoreError = Literal["warn", "stop"]
OnFailure = Literal["continue", "stop", "finish_running"]
Preempt = Literal["off", "pause", "requeue"]


@dataclass(frozen=True, slots=True)
class FrozenPipeline:
    """A pipeline at one moment, checked: names are unique and there is no cycle.

    Attributes:
        name: the pipeline's name.
        calls: in order of submission; a call's position is its index in the arrays below.
        names: of the calls, unique.
        indptr: shape (n_calls + 1,), int64. Row k of `indices` is `indices[indptr[k]:indptr[k + 1]]`.
        indices: shape (n_edges,), int64: the positions of the calls that call k waits for, each once: first those in
            its arguments, in order of first appearance, then those of `after`.
    """

    name: str
    calls: tuple[Call[Any], ...]
    names: tuple[str, ...]
    indptr: array[int]
    indices: array[int]

    def predecessors(self, position: int) -> array[int]:
        """Return the positions of the calls that the one at `position` waits for."""
        return self.indices[self.indptr[position] : self.indptr[position + 1]]

    def __len__(self) -> int:
        return len(self.calls)


class Pipeline:
    """Records the calls of tasks that are made inside `with pipeline:`, and runs them.

    Args:
        name: shown in displays and reports.
        policy, limits, workers: what `run` and `start` use unless they are told otherwise.

    Raises:
        OptionError: a value is not allowed.
    """

    def __init__(
        self,
        name: str = "pipeline",
        *,
        policy: str | Policy | None = None,
        limits: Mapping[str, object] | None = None,
        workers: int | None = None,
    ) -> None:
        if not is_name(name):
            raise OptionError(f"pipeline name={name!r}; allowed is any printable text on one line that is not blank.")
        if policy is not None:
            policy = resolve(policy)
        self.name = name
        self.policy: Policy | None = policy
        self.limits = None if limits is None else Limits.given(limits)
        self.workers = workers
        self._calls: list[Call[Any]] = []
        self._names: dict[str, Call[Any]] = {}
        self._given: set[str] = set()
        self._counts: dict[str, int] = {}
        self._tokens: list[Token[Recorder | None]] = []

    def __enter__(self) -> Pipeline:
        self._tokens.append(recorder.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        recorder.reset(self._tokens.pop())

    def record(self, call: Call[Any], /) -> None:
        """Add a call and name it. Calling a task inside `with pipeline:` does this.

        Raises:
            DuplicateNameError: its explicit name is taken.
            PenstockError: it, or a call that it depends on, is of another pipeline or of none.
        """
        self.record_all((call,))

    def record_all(self, calls: Sequence[Call[Any]]) -> None:
        """Add calls that may depend on one another in any order; see `record`."""
        together = set(calls)
        for call in calls:
            if call.pipeline is not None:
                raise PenstockError(f"call {call.name!r} is part of pipeline {call.pipeline.name!r} already.")
            for before in call.inputs:
                if before.pipeline is not self and before not in together:
                    raise self._foreign(call, before)
        for call in calls:
            self._add(call)

    def _add(self, call: Call[Any]) -> None:
        name = self._explicit(call) if call.task.is_named_by_call else self._automatic(call.spec.name)
        call.name = name
        call.pipeline = self
        call._position = len(self._calls)
        self._names[name] = call
        self._calls.append(call)

    def freeze(self) -> FrozenPipeline:
        """Return the calls made so far as flat arrays, checked.

        Raises:
            CycleError: calls wait for one another in a ring; names it edge by edge.
            PenstockError: a call was told to come after one that is not of this pipeline.
        """
        for call in self._calls:
            for before in call.follows:
                if before.pipeline is not self:
                    raise self._foreign(call, before)
        indptr, indices = freeze_calls(self._calls, _position)
        return FrozenPipeline(self.name, tuple(self._calls), tuple(self._names), indptr, indices)

    def run(
        self,
        *,
        policy: str | Policy | None = None,
        limits: Mapping[str, object] | None = None,
        overcommit: float | None = None,
        preempt: Preempt = "off",
        preempt_gap: float = 10.0,
        workers: int | None = None,
        on_event: Callable[..., object] | Sequence[Callable[..., object]] | None = None,
        alerts: AlertTargets = (),
        progress: Progress = "auto",
        trace: str | PathLike[str] | None = None,
        on_failure: OnFailure = "continue",
        timeout: Duration | None = None,
        secret: str | Iterable[str] = (),
        grace_s: float = 10.0,
        plan_budget: float = 0.1,
        store: str | PathLike[str] | Literal[False] | None = "auto",
        durability: Durability = "group",
        on_store_error: OnStoreError = "warn",
        resume: bool | int = False,
        force: Sequence[str] = (),
        start_from: Sequence[str] = (),
        target: str | None = None,
    ) -> RunResult:
        """Run all calls and return when the last one has ended.

        A task that fails for good does not end the run: what depends on it is not run, everything else is. Ctrl-C stops
        the starting of tasks and waits `grace_s` for those that run; a second one kills them. Results that are there by
        then are kept.

        Args:
            policy: which ready task starts next: the name of a preset, such as "hybrid" (the default), or a `Policy`.
            limits: what tasks and everything else on the machine may use together: a share as a float, {"cpu": 0.8},
                or an amount, {"memory": "8GiB"}; and what there is of resources of your own, {"licence": 2}.
            overcommit: what tasks in processes and commands declare and have not used for a while is lent to others. A number
                from 0.5 to 1: the share of a task's measured use that what it is left with must cover, such as 0.95. None,
                the default: nothing is lent.
            preempt: "off", or what happens to attempts of `preemptible` tasks when a much more urgent task lacks their room.
                "pause": their processes stand still and go on later; they keep their memory. "requeue": they are ended
                and start again later, which is no failure of theirs.
            preempt_gap: how much smaller the number of a much more urgent task's priority is, above 0.
            workers: threads that run tasks; None for as many as the machine and the tasks call for.
            on_event: a function, or several, called with each event of the run, in order, on a thread of its own; what it
                raises is reported once and changes nothing.
            alerts: who is told of failures, stalls, missed deadlines and the end: functions of one `Alert`, webhook URLs,
                addresses of Apprise (with the extra `alerts`), or `Alerts` with settings; one or several. What fails to
                be delivered is tried again and logged, and changes nothing.
            progress: True for a live display, or plain lines where standard output is no terminal; "auto" for a live
                display in a terminal and nothing elsewhere; False for nothing.
            trace: where to write a trace for Perfetto or chrome://tracing; None for nowhere.
            on_failure: what the first task that fails for good means. "continue": what depends on it does not run,
                everything else does. "finish_running": nothing more starts. "stop": what runs is ended as well.
            timeout: seconds, or text such as "2h", for the whole run. What runs then has failed with the cause TIMEOUT,
                and what has not started is cancelled.
            secret: names of environment variables, penstock's own or of a command's `env`, whose values are replaced by
                *** in errors, and so in alerts, logs, tables and displays. Results stay as they are.
            grace_s: seconds between Ctrl-C and killing what still runs; >= 0.
            plan_budget: seconds, at most, to look for a good order before the first task starts; 0 for no search. It
                looks where a `duration=` is known and the policy weighs the critical path, as "hybrid" does, and stops
                when nothing shorter can be found; graphs above 50,000 tasks, or with a deadline, go without a plan.
            store: the folder in which the run's events and results are kept, so that it can be resumed. "auto":
                `.penstock` beside the script that is run, if one is, or what the environment variable PENSTOCK_STORE
                says; "off", None or False: nowhere.
            durability: "group": finished tasks are on the disk at most 50 ms later, together. "each": a task is on the
                disk before anything that depends on it starts.
            on_store_error: what a full disk, or a store that cannot be written, means. "warn": the run goes on without
                being recorded. "stop": StoreError where nothing has started; later nothing more starts, `result.ok` is
                false and `result.store_error` says why.
            resume: True: go on with the newest run of a pipeline of this name in the store that has not succeeded, or begin
                one; a number: go on with that run. What it has committed as finished and has not changed does not run.
            force: names of tasks that run again all the same; what depends on them does where their result differs.
            start_from: names of tasks that run again with all that depends on them.
            target: the file that `penstock resume` is to load, as `FILE` or `FILE:NAME`.

        Returns:
            The results: `result[call]`, `result["name"]`, `result.ok`, `result.table()`.

        Raises:
            CycleError, PenstockError: see `freeze`.
            ResourceError: a task could never start; nothing has been started then.
            OptionError: an option's value is not allowed.
            StoreError: the run to be resumed cannot be, or see on_store_error=.
        """
        from penstock.runtime import run_pipeline

        return run_pipeline(
            self,
            **self._defaults(policy, limits, workers),
            overcommit=overcommit,
            preempt=preempt,
            preempt_gap=preempt_gap,
            on_event=on_event,
            alerts=alerts,
            progress=progress,
            trace=trace,
            on_failure=on_failure,
            timeout=timeout,
            secret=secret,
            grace_s=grace_s,
            plan_budget=plan_budget,
            keeping=Keeping(store, durability, on_store_error, resume, tuple(force), tuple(start_from), target),
        )

    def start(
        self,
        *,
        policy: str | Policy | None = None,
        limits: Mapping[str, object] | None = None,
        overcommit: float | None = None,
        preempt: Preempt = "off",
        preempt_gap: float = 10.0,
        workers: int | None = None,
        on_event: Callable[..., object] | Sequence[Callable[..., object]] | None = None,
        alerts: AlertTargets = (),
        progress: Progress = False,
        trace: str | PathLike[str] | None = None,
        on_failure: OnFailure = "continue",
        timeout: Duration | None = None,
        secret: str | Iterable[str] = (),
        grace_s: float = 10.0,
        plan_budget: float = 0.1,
        store: str | PathLike[str] | Literal[False] | None = "auto",
        durability: Durability = "group",
        on_store_error: OnStoreError = "warn",
        resume: bool | int = False,
        force: Sequence[str] = (),
        start_from: Sequence[str] = (),
        target: str | None = None,
    ) -> Run:
        """Start running and return at once, with a handle on the live run.

        Takes and raises what `run` does, but shows no display unless told to. The handle can change priorities,
        policy and limits, pause, resume and cancel, say why a task is not running, and wait for the result.
        """
        from penstock.runtime import start_pipeline

        return start_pipeline(
            self,
            **self._defaults(policy, limits, workers),
            overcommit=overcommit,
            preempt=preempt,
            preempt_gap=preempt_gap,
            on_event=on_event,
            alerts=alerts,
            progress=progress,
            trace=trace,
            on_failure=on_failure,
            timeout=timeout,
            secret=secret,
            grace_s=grace_s,
            plan_budget=plan_budget,
            keeping=Keeping(store, durability, on_store_error, resume, tuple(force), tuple(start_from), target),
        )

    def __getitem__(self, name: str) -> Call[Any]:
        """Return the call of that name.

        Raises:
            KeyError: there is none.
        """
        try:
            return self._names[name]
        except KeyError:
            raise KeyError(f"pipeline {self.name!r} has no call {name!r}.{did_you_mean(name, self._names)}") from None

    def __iter__(self) -> Iterator[Call[Any]]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def __bool__(self) -> bool:
        return True  # an empty pipeline is a pipeline

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r} of {len(self)} calls>"

    def _defaults(
        self, policy: str | Policy | None, limits: Mapping[str, object] | None, workers: int | None
    ) -> dict[str, Any]:
        return {
            "policy": resolve(self.policy if policy is None else policy),
            "limits": self.limits if limits is None else Limits.given(limits),
            "workers": self.workers if workers is None else workers,
        }

    def _explicit(self, call: Call[Any]) -> str:
        name = call.spec.name
        taken = self._names.get(name)
        if taken is not None:
            how = "" if name in self._given else f", which call {taken._position + 1} got for want of another"
            raise DuplicateNameError(
                f"pipeline {self.name!r} has a call named {name!r} already{how}; names given by hand are unique. "
                "Give one of the two another name."
            )
        self._given.add(name)
        return name

    def _automatic(self, base: str) -> str:
        count = self._counts.get(base, 0)
        name = base
        while True:
            count += 1
            name = base if count == 1 else f"{base}-{count}"
            if name not in self._names:
                self._counts[base] = count
                return name

    def _foreign(self, call: Call[Any], before: Call[Any]) -> PenstockError:
        where = "no pipeline" if before.pipeline is None else f"pipeline {before.pipeline.name!r}"
        return PenstockError(
            f"{call.name!r} in pipeline {self.name!r} depends on {before.name!r}, which is part of {where}; "
            f"make that call inside the same `with` block."
        )


def freeze_calls(calls: Sequence[Call[Any]], index_of: Callable[[Call[Any]], int]) -> tuple[array[int], array[int]]:
    """Return what each call waits for, as compressed rows.

    Args:
        calls: in order of submission.
        index_of: the number that stands for a call in the rows: its place in `calls`, or whatever stands for a call
            that was submitted before and is not among them, if less than 0 or at least `len(calls)`.

    Returns:
        `indptr`, shape (n_calls + 1,), and `indices`, shape (n_edges,), both int64, as in `FrozenPipeline`.

    Raises:
        CycleError: calls wait for one another in a ring; names it edge by edge.
    """
    indptr = array("q", [0])
    indices = array("q")
    in_order = True
    for place, call in enumerate(calls):
        before = call.inputs
        if call.follows:
            before = tuple(dict.fromkeys([*before, *call.follows]))
        row = [index_of(source) for source in before]
        if row:
            in_order = in_order and max(row) < place
            indices.extend(row)
        indptr.append(len(indices))
    if not in_order:
        _refuse_cycle(calls, indptr, indices)
    return indptr, indices


def _position(call: Call[Any]) -> int:
    return call._position


def _refuse_cycle(calls: Sequence[Call[Any]], indptr: array[int], indices: array[int]) -> None:
    """Raise CycleError when some calls wait for one another. O(calls + edges)."""
    size = len(calls)
    rows: list[list[int]] = [
        [index for index in indices[indptr[place] : indptr[place + 1]] if 0 <= index < size] for place in range(size)
    ]
    unmet = [len(row) for row in rows]
    successors: list[list[int]] = [[] for _ in range(size)]
    for place, row in enumerate(rows):
        for index in row:
            successors[index].append(place)
    free = [place for place in range(size) if not unmet[place]]
    done = 0
    while free:
        place = free.pop()
        done += 1
        for after in successors[place]:
            unmet[after] -= 1
            if not unmet[after]:
                free.append(after)
    if done == size:
        return
    # Every call that is left waits for another that is left, so walking backwards must come round.
    place = next(place for place in range(size) if unmet[place])
    walked: dict[int, None] = {}
    while place not in walked:
        walked[place] = None
        place = next(index for index in rows[place] if unmet[index])
    backwards = list(walked)
    ring = backwards[backwards.index(place) :][::-1]
    first = ring.index(min(ring))
    raise CycleError(calls[index].name for index in _rotated(ring, first))


def _rotated(ring: list[int], first: int) -> Iterable[int]:
    return ring[first:] + ring[:first]

"""`penstock.pipeline`: recording, naming and freezing calls."""

from __future__ import annotations

import re
import threading
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Pipeline, Policy, command, task
from penstock.errors import CycleError, DuplicateNameError, OptionError, PenstockError
from penstock.pipeline import FrozenPipeline, freeze_calls
from penstock.task import Call, Task


@task
def load(*before: object, **named: object) -> int:
    return 1


@task
def train(*before: object) -> int:
    return 2


# ------------------------------------------------------------------------------------------------------------- naming


def test_calls_are_named_after_their_task_and_counted() -> None:
    with Pipeline("p") as p:
        load()
        train()
        train()
        load.with_options(priority=3)()
    assert [call.name for call in p] == ["load", "train", "train-2", "load-2"]
    assert p.freeze().names == ("load", "train", "train-2", "load-2")


def test_a_name_given_in_the_decorator_is_counted_too() -> None:
    fit = task(name="fit")(len)
    with Pipeline() as p:
        fit([])
        fit([])
    assert [call.name for call in p] == ["fit", "fit-2"]


def test_an_automatic_name_goes_around_one_that_was_given() -> None:
    with Pipeline() as p:
        train.with_options(name="train-2")()
        train()
        train()
    assert [call.name for call in p] == ["train-2", "train", "train-3"]


def test_a_name_that_is_given_twice_is_refused_and_changes_nothing() -> None:
    named = train.with_options(name="svm")
    with Pipeline("p") as p:
        named()
        with pytest.raises(
            DuplicateNameError, match=r"^pipeline 'p' has a call named 'svm' already; names given by hand"
        ):
            named()
        with pytest.raises(DuplicateNameError, match="'svm'"):
            command("svm", ["true"])
    assert len(p) == 1


def test_a_given_name_that_another_call_got_for_want_of_one_is_refused() -> None:
    with Pipeline() as p:
        train()
        train()
        with pytest.raises(DuplicateNameError, match="'train-2' already, which call 2 got for want of another"):
            train.with_options(name="train-2")()
    assert len(p) == 2


def test_calls_are_found_by_name() -> None:
    with Pipeline("p") as p:
        call: Any = train()
    assert p["train"] is call
    assert list(p) == [call]
    with pytest.raises(KeyError, match=r"pipeline 'p' has no call 'trian'\. Did you mean 'train'\?"):
        p["trian"]


# ----------------------------------------------------------------------------------------------------------- recording


def test_the_inner_of_two_pipelines_records_and_the_outer_goes_on() -> None:
    with Pipeline("outer") as outer:
        load()
        with Pipeline("inner") as inner:
            train()
        load()
    assert [call.name for call in inner] == ["train"]
    assert [call.name for call in outer] == ["load", "load-2"]


def test_a_pipeline_can_be_opened_again() -> None:
    p = Pipeline()
    for _ in range(2):
        with p:
            load()
    assert len(p) == 2


def test_an_exception_closes_the_pipeline() -> None:
    with pytest.raises(ZeroDivisionError), Pipeline():
        _ = 1 / 0
    assert load() == 1


def test_another_thread_does_not_record() -> None:
    values: list[object] = []
    with Pipeline() as p:
        thread = threading.Thread(target=lambda: values.append(load()))
        thread.start()
        thread.join(10)
    assert values == [1]
    assert len(p) == 0


def test_a_call_of_another_pipeline_or_of_none_is_refused() -> None:
    with Pipeline("a"):
        foreign = load()
    loose = command("loose", ["true"])
    with Pipeline("b") as b:
        with pytest.raises(
            PenstockError, match="'train' in pipeline 'b' depends on 'load', which is part of pipeline 'a'"
        ):
            train(foreign)
        with pytest.raises(PenstockError, match="depends on 'loose', which is part of no pipeline"):
            train([loose])
        own: Any = train()
        own.after(foreign)
    assert len(b) == 1
    with pytest.raises(PenstockError, match="which is part of pipeline 'a'"):
        b.freeze()
    with pytest.raises(PenstockError, match="call 'load' is part of pipeline 'a' already"):
        b.record(foreign)  # type: ignore[arg-type]


def test_calls_recorded_together_may_depend_on_later_ones() -> None:
    later: Any = command("later", ["date"])
    early: Any = command("early", ["echo", later])
    p = Pipeline()
    with pytest.raises(PenstockError, match="depends on 'later', which is part of no pipeline"):
        p.record(early)
    p.record_all([early, later])
    assert p.freeze().names == ("early", "later")
    assert rows(p.freeze()) == [[1], []]


@pytest.mark.parametrize(
    ("given", "message"), [("", "name=''"), ("a\tb", "allowed is any printable text"), (3, "name=3")]
)
def test_a_pipelines_name_is_printable(given: Any, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        Pipeline(given)


def test_a_pipelines_policy_is_checked_when_it_is_made() -> None:
    assert Pipeline(policy="fifo").policy == Policy.named("fifo")
    with pytest.raises(OptionError, match=r"Did you mean 'fifo'\?"):
        Pipeline(policy="fifoo")


# ------------------------------------------------------------------------------------------------------------ freezing


def rows(frozen: FrozenPipeline) -> list[list[int]]:
    return [list(frozen.predecessors(place)) for place in range(len(frozen))]


def test_an_empty_pipeline_freezes() -> None:
    frozen = Pipeline("empty").freeze()
    assert (frozen.name, frozen.calls, frozen.names) == ("empty", (), ())
    assert (frozen.indptr, frozen.indices) == (array("q", [0]), array("q"))


def test_rows_hold_arguments_first_then_after_each_once() -> None:
    with Pipeline() as p:
        a, b, c = load(), load(), load()
        train.with_options(after=[a, c])(b, [a, b])
        train(k := {"x": c}, k)
    assert rows(p.freeze()) == [[], [], [], [1, 0, 2], [2]]


def test_freezing_is_a_picture_of_one_moment() -> None:
    with Pipeline() as p:
        load()
        frozen = p.freeze()
        load()
    assert len(frozen) == 1
    assert len(p.freeze()) == 2


@given(st.data())
def test_freezing_random_graphs_gives_their_compressed_rows(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 12))
    expected: list[list[int]] = []
    with Pipeline() as p:
        made: list[Any] = []
        for place in range(size):
            earlier = st.lists(st.integers(0, place - 1), max_size=6) if place else st.just([])
            in_list, in_names, after = data.draw(earlier), data.draw(earlier), data.draw(earlier)
            names = {f"n{k}": made[index] for k, index in enumerate(in_names)}
            call: Any = load([made[index] for index in in_list], **names)
            made.append(call.after(*[made[index] for index in after]))
            expected.append(list(dict.fromkeys([*in_list, *in_names, *after])))
    frozen = p.freeze()
    assert rows(frozen) == expected
    assert frozen.indptr[0] == 0
    assert frozen.indptr[-1] == len(frozen.indices)
    assert frozen.indptr.typecode == frozen.indices.typecode == "q"
    assert frozen.calls == tuple(made)


# -------------------------------------------------------------------------------------------------------------- cycles


def test_a_cycle_is_named_edge_by_edge() -> None:
    with Pipeline() as p:
        first: Any = train.with_options(name="train")()
        score: Any = load.with_options(name="score")(first)
        select: Any = load.with_options(name="select")(score)
        load.with_options(name="report")(select)
        first.after(select)
    with pytest.raises(CycleError) as caught:
        p.freeze()
    assert str(caught.value) == "'train' -> 'score' -> 'select' -> 'train' is a cycle; remove one of these edges."
    assert caught.value.cycle == ("train", "score", "select")


def test_a_call_after_itself_is_a_cycle_of_one() -> None:
    with Pipeline() as p:
        call: Any = train()
        call.after(call)
    with pytest.raises(CycleError, match=r"^'train' -> 'train' is a cycle"):
        p.freeze()


def test_an_edge_to_a_later_call_is_no_cycle_by_itself() -> None:
    with Pipeline() as p:
        early: Any = train()
        late: Any = load()
        early.after(late)
    assert rows(p.freeze()) == [[1], []]


@given(st.integers(1, 10), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25))
def test_a_cycle_is_found_exactly_when_there_is_one_and_its_edges_are_real(
    size: int, pairs: list[tuple[int, int]]
) -> None:
    edges = {(a % size, b % size) for a, b in pairs}
    with Pipeline() as p:
        calls: list[Any] = [load.with_options(name=str(place))() for place in range(size)]
    for before, after in edges:
        calls[after].after(calls[before])
    reach = set(edges)
    for middle in range(size):
        reach |= {(a, d) for a, b in reach for c, d in reach if b == c == middle}
    cyclic = any((place, place) in reach for place in range(size))
    try:
        frozen = p.freeze()
    except CycleError as error:
        ring = [int(name) for name in error.cycle]
        assert cyclic
        assert len(set(ring)) == len(ring)
        assert all(edge in edges for edge in zip(ring, ring[1:] + ring[:1], strict=True))
    else:
        assert not cyclic
        assert {(before, place) for place, row in enumerate(rows(frozen)) for before in row} == edges


def test_calls_that_are_submitted_already_may_stand_in_rows_by_another_number() -> None:
    source = Task(lambda *args: None, {"name": "x"})
    old, new, last = Call(source), Call(source), Call(source)
    new.after(old)
    last.after(new, old)
    ids = {old: -7}
    places = {new: 0, last: 1}
    indptr, indices = freeze_calls([new, last], lambda call: places[call] if call in places else ids[call])
    assert (list(indptr), list(indices)) == ([0, 1, 3], [-7, 0, -7])


def test_a_long_chain_does_not_exhaust_the_stack() -> None:
    with Pipeline() as p:
        first: Any = train()
        call: Any = first
        for _ in range(20_000):
            call = train(call)
    assert len(p.freeze().indices) == 20_000
    first.after(call)
    with pytest.raises(CycleError):
        p.freeze()


# --------------------------------------------------------------------------------------------------------- run options


def test_run_and_start_hand_over_the_pipelines_settings_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import penstock.runtime

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(penstock.runtime, "run_pipeline", lambda pipeline, **options: seen.append(options))
    monkeypatch.setattr(penstock.runtime, "start_pipeline", lambda pipeline, **options: seen.append(options))
    p = Pipeline(policy="fifo", limits={"cpu": 0.5}, workers=3)
    p.run()
    p.start(policy="product", limits={}, workers=1, on_failure="stop", grace_s=0.5)
    Pipeline().run(progress=False)
    assert (seen[0]["policy"].name, seen[0]["limits"], seen[0]["workers"]) == ("fifo", {"cpu": 0.5}, 3)
    assert (seen[1]["policy"].name, seen[1]["limits"], seen[1]["workers"]) == ("product", {}, 1)
    assert (seen[1]["on_failure"], seen[1]["grace_s"]) == ("stop", 0.5)
    assert (seen[2]["policy"].name, seen[2]["limits"], seen[2]["workers"]) == ("hybrid", None, None)
    assert (seen[0]["progress"], seen[1]["progress"], seen[2]["progress"]) == ("auto", False, False)

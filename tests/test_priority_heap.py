"""PriorityHeap from Python: the native heap with an integer value for each entry."""

from __future__ import annotations

import heapq
import math
import random
import subprocess
import sys
import threading
from array import array

import pytest

from penstock._core import PriorityHeap


def filled(ranks: list[float]) -> tuple[PriorityHeap, list[int]]:
    heap = PriorityHeap()
    return heap, [heap.push(rank, value) for value, rank in enumerate(ranks)]


def drained(heap: PriorityHeap) -> list[int]:
    return [heap.pop()[1] for _ in range(len(heap))]


def test_smaller_rank_leaves_first_and_equal_ranks_in_the_order_pushed() -> None:
    heap, _ = filled([2, -1.5, 2, 0, -1.5, math.inf, -math.inf])
    assert len(heap) == 7
    assert heap.peek() == (-math.inf, 6)
    assert drained(heap) == [6, 1, 4, 3, 0, 2, 5]
    assert len(heap) == 0
    assert heap.peek() is None


def test_pop_from_an_empty_heap_raises_index_error() -> None:
    heap = PriorityHeap()
    with pytest.raises(IndexError, match=r"^pop from an empty PriorityHeap$"):
        heap.pop()
    assert heap.pop_many(3) == (b"", b"")


def test_batches_are_read_from_arrays_and_come_back_as_bytes() -> None:
    heap = PriorityHeap()
    handles = array("q", heap.push_many(array("d", [3, 1, 2, 1]), array("q", [30, 10, 20, 11])))
    assert heap.cancel(handles[2])
    ranks, values = heap.pop_many(2)
    assert array("d", ranks).tolist() == [1, 1]
    assert array("q", values).tolist() == [10, 11]
    assert [array("q", part).tolist() for part in heap.pop_many(99)[1:]] == [[30]]


def test_batches_take_numpy_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    ranks = numpy.random.default_rng(1).random(10_000)
    heap = PriorityHeap()
    handles = numpy.frombuffer(heap.push_many(ranks, numpy.arange(10_000)), dtype=numpy.int64)
    assert len(set(handles.tolist())) == 10_000
    out_ranks, out_values = heap.pop_many(10_000)
    assert numpy.array_equal(numpy.frombuffer(out_ranks), numpy.sort(ranks))
    assert numpy.array_equal(numpy.frombuffer(out_values, dtype=numpy.int64), numpy.argsort(ranks, kind="stable"))


def test_batch_of_different_lengths_is_refused_and_nothing_goes_in() -> None:
    heap = PriorityHeap()
    with pytest.raises(ValueError, match="push_many got 2 ranks and 3 values; give one value for each rank"):
        heap.push_many(array("d", [1, 2]), array("q", [1, 2, 3]))
    assert len(heap) == 0


def test_nan_is_refused_by_name_and_nothing_goes_in() -> None:
    heap, (handle,) = filled([1])
    sentence = r"is nan, which has no place in an order; give a number \(inf and -inf are allowed\)"
    with pytest.raises(ValueError, match="^rank " + sentence):
        heap.push(math.nan, 1)
    with pytest.raises(ValueError, match="^rank " + sentence):
        heap.rerank(handle, math.nan)
    with pytest.raises(ValueError, match=r"^ranks\[1\] " + sentence):
        heap.push_many(array("d", [1, math.nan]), array("q", [1, 2]))
    assert len(heap) == 1


def test_a_cancelled_entry_is_gone_and_its_handle_stays_dead_when_its_place_is_used_again() -> None:
    heap, handles = filled([1, 2, 3])
    assert heap.cancel(handles[0])
    assert not heap.cancel(handles[0])
    again = heap.push(0, 100)
    assert again != handles[0]
    assert not heap.cancel(handles[0])
    assert not heap.rerank(handles[0], 9)
    assert drained(heap) == [100, 1, 2]
    assert not heap.cancel(again)
    assert not heap.cancel(-1)
    assert not heap.cancel(1 << 40)


def test_a_re_ranked_entry_leaves_once_behind_those_that_had_the_rank_before() -> None:
    heap, handles = filled([1, 5, 5, 9])
    assert heap.rerank(handles[0], 5)
    assert heap.rerank(handles[3], 0)
    assert drained(heap) == [3, 1, 2, 0]
    assert not heap.rerank(handles[0], 1)


def test_random_operations_agree_with_heapq() -> None:
    rng = random.Random(7)
    heap, plain, live = PriorityHeap(), [], {}
    for k in range(20_000):
        choice = rng.random()
        if choice < 0.5:
            rank = float(rng.randrange(50))
            live[k] = heap.push(rank, k)
            heapq.heappush(plain, (rank, k))
        elif choice < 0.65 and live:
            value = rng.choice(list(live)[:5])
            assert heap.cancel(live.pop(value))
        else:
            while plain and plain[0][1] not in live:
                heapq.heappop(plain)
            if plain:
                assert heap.pop() == plain[0]
                del live[heapq.heappop(plain)[1]]
        assert len(heap) == len(live)


@pytest.mark.timeout(60)
def test_threads_share_a_heap_and_every_value_leaves_once() -> None:
    heap, each = PriorityHeap(), 5_000
    taken: list[list[int]] = [[] for _ in range(4)]

    def work(me: int) -> None:
        for k in range(each):
            heap.push(k % 17, me * each + k)
            if k % 3 == 0:
                taken[me].append(heap.pop()[1])
            if k % 100 == 0:
                heap.push_many(array("d", [5.0]), array("q", [100_000 + me * each + k]))

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = sorted(sum(taken, drained(heap)))
    expected = list(range(4 * each)) + [100_000 + me * each + k for me in range(4) for k in range(0, each, 100)]
    assert everything == sorted(expected)


def test_the_heap_needs_no_numpy() -> None:
    program = "import sys; from penstock._core import PriorityHeap; PriorityHeap().push(1, 2); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

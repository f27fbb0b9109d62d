// Recorded histories of the heap have a sequential explanation, re-ranks included: there is no relaxation.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "heap_history.hpp"
#include "turns.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

// Tiny blocks: a dozen entries overflow the front, cut and refill near, and merge far runs.
constexpr HeapLimits kTiny{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .window = 2, .slack = 2, .inbox_items = 2, .inboxes = 4, .inbox_at_once = true};

// `threads` recorders do `steps` operations each, in whatever way `run` runs them; then one drains the heap.
template <class Heap, class Run>
void check_history(std::uint64_t seed, unsigned threads, unsigned steps, unsigned tasks_each, Run&& run) {
    typename Heap::Tickets tickets;
    Heap heap(tickets);
    std::atomic<std::uint64_t> clock{0};
    std::vector<Recorder<Heap>> recorders;
    std::vector<std::function<void()>> bodies;
    for (unsigned k = 0; k < threads; ++k) {
        std::vector<std::uint32_t> hand;
        for (unsigned t = 0; t < tasks_each; ++t) hand.push_back(k * tasks_each + t);
        recorders.emplace_back(heap, clock, seed * 16 + k, hand, threads * tasks_each);
    }
    recorders[0].push(tasks_each / 2);  // so that there is something in it from the start
    for (auto& recorder : recorders) {
        bodies.emplace_back([&recorder, steps] {
            for (unsigned s = 0; s < steps; ++s) recorder.step();
        });
    }
    run(bodies);
    if (const std::string broken = heap.check(); !broken.empty()) FAIL("seed " << seed << ": " << broken);
    const std::size_t left = heap.size();
    for (std::size_t k = 0; k <= left; ++k) recorders[0].pop();
    History history;
    for (const auto& recorder : recorders) {
        history.operations.insert(history.operations.end(), recorder.done.begin(), recorder.done.end());
    }
    if (recorders[0].done.back().got) FAIL("seed " << seed << ": size() was " << left << " and more was left");
    if (!history.explained()) FAIL("seed " << seed << "\n" << history.text());
}

template <class Heap>
void check_by_turns(std::uint64_t seed, unsigned threads, unsigned steps, unsigned tasks_each) {
    check_history<Heap>(seed, threads, steps, tasks_each, [&](const auto& bodies) {
        Turns::run(seed, 2 + static_cast<unsigned>(seed % 9), bodies);
    });
}

HeapEntry entry(std::uint32_t task, double rank, std::uint64_t tie) { return {TaskId{task}, Rank{rank}, tie}; }

Operation did(Operation::Kind kind, std::uint64_t called, std::uint64_t returned, std::vector<HeapEntry> given,
              std::optional<HeapEntry> got = {}, bool answer = false) {
    return {kind, std::move(given), got, answer, called, returned};
}

bool explained(std::vector<Operation> operations) {
    History history;
    history.operations = std::move(operations);
    return history.explained();
}

}  // namespace

TEST_CASE("the checker accepts what a queue may do and refuses what it may not") {
    const HeapEntry a = entry(1, 1, 1), b = entry(2, 1, 2), c = entry(3, 0, 3), a_late = entry(1, 5, 4);
    using enum Operation::Kind;
    const auto pushed = did(push, 1, 2, {a, b});
    CHECK(explained({pushed, did(pop, 3, 4, {}, a), did(pop, 5, 6, {}, b), did(pop, 7, 8, {})}));
    CHECK(explained({pushed, did(push, 3, 6, {c}), did(pop, 4, 5, {}, a)}));             // c may come after the pop
    CHECK(explained({pushed, did(rerank, 3, 4, {a_late}, {}, true), did(pop, 5, 6, {}, b)}));
    CHECK_FALSE(explained({pushed, did(pop, 3, 4, {}, b)}));                              // not first in, first out
    CHECK_FALSE(explained({pushed, did(push, 3, 4, {c}), did(pop, 5, 6, {}, a)}));        // not the smallest
    CHECK_FALSE(explained({pushed, did(pop, 3, 4, {}, a), did(pop, 5, 6, {}, a)}));       // twice
    CHECK_FALSE(explained({pushed, did(pop, 3, 4, {}, a), did(pop, 5, 6, {})}));          // b is lost
    CHECK_FALSE(explained({pushed, did(pop, 3, 4, {}, a), did(cancel, 5, 6, {a}, {}, true)}));
    CHECK_FALSE(explained({pushed, did(rerank, 3, 4, {a_late}, {}, true), did(pop, 5, 6, {}, a)}));
    CHECK_FALSE(explained({pushed, did(rerank, 3, 6, {a_late}, {}, true), did(peek, 4, 5, {}, b), did(peek, 7, 8, {}, a)}));
    CHECK_FALSE(explained({did(push, 1, 6, {a, c}), did(pop, 2, 3, {}, a)}));             // a batch is one instant
}

TEST_CASE("three threads taking turns at every atomic access leave histories that have an explanation") {
    using Heap = BasicPriorityHeap<TurnAtom, kTiny>;
    for (std::uint64_t seed = 1; seed <= 10000; ++seed) check_by_turns<Heap>(seed, 3, 4, 3);
}

TEST_CASE("two threads with more entries than blocks hold leave histories that have an explanation") {
    using Heap = BasicPriorityHeap<TurnAtom, kTiny>;
    for (std::uint64_t seed = 1; seed <= 400; ++seed) check_by_turns<Heap>(seed, 2, 8, 8);
}

// A peek that saw the larger entry first, then lost it to a cancel and the smaller one to a pop, once returned the
// larger one: one random history in 500,000 showed it.
TEST_CASE("peek returns no entry that was never the smallest") {
    using Heap = BasicPriorityHeap<TurnAtom, kTiny>;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        Heap::Tickets tickets;
        Heap heap(tickets);
        for (std::uint32_t k = 0; k < 3; ++k) heap.push(entry(k, 3, k));  // overflows: they lie in near now
        heap.push(entry(3, 4, 3));                                        // and this one in the front
        REQUIRE(heap.pop()->task == TaskId{0});
        REQUIRE(heap.pop()->task == TaskId{1});
        std::optional<HeapEntry> peeked;
        Turns::run(seed, 2 + static_cast<unsigned>(seed % 9), {[&] { peeked = heap.peek(); },
                                                               [&] {
                                                                   (void)heap.cancel(TaskId{3});
                                                                   (void)heap.pop();
                                                               }});
        INFO("seed " << seed);
        CHECK((!peeked || *peeked == entry(2, 3, 2)));
    }
}

TEST_CASE("blocks of the shipped sizes leave histories that have an explanation") {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) check_by_turns<BasicPriorityHeap<TurnAtom>>(seed, 3, 4, 3);
}

TEST_CASE("threads running free leave histories that have an explanation") {
    const auto free_running = [](const std::vector<std::function<void()>>& bodies) {
        std::atomic<std::size_t> here{0};
        std::vector<std::thread> threads;
        for (const auto& body : bodies) {
            threads.emplace_back([&] {
                here.fetch_add(1);
                while (here.load() != bodies.size()) std::this_thread::yield();
                body();
            });
        }
        for (std::thread& thread : threads) thread.join();
    };
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        check_history<BasicPriorityHeap<StdAtom, kTiny>>(seed, 3, 4, 3, free_running);
        check_history<PriorityHeap>(seed, 2, 8, 4, free_running);
    }
}

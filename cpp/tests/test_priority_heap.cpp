// PriorityHeap from one thread: order, FIFO, batches, cancel, re-rank, against a plain ordered set.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "penstock/priority_heap.hpp"

using namespace penstock;

namespace {

constexpr HeapLimits kTiny{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .window = 2, .slack = 2, .inbox_items = 2, .inboxes = 2, .inbox_at_once = true};

HeapEntry entry(std::uint32_t task, double rank, std::uint64_t tie) { return {TaskId{task}, Rank{rank}, tie}; }

// REQUIRE without its cost, for what is asked a million times.
void require(bool holds, const char* what) {
    if (!holds) FAIL(what);
}

// The same operations on a heap and on an ordered set, with the results compared after each.
template <class Heap>
class Differential {
public:
    Differential(std::uint64_t seed, std::uint32_t tasks, std::uint32_t ranks)
        : random_(seed), tasks_(tasks), ranks_(ranks), queued_(tasks), ranked_(tasks) {}

    void run(int operations) {
        for (int k = 0; k < operations; ++k) {
            if (k % 500 == 0) growing_ = draw(3);
            step();
            require(heap_.size() == plain_.size(), "heap_.size() == plain_.size()");
            if (k % 64 == 0) require(heap_.check() == "", "heap_.check() == \"\"");
        }
        while (!plain_.empty()) pop_many(1 + draw(50));
        CHECK(heap_.pop() == std::nullopt);
        CHECK(heap_.empty());
    }

private:
    void step() {
        const std::uint32_t choice = draw(100);
        if (choice < (growing_ == 0 ? 60U : growing_ == 1 ? 30U : 10U)) {
            push_many(1);
        } else if (choice < 70) {
            const auto popped = heap_.pop();
            require(popped.has_value() == !plain_.empty(), "popped.has_value() == !plain_.empty()");
            if (popped) take(*popped);
        } else if (choice < 80) {
            const std::uint32_t task = draw(tasks_);
            require(heap_.cancel(TaskId{task}) == queued_[task], "heap_.cancel(TaskId{task}) == queued_[task]");
            if (queued_[task]) forget(task);
        } else if (choice < 90) {
            const HeapEntry changed = entry(draw(tasks_), draw(ranks_), ++tie_);
            require(heap_.rerank(changed) == queued_[index(changed.task)], "heap_.rerank(changed) == queued_[index(changed.task)]");
            if (queued_[index(changed.task)]) {
                forget(index(changed.task));
                remember(changed);
            }
        } else if (choice < 93) {
            push_many(draw(draw(4) == 0 ? 2000 : 20));
        } else if (choice < 97) {
            pop_many(draw(50));
        } else {
            const auto seen = heap_.peek();
            require(seen.has_value() == !plain_.empty(), "seen.has_value() == !plain_.empty()");
            if (seen) require(*seen == first(), "*seen == first()");
        }
    }
    void push_many(std::uint32_t count) {
        std::vector<HeapEntry> entries;
        for (std::uint32_t k = 0; k < count; ++k) {
            const std::uint32_t task = draw(tasks_);
            if (queued_[task]) continue;
            entries.push_back(entry(task, draw(ranks_), ++tie_));
            remember(entries.back());
        }
        if (count == 1 && entries.size() == 1) return heap_.push(entries.front());
        heap_.push(std::span<const HeapEntry>(entries));
    }
    void pop_many(std::uint32_t count) {
        std::vector<HeapEntry> out(count);
        const std::optional<HeapKey> before = draw(2) == 0 ? std::nullopt : std::optional(HeapKey{Rank{draw(ranks_) * 0.5}, 0});
        const std::size_t got = heap_.pop(std::span<HeapEntry>(out), before);
        for (std::size_t k = 0; k < got; ++k) {
            if (before) require(out[k].rank.value < before->rank.value, "out[k].rank.value < before->rank.value");
            take(out[k]);
        }
        if (got < count && !plain_.empty()) require((before && first().rank.value >= before->rank.value), "(before && first().rank.value >= before->rank.value)");
    }

    HeapEntry first() const {
        const auto& [rank, tie, task] = *plain_.begin();
        return entry(task, rank, tie);
    }
    void take(const HeapEntry& popped) {
        require(!plain_.empty(), "an entry from an empty heap");
        require(popped == first(), "popped == first()");
        forget(index(popped.task));
    }
    void remember(const HeapEntry& e) {
        plain_.insert({e.rank.value, e.tie, index(e.task)});
        queued_[index(e.task)] = true;
        ranked_[index(e.task)] = e;
    }
    void forget(std::uint32_t task) {
        plain_.erase({ranked_[task].rank.value, ranked_[task].tie, task});
        queued_[task] = false;
    }
    std::uint32_t draw(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }

    std::mt19937_64 random_;
    std::uint32_t tasks_, ranks_, growing_ = 0;
    std::uint64_t tie_ = 0;
    typename Heap::Tickets tickets_;
    Heap heap_{tickets_};
    std::set<std::tuple<double, std::uint64_t, std::uint32_t>> plain_;
    std::vector<bool> queued_;
    std::vector<HeapEntry> ranked_;
};

}  // namespace

TEST_CASE("random operations give what an ordered set gives") {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed);
        Differential<PriorityHeap>(seed, seed % 2 == 0 ? 300 : 20'000, seed % 3 == 0 ? 10 : 1'000'000).run(6'000);
    }
}

TEST_CASE("random operations on tiny blocks give what an ordered set gives") {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        CAPTURE(seed);
        Differential<BasicPriorityHeap<StdAtom, kTiny>>(seed, 200, seed % 2 == 0 ? 5 : 1000).run(1'000);
    }
}

TEST_CASE("equal ranks leave in the order of their ties, single or in batches, in whatever order they came") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    std::vector<HeapEntry> entries;
    for (std::uint32_t k = 0; k < 5000; ++k) entries.push_back(entry(k, k % 2 == 0 ? 1.0 : 1e300, k));
    std::shuffle(entries.begin(), entries.end(), std::mt19937_64(1));
    heap.push(std::span<const HeapEntry>(entries).first(3000));
    for (const HeapEntry& e : std::span<const HeapEntry>(entries).subspan(3000)) heap.push(e);
    for (std::uint32_t k = 0; k < 5000; ++k) {
        require(heap.pop()->task == TaskId{k < 2500 ? 2 * k : 2 * (k - 2500) + 1}, "in order of ties");
    }
    CHECK(heap.pop() == std::nullopt);
}

TEST_CASE("ranks of every size and sign keep their order and come back as they were") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    const std::vector<double> ranks{-1e308, -2.5, -1e-300, 0.0, 5e-324, 1.0, 1.0 + 1e-15, 1e308};
    for (std::uint32_t k = static_cast<std::uint32_t>(ranks.size()); k-- > 0;) heap.push(entry(k, ranks[k], 0));
    for (std::uint32_t k = 0; k < ranks.size(); ++k) CHECK(*heap.pop() == entry(k, ranks[k], 0));
}

TEST_CASE("negative zero ties with zero") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    heap.push(entry(0, 0.0, 1));
    heap.push(entry(1, -0.0, 2));
    CHECK(heap.pop()->task == TaskId{0});
}

TEST_CASE("a batch pop stops before the given key") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    for (std::uint32_t k = 0; k < 10; ++k) heap.push(entry(k, 1.0, k));
    std::vector<HeapEntry> out(10);
    CHECK(heap.pop(std::span<HeapEntry>(out), HeapKey{Rank{1.0}, 4}) == 4);
    CHECK(out[3].task == TaskId{3});
    CHECK(heap.pop(std::span<HeapEntry>(out), HeapKey{Rank{0.5}, 99}) == 0);
    CHECK(heap.size() == 6);
}

TEST_CASE("a task can be cancelled once, and pushed again") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    CHECK_FALSE(heap.cancel(TaskId{7}));  // never seen
    heap.push(entry(7, 1, 1));
    CHECK(heap.cancel(TaskId{7}));
    CHECK_FALSE(heap.cancel(TaskId{7}));
    CHECK_FALSE(heap.rerank(entry(7, 0, 2)));
    CHECK(heap.pop() == std::nullopt);
    heap.push(entry(7, 2, 3));
    CHECK(*heap.pop() == entry(7, 2, 3));
    CHECK_FALSE(heap.cancel(TaskId{7}));
    CHECK(heap.pop() == std::nullopt);
}

TEST_CASE("a re-ranked task leaves once, at its new place") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    for (std::uint32_t k = 0; k < 200; ++k) heap.push(entry(k, k, k));
    for (std::uint32_t k = 0; k < 200; ++k) REQUIRE(heap.rerank(entry(k, 200.0 - k, k)));
    CHECK(heap.size() == 200);
    for (std::uint32_t k = 200; k-- > 0;) REQUIRE(*heap.pop() == entry(k, 200.0 - k, k));
    CHECK(heap.pop() == std::nullopt);
}

TEST_CASE("a million re-ranks of one task leave a small heap") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    for (std::uint32_t k = 0; k < 1000; ++k) heap.push(entry(k, 0, k));
    auto& reclaimer = detail::Reclaimer<>::instance();
    const std::int64_t before = reclaimer.held_bytes();
    for (std::uint32_t k = 0; k < 300'000; ++k) require(heap.rerank(entry(k % 3, 1.0 + k, k)), "re-ranked");
    CHECK(reclaimer.held_bytes() - before < 4'000'000);  // 24 bytes each would be 7,200,000
    CHECK(heap.size() == 1000);
    CHECK(heap.check() == "");
}

TEST_CASE("two heaps on one table keep their tasks apart") {
    Tickets tickets;
    PriorityHeap one(tickets), other(tickets);
    one.push(entry(1, 1, 1));
    other.push(entry(2, 2, 2));
    CHECK_FALSE(other.cancel(TaskId{1}));
    CHECK_FALSE(other.rerank(entry(1, 0, 3)));
    CHECK(one.cancel(TaskId{1}));
    other.push(entry(1, 3, 4));  // its old entry still lies in `one`
    CHECK(one.pop() == std::nullopt);
    CHECK(other.pop()->task == TaskId{2});
    CHECK(other.pop()->task == TaskId{1});
}

TEST_CASE("pushing a queued task is refused by name, and nothing of the batch goes in") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    heap.push(entry(3, 1, 1));
    std::string message;
    try {
        heap.push(entry(3, 2, 2));
    } catch (const std::logic_error& error) {
        message = error.what();
    }
    CHECK(message == "PriorityHeap: task 3 is pushed while it is queued in heap 1 of its table (this is heap 1); "
                     "pop or cancel it first, or rerank it");
    const std::vector<HeapEntry> batch{entry(1, 1, 1), entry(2, 1, 2), entry(3, 1, 3), entry(4, 1, 4)};
    CHECK_THROWS_AS(heap.push(std::span<const HeapEntry>(batch)), std::logic_error);
    CHECK(heap.size() == 1);
    CHECK(heap.pop()->task == TaskId{3});
    CHECK(heap.pop() == std::nullopt);
    heap.push(std::span<const HeapEntry>(batch));  // all four are free again
    CHECK(heap.size() == 4);
}

TEST_CASE("an untouched heap owns no block") {
    const std::int64_t before = detail::Reclaimer<>::instance().held_bytes();
    Tickets tickets;
    std::vector<std::unique_ptr<PriorityHeap>> heaps;
    for (int k = 0; k < 100; ++k) heaps.push_back(std::make_unique<PriorityHeap>(tickets));
    for (auto& heap : heaps) CHECK(heap->pop() == std::nullopt);
    CHECK(detail::Reclaimer<>::instance().held_bytes() == before);
    CHECK(sizeof(PriorityHeap) <= 320);
}

TEST_CASE("a table refuses its 65536th heap") {
    Tickets tickets;
    for (int k = 0; k < 65'535; ++k) (void)tickets.open_queue();
    CHECK_THROWS_AS(PriorityHeap{tickets}, std::length_error);
    CHECK_THROWS_AS(PriorityHeap{tickets}, std::length_error);
}

TEST_CASE("tickets stand for the smallest and the largest task number") {
    Tickets tickets;
    CHECK(tickets.find(TaskId{1'000'000}) == nullptr);
    tickets.reserve(1'000'001);
    REQUIRE(tickets.find(TaskId{1'000'000}) != nullptr);
    for (const std::uint32_t task : {0U, 63U, 64U, 191U, 192U, 1'000'000U}) {
        CHECK(&tickets.grow(TaskId{task}) == &tickets.word(TaskId{task}));
        CHECK(tickets.word(TaskId{task}).load() == 0);
        tickets.word(TaskId{task}).store(task + 1);
    }
    for (const std::uint32_t task : {0U, 63U, 64U, 191U, 192U, 1'000'000U}) CHECK(tickets.word(TaskId{task}).load() == task + 1);
}

// PriorityHeap under threads that run free: every task leaves once, none is lost, and at rest the order is strict.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "penstock/priority_heap.hpp"

using namespace penstock;

namespace {

struct Draw {
    std::uint64_t state;
    std::uint32_t operator()(std::uint32_t below) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        return static_cast<std::uint32_t>((state >> 33) % below);
    }
};

HeapEntry entry(std::uint32_t task, double rank, std::uint64_t tie) { return {TaskId{task}, Rank{rank}, tie}; }

// Runs the bodies together, started at one barrier.
void together(const std::vector<std::function<void()>>& bodies) {
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
}

// How often each task was taken out, by whichever operation.
class Tally {
public:
    explicit Tally(std::size_t tasks) : taken_(tasks) {}
    void operator()(TaskId task) { taken_[index(task)].fetch_add(1, std::memory_order_relaxed); }
    bool all(int times) const {
        for (const auto& count : taken_) {
            if (count.load() != times) return false;
        }
        return true;
    }

private:
    std::vector<std::atomic<int>> taken_;
};

template <class Heap>
void drain_in_order(Heap& heap, Tally& tally) {
    REQUIRE(heap.check() == "");
    std::size_t left = heap.size();
    HeapEntry last = entry(0, -1, 0);
    while (const auto popped = heap.pop()) {
        tally(popped->task);
        if (!(std::pair{last.rank.value, last.tie} < std::pair{popped->rank.value, popped->tie})) FAIL("out of order");
        last = *popped;
        --left;
        if (heap.size() != left) FAIL("size() is " << heap.size() << " with " << left << " left");
    }
    CHECK(left == 0);
    CHECK(heap.check() == "");
}

constexpr HeapLimits kTiny{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .window = 2, .slack = 2, .inbox_items = 2, .inboxes = 2, .inbox_at_once = true};

template <class Heap>
void all_operations_together(std::uint64_t seed, std::uint32_t threads, std::uint32_t each) {
    typename Heap::Tickets tickets;
    Heap heap(tickets);
    Tally tally(threads * each);
    std::vector<std::function<void()>> bodies;
    for (std::uint32_t me = 0; me < threads; ++me) {
        bodies.emplace_back([&, me] {
            Draw draw{seed * 100 + me};
            std::uint64_t tie = me;
            std::vector<HeapEntry> batch, out(8);
            for (std::uint32_t k = 0; k < each;) {
                batch.clear();
                for (std::uint32_t n = draw(4) == 0 ? 1 + draw(100) : 1; n > 0 && k < each; --n, ++k) {
                    batch.push_back(entry(me * each + k, draw(1000), tie += threads));
                }
                batch.size() == 1 ? heap.push(batch.front()) : heap.push(std::span<const HeapEntry>(batch));
                if (draw(2) == 0) {
                    if (const auto popped = heap.pop()) tally(popped->task);
                }
                if (draw(8) == 0) {
                    const std::size_t got = heap.pop(std::span<HeapEntry>(out), HeapKey{Rank{double(draw(1000))}, 0});
                    for (std::size_t p = 0; p < got; ++p) tally(out[p].task);
                }
                if (draw(8) == 0) (void)heap.peek();
                const TaskId any{draw(threads * each)};
                if (draw(8) == 0) (void)heap.rerank({any, Rank{double(draw(1000))}, tie += threads});
                if (draw(16) == 0 && heap.cancel(any)) tally(any);
            }
        });
    }
    together(bodies);
    drain_in_order(heap, tally);
    CHECK(tally.all(1));
}

}  // namespace

TEST_CASE("every task leaves exactly once when pushes, pops, batches, cancels and re-ranks meet") {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        all_operations_together<PriorityHeap>(seed, 2, 10'000);
        all_operations_together<PriorityHeap>(seed, 4, 4'000);
    }
}

TEST_CASE("every task leaves exactly once from tiny blocks") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) all_operations_together<BasicPriorityHeap<StdAtom, kTiny>>(seed, 3, 2'000);
}

TEST_CASE("a producer's entries of one rank reach a consumer in the order they were pushed") {
    constexpr std::uint32_t kTasks = 30'000;
    Tickets tickets;
    PriorityHeap heap(tickets);
    bool in_order = true;
    together({[&] {
                  for (std::uint32_t k = 0; k < kTasks; ++k) heap.push(entry(k, 1, k));
              },
              [&] {
                  for (std::uint32_t next = 0; next < kTasks;) {
                      const auto popped = heap.pop();
                      if (!popped) {
                          std::this_thread::yield();
                          continue;
                      }
                      in_order = in_order && popped->task == TaskId{next};
                      ++next;
                  }
              }});
    CHECK(in_order);
    CHECK(heap.empty());
}

TEST_CASE("several drains share out a full heap, each in order") {
    constexpr std::uint32_t kTasks = 30'000;
    Tickets tickets;
    PriorityHeap heap(tickets);
    std::vector<HeapEntry> entries;
    Draw draw{5};
    for (std::uint32_t k = 0; k < kTasks; ++k) entries.push_back(entry(k, draw(1'000'000), k));
    heap.push(std::span<const HeapEntry>(entries));
    Tally tally(kTasks);
    std::atomic<int> disorder{0};
    const auto drain = [&] {
        double last = -1;
        while (const auto popped = heap.pop()) {
            tally(popped->task);
            if (popped->rank.value < last) disorder.fetch_add(1);
            last = popped->rank.value;
        }
    };
    together({drain, drain, drain});
    CHECK(tally.all(1));
    CHECK(disorder == 0);
    CHECK(heap.empty());
}

TEST_CASE("a task that is popped and pushed over and over, in two heaps in turn, is never in both") {
    constexpr std::uint32_t kTasks = 8, kRounds = 8'000;
    Tickets tickets;
    PriorityHeap one(tickets), other(tickets);
    std::vector<std::atomic<int>> holders(kTasks);  // threads that have taken the task and not pushed it yet
    for (std::uint32_t k = 0; k < kTasks; ++k) one.push(entry(k, k, k));
    std::atomic<bool> twice{false};
    std::atomic<std::uint64_t> clock{100};
    const auto move = [&](PriorityHeap& from, PriorityHeap& to, std::uint64_t seed) {
        Draw draw{seed};
        for (std::uint32_t k = 0; k < kRounds; ++k) {
            (void)to.rerank(entry(draw(kTasks), draw(8), clock.fetch_add(1)));
            const auto popped = from.pop();
            if (!popped) continue;
            auto& holding = holders[index(popped->task)];
            if (holding.fetch_add(1) != 0) twice = true;
            holding.fetch_sub(1);
            to.push(entry(index(popped->task), draw(8), clock.fetch_add(1)));
        }
    };
    together({[&] { move(one, other, 1); }, [&] { move(other, one, 2); }, [&] { move(one, other, 3); }});
    CHECK_FALSE(twice);
    CHECK(one.size() + other.size() == kTasks);
    Tally tally(kTasks);
    drain_in_order(one, tally);
    drain_in_order(other, tally);
    CHECK(tally.all(1));
}

TEST_CASE("when many race to cancel one task, one succeeds") {
    constexpr std::uint32_t kTasks = 5'000;
    Tickets tickets;
    PriorityHeap heap(tickets);
    for (std::uint32_t k = 0; k < kTasks; ++k) heap.push(entry(k, k % 7, k));
    Tally tally(kTasks);
    const auto cancel = [&] {
        for (std::uint32_t k = 0; k < kTasks; ++k) {
            if (heap.cancel(TaskId{k})) tally(TaskId{k});
        }
    };
    const auto pop = [&] {
        while (const auto popped = heap.pop()) tally(popped->task);
    };
    together({cancel, cancel, pop});
    CHECK(tally.all(1));
    CHECK(heap.empty());
    CHECK(heap.pop() == std::nullopt);
}

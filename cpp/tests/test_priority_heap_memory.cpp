// What the heap and its Reclaimer hold, and when they let it go.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <semaphore>
#include <span>
#include <thread>
#include <vector>

#include "penstock/priority_heap.hpp"

using namespace penstock;

namespace {

using Reclaimer = detail::Reclaimer<>;

HeapEntry entry(std::uint32_t task, double rank, std::uint64_t tie) { return {TaskId{task}, Rank{rank}, tie}; }

std::int64_t held() {
    Reclaimer& all = Reclaimer::instance();
    all.sweep(all.mine());
    return all.held_bytes();
}

void fill(PriorityHeap& heap, std::uint32_t count) {
    for (std::uint32_t k = 0; k < count; ++k) heap.push(entry(k, (k * 7919U) % count, k));
}

// Another thread, which does one operation and then stays as it is until it is let go.
class Idler {
public:
    template <class Operation>
    explicit Idler(Operation operation) : thread_([this, operation] {
        operation();
        done_.release();
        go_.acquire();
    }) {
        done_.acquire();
    }
    ~Idler() {
        go_.release();
        thread_.join();
    }

private:
    std::binary_semaphore done_{0}, go_{0};
    std::thread thread_;
};

constexpr std::int64_t kOneThreadShelves = 16 * (512 + 1024 + 2048);

}  // namespace

TEST_CASE("a heap that was filled and drained gives its blocks back, and the rest when it goes") {
    const std::int64_t before = held();
    {
        Tickets tickets;
        PriorityHeap heap(tickets);
        fill(heap, 40'000);
        CHECK(held() - before > 40'000 * 24);
        CHECK(held() - before < 40'000 * 24 * 2 + 200'000);
        while (heap.pop()) {}
        CHECK(held() - before < 100'000);
    }
    CHECK(held() - before <= kOneThreadShelves);
}

TEST_CASE("a steady traffic of pushes and pops holds no more after a while than at first") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    fill(heap, 1000);
    std::int64_t most = 0, early = 0;
    for (std::uint32_t k = 0; k < 40'000; ++k) {
        const HeapEntry popped = *heap.pop();
        heap.push({popped.task, Rank{popped.rank.value + k % 1000}, k});
        most = std::max(most, Reclaimer::instance().held_bytes());
        if (k == 10'000) early = most;
    }
    CHECK(most < early + 100'000);
}

TEST_CASE("cancelled entries are dropped though nobody pops") {
    Tickets tickets;
    PriorityHeap heap(tickets);
    const std::int64_t before = held();
    fill(heap, 40'000);
    bool all = true;
    for (std::uint32_t k = 0; k < 40'000; ++k) all = heap.cancel(TaskId{k}) && all;
    CHECK(all);
    CHECK(held() - before < 40'000 * 24 / 3);
    CHECK(heap.empty());
    CHECK(heap.pop() == std::nullopt);
    CHECK(held() - before < 100'000);
}

TEST_CASE("an idle thread holds little, however large the heap was when it last looked") {
    const std::int64_t before = held();
    Tickets tickets;
    PriorityHeap heap(tickets);
    fill(heap, 40'000);
    Idler idler([&] { (void)heap.peek(); });
    while (heap.pop()) {}
    CHECK(held() - before < 100'000);
}

TEST_CASE("an idle thread that last looked at a small heap holds no more than the limit") {
    const std::int64_t before = held();
    REQUIRE(before < Reclaimer::kLight / 2);
    Tickets tickets;
    PriorityHeap heap(tickets);
    fill(heap, 100);
    Idler idler([&] { (void)heap.peek(); });
    for (std::uint32_t k = 0; k < 100; ++k) (void)heap.pop();
    fill(heap, 40'000);
    while (heap.pop()) {}
    CHECK(held() - before < Reclaimer::kLight);
}

TEST_CASE("a thread that ends leaves nothing behind but its record") {
    const std::int64_t before = held();
    Tickets tickets;
    for (int round = 0; round < 50; ++round) {
        PriorityHeap heap(tickets);
        std::thread([&] {
            fill(heap, 1000);
            while (heap.pop()) {}
        }).join();
    }
    CHECK(held() - before <= kOneThreadShelves);
}

TEST_CASE("seventy readers keep what they read, one record for each that lives at once") {
    // More threads than a sweep looks at in one go. Every reader is inside the heap's memory all the time.
    Tickets tickets;
    PriorityHeap heap(tickets);
    fill(heap, 4'000);
    std::atomic<bool> stop{false};
    std::atomic<int> started{0};
    std::vector<std::thread> readers;
    for (int k = 0; k < 70; ++k) {
        readers.emplace_back([&] {
            started.fetch_add(1);
            while (!stop.load()) {
                (void)heap.peek();
                std::this_thread::yield();
            }
        });
    }
    while (started.load() != 70) std::this_thread::yield();
    std::uint32_t popped = 0;
    while (heap.pop()) ++popped;
    stop = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(popped == 4'000);
}

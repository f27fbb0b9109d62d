// A thread parked at any atomic step of an operation stops nobody, and what it holds does not grow.
//
// The same test fails for a queue behind a mutex, so it is known to tell the two apart.
#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <queue>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "hooked_atomic.hpp"
#include "penstock/priority_heap.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

// Parks the thread that has set `countdown` when that many accesses are done; counts the accesses of others and stops
// them when they use up `budget`.
struct Parking {
    static constexpr std::uint64_t kNever = ~std::uint64_t{0};
    struct Blocked : std::runtime_error {
        Blocked() : std::runtime_error("blocked") {}
    };

    static void step() {
        if (countdown != kNever && countdown-- == 0) {
            countdown = kNever;
            parked = true;
            stopped.release();
            go_on.acquire();
        }
        if (budget != kNever && budget-- == 0) throw Blocked();
    }

    static inline thread_local std::uint64_t countdown = kNever;
    static inline thread_local std::uint64_t budget = kNever;
    static inline std::binary_semaphore stopped{0}, go_on{0};
    static inline bool parked = false;
};

struct ParkAtom : StdAtom {
    template <class T>
    using atomic = HookedAtomic<T, Parking>;
    static void relax() noexcept {}
};

constexpr HeapLimits kTiny{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .slack = 2, .inbox_items = 2, .inboxes = 4};
using Heap = BasicPriorityHeap<ParkAtom, kTiny>;

HeapEntry entry(std::uint32_t task, double rank, std::uint64_t tie) { return {TaskId{task}, Rank{rank}, tie}; }

// The control: the standard queue behind a mutex, made of the same atomics so that the same hook parks its holder.
class LockedQueue {
public:
    struct Tickets {};
    explicit LockedQueue(Tickets&) {}
    void push(const HeapEntry& e) {
        lock();
        queue_.push(e);
        locked_.store(0);
    }
    void push(std::span<const HeapEntry> entries) {
        for (const HeapEntry& e : entries) push(e);
    }
    std::optional<HeapEntry> pop() {
        lock();
        std::optional<HeapEntry> out;
        if (!queue_.empty()) {
            out = queue_.top();
            queue_.pop();
        }
        locked_.store(0);
        return out;
    }

private:
    struct Later {
        bool operator()(const HeapEntry& a, const HeapEntry& b) const { return a.rank.value > b.rank.value; }
    };
    void lock() {
        while (locked_.exchange(1) != 0) {}
    }
    HookedAtomic<int, Parking> locked_{0};
    std::priority_queue<HeapEntry, std::vector<HeapEntry>, Later> queue_;
};

struct Outcome {
    int parked_at = 0;         // steps at which a thread was parked
    int blocked = 0;           // of those, how often another thread could not finish
    std::int64_t held = 0;     // most bytes held beyond the start
    bool exactly_once = true;
};

constexpr std::uint32_t kResident = 14, kOwn = 8, kOthers = 400;

// Parks one thread at step 0, `stride`, 2 * `stride`, ... of `operation`, until it has no more steps. Each time two other
// threads do `rounds` rounds of all operations meanwhile.
template <class Queue, class Operation>
Outcome park_everywhere(Operation&& operation, std::uint32_t rounds, std::uint64_t stride = 1) {
    Outcome outcome;
    for (std::uint64_t step = 0;; step += stride) {
        typename Queue::Tickets tickets;
        Queue queue(tickets);
        for (std::uint32_t k = 0; k < kResident; ++k) queue.push(entry(k, k % 5, k));
        const std::int64_t before = detail::Reclaimer<ParkAtom>::instance().held_bytes();
        Parking::parked = false;
        std::thread victim([&] {
            Parking::countdown = step;
            operation(queue);
            Parking::countdown = Parking::kNever;
            if (!Parking::parked) Parking::stopped.release();
        });
        Parking::stopped.acquire();
        const bool parked = Parking::parked;
        bool blocked = false;
        if (parked) {
            ++outcome.parked_at;
            bool stuck[2] = {false, false};
            const auto work = [&](std::uint32_t me) {
                Parking::budget = 2'000ULL * rounds;
                try {
                    for (std::uint32_t k = 0; k < rounds; ++k) {
                        const std::uint32_t task = 100 + me * kOthers + k % kOthers;
                        queue.push(entry(task, k % 7, 100 + k));
                        if constexpr (requires { queue.cancel(TaskId{task}); }) {
                            if (k % 3 == 0) (void)queue.rerank(entry(task, k % 4, 200 + k));
                            if (k % 4 == 0) (void)queue.peek();
                            if (!queue.cancel(TaskId{task})) (void)queue.size();  // so that it is free for the next round
                        }
                        if (const auto popped = queue.pop()) queue.push(*popped);
                    }
                } catch (const Parking::Blocked&) {
                    stuck[me] = true;
                }
                Parking::budget = Parking::kNever;
            };
            std::thread other([&] { work(1); });
            work(0);
            other.join();
            blocked = stuck[0] || stuck[1];
            outcome.blocked += blocked ? 1 : 0;
            outcome.held = std::max(outcome.held, detail::Reclaimer<ParkAtom>::instance().held_bytes() - before);
            Parking::go_on.release();
        }
        victim.join();
        if constexpr (requires { queue.check(); }) {
            CHECK(queue.check() == "");
            std::vector<int> seen(100 + 2 * kOthers);
            CHECK(queue.size() <= kResident + kOwn);  // the others put back what they popped and cancelled what they pushed
            while (const auto popped = queue.pop()) ++seen[index(popped->task)];
            CHECK(queue.empty());
            for (const int count : seen) outcome.exactly_once = outcome.exactly_once && count <= 1;
        }
        if (!parked) return outcome;
    }
}

struct Case {
    std::string name;
    std::function<void(Heap&)> operation;
};

std::vector<Case> cases() {
    static const std::vector<HeapEntry> batch{entry(50, 0, 1), entry(51, 2, 1), entry(52, 9, 1), entry(53, 1, 1)};
    return {
        {"push", [](Heap& heap) { for (std::uint32_t k = 0; k < kOwn; ++k) heap.push(entry(60 + k, k, k)); }},
        {"batch push", [](Heap& heap) { heap.push(std::span<const HeapEntry>(batch)); }},
        {"pop", [](Heap& heap) { for (std::uint32_t k = 0; k < kOwn; ++k) (void)heap.pop(); }},
        {"batch pop", [](Heap& heap) { std::vector<HeapEntry> out(4); (void)heap.pop(std::span<HeapEntry>(out)); }},
        {"peek", [](Heap& heap) { (void)heap.peek(); }},
        {"cancel", [](Heap& heap) { for (std::uint32_t k = 0; k < 3; ++k) (void)heap.cancel(TaskId{k}); }},
        {"rerank", [](Heap& heap) { for (std::uint32_t k = 0; k < 3; ++k) (void)heap.rerank(entry(k, 8 - k, 9)); }},
        {"size", [](Heap& heap) { (void)heap.size(); }},
    };
}

}  // namespace

TEST_CASE("a thread parked at any atomic step of any operation stops nobody") {
    for (const Case& one : cases()) {
        CAPTURE(one.name);
        const Outcome outcome = park_everywhere<Heap>(one.operation, 8);
        CHECK(outcome.parked_at >= 3);
        CHECK(outcome.blocked == 0);
        CHECK(outcome.exactly_once);
        CHECK(outcome.held < 200'000);
    }
}

TEST_CASE("what a parked thread holds does not grow with what the others do") {
    for (const Case& one : {cases()[0], cases()[2]}) {
        CAPTURE(one.name);
        const Outcome outcome = park_everywhere<Heap>(one.operation, 390, 47);
        CHECK(outcome.blocked == 0);
        CHECK(outcome.held < 200'000);  // as with 8 rounds; these replace thousands of blocks
    }
}

TEST_CASE("the standard queue behind a mutex does not pass this test") {
    const auto push = [](LockedQueue& queue) { queue.push(entry(60, 0, 0)); };
    const Outcome outcome = park_everywhere<LockedQueue>(push, 8);
    CHECK(outcome.parked_at == 2);  // before the lock, and before the unlock
    CHECK(outcome.blocked == 1);
}

// A pop looks into the inboxes of two threads one after the other. While it is parked between them, the thread of the
// first pushes, and after that the thread of the second: the later, larger entry must not leave before the smaller.
TEST_CASE("a pop that is overtaken by two pushes, the smaller entry first, does not take the larger") {
    for (const bool mine_first : {true, false}) {
        CAPTURE(mine_first);
        for (std::uint64_t step = 0;; ++step) {
            CAPTURE(step);
            Heap::Tickets tickets;
            Heap heap(tickets);
            std::binary_semaphore warm{0}, turn{0}, done{0};
            std::thread other([&] {
                heap.push(entry(0, 0, 0));  // now it has an inbox
                warm.release();
                turn.acquire();
                heap.push(entry(10, mine_first ? 2 : 1, 1));
                done.release();
            });
            warm.acquire();
            heap.push(entry(1, 0, 1));
            for (int k = 0; k < 2; ++k) (void)heap.pop();
            std::optional<HeapEntry> popped;
            Parking::parked = false;
            std::thread victim([&] {
                Parking::countdown = step;
                popped = heap.pop();
                Parking::countdown = Parking::kNever;
                if (!Parking::parked) Parking::stopped.release();
            });
            Parking::stopped.acquire();
            const bool parked = Parking::parked;
            if (mine_first) heap.push(entry(11, 1, 1));
            turn.release();
            done.acquire();
            if (!mine_first) heap.push(entry(11, 2, 1));
            if (parked) Parking::go_on.release();
            victim.join();
            other.join();
            if (popped) CHECK(popped->rank == Rank{1});
            CHECK(heap.size() == (popped ? 1U : 2U));
            if (!parked) break;
        }
    }
}

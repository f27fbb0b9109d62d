// A thread parked at any step of an operation stops nobody, and what it holds does not grow.
//
// A step is an access to a shared variable through the Atom, or, for queues whose atomics cannot be reached, a copy or a
// comparison of their elements. The same test fails for the standard queue behind a mutex and for oneTBB's
// concurrent_priority_queue, so it is known to tell the two kinds apart.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <queue>
#include <semaphore>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#ifdef PENSTOCK_HAVE_ONETBB
#include <oneapi/tbb/concurrent_priority_queue.h>
#endif

#include "hooked_atomic.hpp"
#include "penstock/priority_heap.hpp"

using namespace penstock;
using namespace penstock::test;
using namespace std::chrono_literals;

namespace {

// Parks the thread that has set `countdown` when that many steps are done; counts the steps of others and stops them
// when they use up `budget`.
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

constexpr HeapLimits kTiny{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .window = 2, .slack = 2, .inbox_items = 2, .inboxes = 4, .inbox_at_once = true};
using Heap = BasicPriorityHeap<ParkAtom, kTiny>;

HeapEntry entry(std::uint32_t task, double rank, std::uint64_t tie) { return {TaskId{task}, Rank{rank}, tie}; }

// An element of the controls: whoever copies or compares it makes a step.
struct Watched {
    HeapEntry entry{};

    Watched() = default;
    explicit Watched(const HeapEntry& e) : entry(e) {}
    Watched(const Watched& other) : entry(other.entry) { Parking::step(); }
    Watched& operator=(const Watched& other) {
        Parking::step();
        entry = other.entry;
        return *this;
    }
};
struct Later {
    bool operator()(const Watched& a, const Watched& b) const {
        Parking::step();
        return a.entry.rank.value > b.entry.rank.value;
    }
};

// Control: the standard queue behind a mutex.
class LockedQueue {
public:
    struct Tickets {};
    explicit LockedQueue(Tickets&) {}
    void push(const HeapEntry& e) {
        const std::scoped_lock lock(mutex_);
        queue_.push(Watched(e));
    }
    std::optional<HeapEntry> pop() {
        const std::scoped_lock lock(mutex_);
        if (queue_.empty()) return std::nullopt;
        const HeapEntry out = queue_.top().entry;
        queue_.pop();
        return out;
    }

private:
    std::mutex mutex_;
    std::priority_queue<Watched, std::vector<Watched>, Later> queue_;
};

#ifdef PENSTOCK_HAVE_ONETBB
// Control: one thread handles the operations of all, the others wait for it.
class OneTbbQueue {
public:
    struct Tickets {};
    explicit OneTbbQueue(Tickets&) {}
    void push(const HeapEntry& e) { queue_.push(Watched(e)); }
    std::optional<HeapEntry> pop() {
        Watched out;
        if (!queue_.try_pop(out)) return std::nullopt;
        return out.entry;
    }

private:
    tbb::concurrent_priority_queue<Watched, Later> queue_;
};
#endif

struct Outcome {
    int parked_at = 0;         // steps at which a thread was parked
    bool blocked = false;      // another thread could not finish while it was
    std::int64_t held = 0;     // most bytes held beyond the start
    bool exactly_once = true;
};

constexpr std::uint32_t kResident = 14, kOwn = 8, kOthers = 400;

// What one of the others does: rounds of all operations that the queue has.
template <class Queue>
void work(Queue& queue, std::uint32_t me, std::uint32_t rounds) {
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
}

// Parks one thread at step 0, 1, 2, ... of `operation` and of the thread's end, until there are no more steps. Each time
// two other threads do `rounds` rounds meanwhile. Ends at the first step that blocks them: when they have used up the
// steps that the rounds can need, or are not done after `patience`.
template <class Queue, class Operation>
Outcome park_everywhere(Operation&& operation, std::uint32_t rounds, std::chrono::seconds patience) {
    Outcome outcome;
    for (std::uint64_t step = 0;; ++step) {
        typename Queue::Tickets tickets;
        Queue queue(tickets);
        for (std::uint32_t k = 0; k < kResident; ++k) queue.push(entry(k, k % 5, k));
        const std::int64_t before = detail::Reclaimer<ParkAtom>::instance().held_bytes();
        Parking::parked = false;
        std::thread victim([&] {
            std::thread([&] {
                Parking::countdown = step;  // stays set while the thread ends
                operation(queue);
            }).join();
            if (!Parking::parked) Parking::stopped.release();
        });
        Parking::stopped.acquire();
        const bool parked = Parking::parked;
        if (parked) {
            ++outcome.parked_at;
            std::counting_semaphore<2> done(0);
            std::array<bool, 2> stuck{};
            std::vector<std::thread> others;
            for (std::uint32_t me = 0; me < 2; ++me) {
                others.emplace_back([&, me] {
                    Parking::budget = 2'000ULL * rounds;
                    try {
                        work(queue, me, rounds);
                    } catch (const Parking::Blocked&) {
                        stuck[me] = true;
                    }
                    Parking::budget = Parking::kNever;
                    done.release();
                });
            }
            const auto deadline = std::chrono::steady_clock::now() + patience;
            for (int k = 0; k < 2; ++k) outcome.blocked = !done.try_acquire_until(deadline) || outcome.blocked;
            outcome.held = std::max(outcome.held, detail::Reclaimer<ParkAtom>::instance().held_bytes() - before);
            Parking::go_on.release();
            for (std::thread& other : others) other.join();
            outcome.blocked = outcome.blocked || stuck[0] || stuck[1];
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
        if (!parked || outcome.blocked) return outcome;
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

TEST_CASE("a thread parked at any atomic step of any operation, or of its end, stops nobody") {
    for (const Case& one : cases()) {
        CAPTURE(one.name);
        const Outcome outcome = park_everywhere<Heap>(one.operation, 8, 60s);
        CHECK(outcome.parked_at >= 3);
        CHECK_FALSE(outcome.blocked);
        CHECK(outcome.exactly_once);
    }
}

TEST_CASE("what a parked thread holds does not grow with what the others do") {
    // Several of these rounds replace every block of the heap. 50 of them or 350: the parked thread holds the same blocks.
    for (const Case& one : cases()) {
        CAPTURE(one.name);
        const Outcome few = park_everywhere<Heap>(one.operation, 50, 60s);
        const Outcome many = park_everywhere<Heap>(one.operation, 350, 60s);
        CHECK_FALSE(many.blocked);
        CHECK(many.held < 100'000);
        CHECK(many.held < few.held + 20'000);
    }
}

TEST_CASE("control: the standard queue behind a mutex does not pass this test") {
    const auto push = [](LockedQueue& queue) { queue.push(entry(60, 0, 0)); };
    CHECK(park_everywhere<LockedQueue>(push, 8, 1s).blocked);
    const auto pop = [](LockedQueue& queue) { (void)queue.pop(); };
    CHECK(park_everywhere<LockedQueue>(pop, 8, 1s).blocked);
}

TEST_CASE("control: oneTBB's concurrent_priority_queue does not pass this test") {
#ifdef PENSTOCK_HAVE_ONETBB
    const auto push = [](OneTbbQueue& queue) { queue.push(entry(60, 0, 0)); };
    CHECK(park_everywhere<OneTbbQueue>(push, 8, 1s).blocked);
    const auto pop = [](OneTbbQueue& queue) { (void)queue.pop(); };
    CHECK(park_everywhere<OneTbbQueue>(pop, 8, 1s).blocked);
#else
    MESSAGE("skipped: oneTBB was not found when this was configured; install libtbb-dev, or pip install tbb-devel");
#endif
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

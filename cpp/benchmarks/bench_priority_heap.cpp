// PriorityHeap against std::priority_queue on one thread, and against a mutex around it on two; where oneTBB is
// installed, against its concurrent_priority_queue on both. Sides take turns; medians of 5.
//
//   bench_priority_heap [items of the large cases, default 1000000] [--json] [--only TEXT of a row's name]
//
// All sides hold the same 24-byte entries in the same order (rank, then tie). Numbers are million operations a
// second; a push and a pop count as two. Keys: `uniform` draws ranks from 2^53 values, `0..9` from ten, `later` adds a
// uniform amount to the rank just popped, as a clock does. A hold pops one and pushes one, with so many resident, as
// often as the large cases have items.
// Each side's outcome is checked: nothing is lost, and what one thread pops is in order.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "measuring.hpp"
#include "penstock/priority_heap.hpp"

#if defined(PENSTOCK_WITH_TBB)
#include <oneapi/tbb/concurrent_priority_queue.h>
#endif

namespace {

using measuring::CpuClock;
using measuring::mops;
using measuring::Random;
using measuring::Side;
using measuring::together;
using penstock::HeapEntry;
using penstock::PriorityHeap;
using penstock::Rank;
using penstock::TaskId;
using penstock::Tickets;

enum class Keys { uniform, few, later };

double key(Keys keys, Random& random, double popped) {
    switch (keys) {
        case Keys::uniform: return static_cast<double>(random() >> 11);
        case Keys::few: return static_cast<double>((random() >> 32) % 10);
        case Keys::later: return popped + static_cast<double>(random() >> 40);
    }
    return 0;
}

struct Later {
    bool operator()(const HeapEntry& a, const HeapEntry& b) const {
        return a.rank.value != b.rank.value ? a.rank.value > b.rank.value : a.tie > b.tie;
    }
};

class Plain {  // std::priority_queue, one thread
public:
    explicit Plain(std::size_t) {}
    void push(const HeapEntry& entry) { queue_.push(entry); }
    bool pop(HeapEntry& out) {
        if (queue_.empty()) return false;
        out = queue_.top();
        queue_.pop();
        return true;
    }

private:
    std::priority_queue<HeapEntry, std::vector<HeapEntry>, Later> queue_;
};

class Locked {
public:
    explicit Locked(std::size_t n) : queue_(n) {}
    void push(const HeapEntry& entry) {
        const std::lock_guard lock(mutex_);
        queue_.push(entry);
    }
    bool pop(HeapEntry& out) {
        const std::lock_guard lock(mutex_);
        return queue_.pop(out);
    }

private:
    std::mutex mutex_;
    Plain queue_;
};

class Heap {
public:
    explicit Heap(std::size_t n) { tickets_.reserve(static_cast<std::uint32_t>(n)); }
    void push(const HeapEntry& entry) { heap_.push(entry); }
    bool pop(HeapEntry& out) {
        const auto entry = heap_.pop();
        if (entry) out = *entry;
        return entry.has_value();
    }

private:
    Tickets tickets_;
    PriorityHeap heap_{tickets_};
};

#if defined(PENSTOCK_WITH_TBB)
class Tbb {
public:
    explicit Tbb(std::size_t n) : queue_(n) {}
    void push(const HeapEntry& entry) { queue_.push(entry); }
    bool pop(HeapEntry& out) { return queue_.try_pop(out); }

private:
    oneapi::tbb::concurrent_priority_queue<HeapEntry, Later> queue_;
};
#endif

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "%s\n", what);
    std::exit(1);
}

template <class Queue>
void fill(Queue& queue, std::size_t first, std::size_t count, Keys keys, Random& random) {
    for (std::size_t k = first; k < first + count; ++k) {
        queue.push({TaskId{static_cast<std::uint32_t>(k)}, Rank{key(keys, random, 0)}, k});
    }
}

// Pops everything; the number of entries, and whether they came in order.
template <class Queue>
std::pair<std::size_t, bool> emptied(Queue& queue) {
    std::size_t count = 0;
    bool in_order = true;
    HeapEntry entry, before{TaskId{}, Rank{-1}, 0};
    for (; queue.pop(entry); before = entry, ++count) in_order = in_order && !Later{}(before, entry);
    return {count, in_order};
}

template <class Queue>
double fill_and_drain(std::size_t n, Keys keys) {
    Queue queue(n);
    Random random(n);
    const auto start = CpuClock::now();
    fill(queue, 0, n, keys, random);
    const auto [count, in_order] = emptied(queue);
    const double found = mops(2 * n, CpuClock::now() - start);
    require(count == n && in_order, "fill and drain: an entry is lost or out of order");
    return found;
}

template <class Queue>
double hold(std::size_t n, Keys keys, std::size_t rounds) {
    Queue queue(n);
    Random random(n);
    fill(queue, 0, n, keys, random);
    std::uint64_t tie = n;
    HeapEntry entry;
    const auto round = [&] {
        require(queue.pop(entry), "hold: the queue is empty");
        queue.push({entry.task, Rank{key(keys, random, entry.rank.value)}, tie++});
    };
    for (std::size_t k = 0; k < rounds / 4; ++k) round();
    const auto start = CpuClock::now();
    for (std::size_t k = 0; k < rounds; ++k) round();
    const double found = mops(2 * rounds, CpuClock::now() - start);
    require(emptied(queue) == std::pair(n, true), "hold: an entry is lost or out of order");
    return found;
}

template <class Queue>
double parallel_fill(std::size_t n, Keys keys) {
    Queue queue(n);
    const auto time = together(2, [&](std::size_t me) {
        Random random(me + 1);
        fill(queue, me * (n / 2), n / 2, keys, random);
    });
    require(emptied(queue) == std::pair(n / 2 * 2, true), "parallel fill: an entry is lost or out of order");
    return mops(n, time);
}

template <class Queue>
double producer_consumer(std::size_t n, Keys keys) {
    Queue queue(n);
    const auto time = together(2, [&](std::size_t me) {
        if (me == 0) {
            Random random(1);
            fill(queue, 0, n, keys, random);
        } else {
            HeapEntry entry;
            for (std::size_t got = 0; got < n;) got += queue.pop(entry) ? 1 : 0;
        }
    });
    require(emptied(queue).first == 0, "producer and consumer: an entry came twice");
    return mops(2 * n, time);
}

template <class Queue>
double drain(std::size_t n, Keys keys) {
    Queue queue(n);
    Random random(1);
    fill(queue, 0, n, keys, random);
    std::array<std::pair<std::size_t, bool>, 2> got;
    const auto time = together(2, [&](std::size_t me) { got[me] = emptied(queue); });
    require(got[0].first + got[1].first == n && got[0].second && got[1].second, "drain: an entry is lost or out of order");
    return mops(n, time);
}

// The same work on each side of one thread, or of two.
#if defined(PENSTOCK_WITH_TBB)
#define TBB_SIDE(work, ...) {"oneTBB concurrent_priority_queue", [&] { return work<Tbb>(__VA_ARGS__); }},
#else
#define TBB_SIDE(work, ...)
#endif
#define ONE_THREAD(work, ...)                                               \
    std::vector<Side> {                                                     \
        {"std::priority_queue", [&] { return work<Plain>(__VA_ARGS__); }},  \
        {"mutex and std::priority_queue", [&] { return work<Locked>(__VA_ARGS__); }}, \
        TBB_SIDE(work, __VA_ARGS__)                                         \
        {"penstock", [&] { return work<Heap>(__VA_ARGS__); }}               \
    }
#define TWO_THREADS(work, ...)                                              \
    std::vector<Side> {                                                     \
        {"mutex and std::priority_queue", [&] { return work<Locked>(__VA_ARGS__); }}, \
        TBB_SIDE(work, __VA_ARGS__)                                         \
        {"penstock", [&] { return work<Heap>(__VA_ARGS__); }}               \
    }

}  // namespace

int main(int argc, char** argv) {
    const measuring::Options options(argc, argv, 1'000'000);
    const std::size_t large = options.size;
    measuring::Report report(options.json, options.only);
    for (const auto& [keys_, name] : {std::pair{Keys::uniform, "uniform"}, {Keys::few, "0..9"}, {Keys::later, "later"}}) {
        const Keys keys = keys_;
        for (const std::size_t n : {std::size_t{16}, std::size_t{10'000}, large}) {
            report.row("hold " + std::to_string(n) + ", " + name, ONE_THREAD(hold, n, keys, large));
        }
        if (keys == Keys::later) continue;
        report.row("fill and drain, " + std::string(name), ONE_THREAD(fill_and_drain, large, keys));
        report.row("parallel fill, " + std::string(name), TWO_THREADS(parallel_fill, large, keys));
        report.row("producer and consumer, " + std::string(name), TWO_THREADS(producer_consumer, large, keys));
        report.row("drain, " + std::string(name), TWO_THREADS(drain, large, keys));
    }
}

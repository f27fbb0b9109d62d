// PriorityHeap against std::priority_queue on one thread, and against a mutex around it on two. Medians of 5.
//
//   bench_priority_heap [items of the large cases, default 1000000]
//
// Both sides hold the same 24-byte entries in the same order (rank, then tie). Numbers are million operations a
// second; a push and a pop count as two. Keys: `uniform` draws ranks from 2^53 values, `0..9` from ten, `later` adds a
// uniform amount to the rank just popped, as a clock does. A hold pops one and pushes one, with so many resident.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <queue>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <time.h>

#include "penstock/priority_heap.hpp"

namespace {

using penstock::HeapEntry;
using penstock::PriorityHeap;
using penstock::Rank;
using penstock::TaskId;
using penstock::Tickets;

enum class Keys { uniform, few, later };

class Random {  // xorshift64*: cheap beside what is measured
public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U | 1U) {}
    std::uint64_t operator()() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1DU;
    }

private:
    std::uint64_t state_;
};

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

// One thread is timed by its own CPU clock, so that a busy machine changes little; two threads by the wall clock.
struct CpuClock {
    static std::chrono::nanoseconds now() {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    }
};
using Clock = std::chrono::steady_clock;

double mops(std::size_t operations, std::chrono::nanoseconds time) {
    return static_cast<double>(operations) / std::chrono::duration<double, std::micro>(time).count();
}

template <class Queue>
void fill(Queue& queue, std::size_t first, std::size_t count, Keys keys, Random& random) {
    for (std::size_t k = first; k < first + count; ++k) {
        queue.push({TaskId{static_cast<std::uint32_t>(k)}, Rank{key(keys, random, 0)}, k});
    }
}

template <class Queue>
double fill_and_drain(std::size_t n, Keys keys) {
    Queue queue(n);
    Random random(n);
    const auto start = CpuClock::now();
    fill(queue, 0, n, keys, random);
    HeapEntry entry;
    while (queue.pop(entry)) {}
    return mops(2 * n, CpuClock::now() - start);
}

template <class Queue>
double hold(std::size_t n, Keys keys) {
    Queue queue(n);
    Random random(n);
    fill(queue, 0, n, keys, random);
    const std::size_t rounds = 1'000'000;
    std::uint64_t tie = n;
    HeapEntry entry;
    const auto round = [&] {
        if (!queue.pop(entry)) std::abort();
        queue.push({entry.task, Rank{key(keys, random, entry.rank.value)}, tie++});
    };
    for (std::size_t k = 0; k < rounds / 4; ++k) round();
    const auto start = CpuClock::now();
    for (std::size_t k = 0; k < rounds; ++k) round();
    return mops(2 * rounds, CpuClock::now() - start);
}

template <class First, class Second>
Clock::duration together(First&& first, Second&& second) {
    std::atomic<int> here{0};
    const auto meet = [&] {
        here.fetch_add(1);
        while (here.load() != 2) {}
    };
    Clock::time_point start;
    std::thread other([&] {
        meet();
        second();
    });
    meet();
    start = Clock::now();
    first();
    other.join();
    return Clock::now() - start;
}

template <class Queue>
double parallel_fill(std::size_t n, Keys keys) {
    Queue queue(n);
    const auto half = [&](std::size_t me) {
        Random random(me + 1);
        fill(queue, me * (n / 2), n / 2, keys, random);
    };
    return mops(n, together([&] { half(0); }, [&] { half(1); }));
}

template <class Queue>
double producer_consumer(std::size_t n, Keys keys) {
    Queue queue(n);
    const auto produce = [&] {
        Random random(1);
        fill(queue, 0, n, keys, random);
    };
    const auto consume = [&] {
        HeapEntry entry;
        for (std::size_t got = 0; got < n;) got += queue.pop(entry) ? 1 : 0;
    };
    return mops(2 * n, together(produce, consume));
}

template <class Queue>
double drain(std::size_t n, Keys keys) {
    Queue queue(n);
    Random random(1);
    fill(queue, 0, n, keys, random);
    const auto part = [&] {
        HeapEntry entry;
        while (queue.pop(entry)) {}
    };
    return mops(n, together(part, part));
}

template <class Measure>
double median(Measure&& measure) {
    std::array<double, 5> all;
    for (double& one : all) one = measure();
    std::sort(all.begin(), all.end());
    return all[2];
}

template <class Theirs, class Ours>
void row(const std::string& name, Theirs&& theirs, Ours&& ours) {
    const double a = median(theirs);
    const double b = median(ours);
    std::printf("%-34s %10.1f %10.1f %9.2f\n", name.c_str(), a, b, b / a);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t large = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
    const std::array<std::pair<Keys, const char*>, 3> all{{{Keys::uniform, "uniform"}, {Keys::few, "0..9"}, {Keys::later, "later"}}};
    std::printf("%-34s %10s %10s %9s\n", "one thread, Mops/s", "std", "penstock", "ratio");
    for (const auto& [keys, name] : all) {
        for (const std::size_t n : {std::size_t{16}, std::size_t{10'000}, large}) {
            row("hold " + std::to_string(n) + ", " + name, [&, k = keys] { return hold<Plain>(n, k); },
                [&, k = keys] { return hold<Heap>(n, k); });
        }
        if (keys == Keys::later) continue;
        row("fill and drain, " + std::string(name), [&, k = keys] { return fill_and_drain<Plain>(large, k); },
            [&, k = keys] { return fill_and_drain<Heap>(large, k); });
    }
    std::printf("%-34s %10s %10s %9s\n", "two threads, Mops/s", "mutex+std", "penstock", "ratio");
    for (const auto& [keys, name] : all) {
        if (keys == Keys::later) continue;
        row("parallel fill, " + std::string(name), [&, k = keys] { return parallel_fill<Locked>(large, k); },
            [&, k = keys] { return parallel_fill<Heap>(large, k); });
        row("producer and consumer, " + std::string(name), [&, k = keys] { return producer_consumer<Locked>(large, k); },
            [&, k = keys] { return producer_consumer<Heap>(large, k); });
        row("drain, " + std::string(name), [&, k = keys] { return drain<Locked>(large, k); },
            [&, k = keys] { return drain<Heap>(large, k); });
    }
}

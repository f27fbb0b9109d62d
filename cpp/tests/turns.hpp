// Turns: runs a few threads one at a time, and lets a seed decide at each atomic access who goes on.
//
// With it a race that needs an unlucky preemption at one instruction is found by a few hundred seeds on any machine,
// loaded or not, and the same seed shows it again. The accesses are sequentially consistent: weaker orders are for
// ThreadSanitizer and the free-running tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <semaphore>
#include <thread>
#include <vector>

#include "hooked_atomic.hpp"
#include "penstock/atom.hpp"

namespace penstock::test {

class Turns {
public:
    static constexpr std::uint64_t kStepLimit = 2'000'000;  // a hand-sized program never gets there: it is a livelock

    // Runs the bodies to their end. On average one access in `stride` gives the turn away.
    static void run(std::uint64_t seed, unsigned stride, const std::vector<std::function<void()>>& bodies) {
        Turns turns(seed, stride, bodies.size());
        now_ = &turns;
        std::vector<std::thread> threads;
        for (std::size_t k = 0; k < bodies.size(); ++k) {
            threads.emplace_back([&, k] {
                me_ = k;
                turns.gate_[k]->acquire();
                bodies[k]();
                turns.end();
            });
        }
        turns.gate_[turns.pick()]->release();
        for (std::thread& thread : threads) thread.join();
        now_ = nullptr;
    }

    static void step() {
        if (now_ != nullptr && me_ != kNobody) now_->maybe_switch();
    }

private:
    static constexpr std::size_t kNobody = ~std::size_t{0};

    Turns(std::uint64_t seed, unsigned stride, std::size_t count) : random_(seed), stride_(stride) {
        for (std::size_t k = 0; k < count; ++k) {
            gate_.push_back(std::make_unique<std::binary_semaphore>(0));
            alive_.push_back(k);
        }
    }
    std::size_t pick() { return alive_[random_() % alive_.size()]; }
    void maybe_switch() {
        if (++steps_ > kStepLimit) {
            std::fprintf(stderr, "Turns: %llu atomic steps and no end: the operations livelock\n",
                         static_cast<unsigned long long>(steps_));
            std::abort();
        }
        if (random_() % stride_ != 0) return;
        const std::size_t next = pick();
        if (next == me_) return;
        gate_[next]->release();
        gate_[me_]->acquire();
    }
    void end() {
        std::erase(alive_, me_);
        me_ = kNobody;
        if (!alive_.empty()) gate_[pick()]->release();
    }

    std::minstd_rand random_;
    unsigned stride_;
    std::uint64_t steps_ = 0;
    std::vector<std::unique_ptr<std::binary_semaphore>> gate_;
    std::vector<std::size_t> alive_;
    static inline Turns* now_ = nullptr;
    static inline thread_local std::size_t me_ = kNobody;
};

struct TurnAtom : StdAtom {
    template <class T>
    using atomic = HookedAtomic<T, Turns>;
    static void relax() noexcept {}
};

}  // namespace penstock::test

// The seam between a lock-free structure and its atomics.
//
// A structure takes `template <class Atom>` and names every shared variable `typename Atom::template atomic<T>`.
// The product uses StdAtom, which is std::atomic and nothing else. A test brings its own Atom: one that parks a
// thread at its n-th atomic step, or one that hands the turn from thread to thread at each step. So what is
// tested is the shipped code, not a copy of it.
#pragma once

#include <atomic>

namespace penstock {

struct StdAtom {
    template <class T>
    using atomic = std::atomic<T>;

    // Called between two tries of a compare-exchange that lost. Never needed for progress: it only leaves the
    // cache line to the winner for a moment.
    static void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }
};

}  // namespace penstock

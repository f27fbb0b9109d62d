// The seam between a lock-free structure and its atomics.
//
// A structure takes `template <class Atom>` and names every shared variable `typename Atom::template atomic<T>`.
// The product uses StdAtom, which is std::atomic and nothing else. A test brings its own Atom: one that parks a
// thread at its n-th atomic step, or one that hands the turn from thread to thread at each step. So what is
// tested is the shipped code, not a copy of it.
//
// What exists once a process or once a thread comes through the seam too: a model check begins each of its thousands
// of executions with fresh ones.
#pragma once

#include <atomic>
#include <type_traits>

namespace penstock {

struct StdAtom {
    template <class T>
    using atomic = std::atomic<T>;

    // The process's own T. Never destroyed: threads may outlive static objects.
    template <class T>
    [[nodiscard]] static T& of_process() {
        static T& one = *new T;
        return one;
    }

    // The calling thread's own T, destroyed when the thread ends.
    template <class T>
    [[nodiscard]] static T& of_thread() noexcept(std::is_nothrow_default_constructible_v<T>) {
        static thread_local T one;
        return one;
    }

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

// Turnstile: workers of one crew take turns at the GIL without going to sleep over it.
//
// A worker needs the GIL for some tens of microseconds, to run a batch of tiny tasks, and then works without it for
// about as long. Who asks for a GIL that is held sleeps, and waking up takes longer than the batch of the other. So a
// worker that sees another inside watches for a moment whether it leaves; only after that it asks. On a free-threaded
// interpreter all are inside at once, and nobody watches.
#pragma once

#include <atomic>
#include <thread>

#include "binding.hpp"
#include "interpreter.hpp"
#include "penstock/atom.hpp"
#include "python_mutex.hpp"

namespace penstock::bindings {

class Turnstile {
 public:
  /// Takes the GIL for a thread that has given it up. `host`: whether a thread that is no worker is about to give it up.
  void enter(PyThreadState* state, const std::atomic<bool>& host) {
    // relaxed, throughout this class: to wait by, never to act on. What a worker did inside is published by the GIL; a
    // stale value costs a wait of some microseconds, or an early request for the GIL.
    const auto taken = [&] { return inside_.load(std::memory_order_relaxed) != 0 || host.load(std::memory_order_relaxed); };
    for (int k = 0; k < kLooks && taken(); ++k) StdAtom::relax();
    interpreter_call([&] { PyEval_RestoreThread(state); });
    inside_.fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] bool empty() const { return inside_.load(std::memory_order_relaxed) == 0; }
  /// Gives the GIL up.
  PyThreadState* leave() {
    PyThreadState* const state = PyEval_SaveThread();
    inside_.fetch_sub(1, std::memory_order_relaxed);  // after, so that who waits for this finds the GIL free
    return state;
  }

 private:
  static int looks() { return !kFreeThreaded && std::thread::hardware_concurrency() > 1 ? 1000 : 0; }
  const int kLooks = looks();  // some 40 us
  std::atomic<int> inside_{0};
};

}  // namespace penstock::bindings

// Doorbell: how threads sleep until something may have changed, without polling and without missing it.
//
// A waiter notes the epoch, looks for work, and sleeps only while the epoch is still the one it noted; a ringer
// changes state first and the epoch after. So a change between look and sleep is seen as a moved epoch. Ringing
// with nobody asleep is one atomic add and one load.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "penstock/atom.hpp"
#include "penstock/types.hpp"

namespace penstock::bindings {

/// The drivers' clock: CLOCK_MONOTONIC in ns, the same as Python's time.monotonic_ns().
inline Instant clock_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class Doorbell {
 public:
  std::uint64_t epoch() const { return epoch_.load(std::memory_order_seq_cst); }
  /// Who sleeps, or is about to.
  int sleepers() const { return sleepers_.load(std::memory_order_seq_cst) + spinners_.load(std::memory_order_seq_cst); }

  void ring_one() { ring(false); }
  void ring_all() { ring(true); }

  /// Waits until the epoch differs from `seen` or the clock reaches `until`. Call without the GIL. Looks `looks` times,
  /// some 40 ns each, before it sleeps, since waking up takes a thousand times as long; returns whether that was enough.
  bool wait(std::uint64_t seen, Instant until, int looks = 0) {
    if (looks > 0) {
      spinners_.fetch_add(1, std::memory_order_seq_cst);
      for (int k = 0; k < looks && epoch() == seen; ++k) StdAtom::relax();
      spinners_.fetch_sub(1, std::memory_order_seq_cst);
      if (epoch() != seen) return true;
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    {
      std::unique_lock lock(mutex_);
      const auto moved = [&] { return epoch() != seen; };
      if (until == kNever) {
        changed_.wait(lock, moved);
      } else {
        changed_.wait_until(lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(until)), moved);
      }
    }
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    return false;
  }

 private:
  // seq_cst on both counters: the ringer adds to the epoch and then reads the sleepers, a sleeper adds itself and
  // then reads the epoch. One of the two sees the other; with weaker orders both could miss and the sleeper stay.
  void ring(bool all) {
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    // One who is looking sees the new epoch: now, or when it has counted itself out and looks once more.
    if (!all && spinners_.load(std::memory_order_seq_cst) > 0) return;
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
    const std::scoped_lock lock(mutex_);
    all ? changed_.notify_all() : changed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<int> sleepers_{0}, spinners_{0};
};

}  // namespace penstock::bindings

// TaskClock: the time between two tiny tasks, for less than the tasks themselves take.
//
// Reading the system's clock takes as long as calling an empty Python function. Between two readings of it, a batch
// apart, this takes the processor's time-stamp counter, whose rate it measures against the system's clock as it goes.
// Without a counter that runs at one rate in all states of the processor, each reading is the system's.
#pragma once

#include "doorbell.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <x86intrin.h>
#define PENSTOCK_HAS_TSC 1
#endif

namespace penstock::bindings {

class TaskClock {
 public:
  TaskClock() { restart(clock_now()); }

  /// Reads the system's clock and counts on from there.
  Instant begin() {
    const Instant now = std::max(clock_now(), last_);
#if defined(PENSTOCK_HAS_TSC)
    const std::uint64_t count = __rdtsc();
    const Instant passed = now - origin_ns_;
    // The rate over a hundredth of a second to two: long enough to be exact, short enough to follow a change.
    if (passed > kCalibrateNs && count > origin_count_) {
      rate_ = steady() ? static_cast<double>(passed) / static_cast<double>(count - origin_count_) : 0.0;
      if (passed > kRestartNs) {
        origin_ns_ = now;
        origin_count_ = count;
      }
    }
    base_count_ = count;
#endif
    base_ns_ = last_ = now;
    return now;
  }

  /// The time now, never before an earlier reading of this clock. Soon after begin(): the error of the rate grows.
  Instant now() {
#if defined(PENSTOCK_HAS_TSC)
    if (rate_ > 0.0) {
      const std::uint64_t count = __rdtsc();
      const double passed = count > base_count_ ? static_cast<double>(count - base_count_) * rate_ : 0.0;
      if (passed < kTrustNs) return last_ = std::max(last_, base_ns_ + static_cast<Instant>(passed));
    }
#endif
    return begin();
  }

 private:
  static constexpr Instant kCalibrateNs = 10'000'000, kRestartNs = 2'000'000'000;
  static constexpr double kTrustNs = 1e6;

  void restart(Instant now) {
    base_ns_ = last_ = origin_ns_ = now;
#if defined(PENSTOCK_HAS_TSC)
    base_count_ = origin_count_ = __rdtsc();
#endif
  }

#if defined(PENSTOCK_HAS_TSC)
  /// Whether the counter says of itself that its rate is constant and that it never stops.
  static bool steady() {
    static const bool known = [] {
      unsigned a = 0, b = 0, c = 0, d = 0;
      return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1U << 8)) != 0;
    }();
    return known;
  }
  std::uint64_t base_count_ = 0, origin_count_ = 0;
  double rate_ = 0.0;  // ns for one count; 0: not known
#endif
  Instant base_ns_ = 0, last_ = 0, origin_ns_ = 0;
};

}  // namespace penstock::bindings

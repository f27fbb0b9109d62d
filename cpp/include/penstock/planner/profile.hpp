// Profile: what is free of each resource over time, for schedules that are built task by task.
//
// What it is: a sorted list of instants, and between two of them the free amounts, all resources packed into W words of
// 64 bits with one guard bit above each amount. One subtraction and one mask tell whether a demand fits
// (Warren, Hacker's Delight, on packed comparison), so W is 1 for most machines: 16 cores and 64 GiB need 42 bits.
//
// When not to use it: for a machine that runs; that is the Ledger.
//
// Cost: a search is linear in the instants that it passes, an insertion moves what lies behind. For each shape the
// profile remembers a stretch in which not even a moment is free: room only shrinks while a schedule is built, so later
// searches for that shape skip it. That keeps large schedules, which fill up from the front, from searching again and
// again what is full.
//
// Invariant: times rise, and the last stretch reaches to the end of time with everything free.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "penstock/planner/project.hpp"
#include "penstock/types.hpp"

namespace penstock::planner {

template <std::size_t W>
struct Packed {
  std::array<std::uint64_t, W> word{};

  static Packed of(const std::uint64_t* words) noexcept {
    Packed p;
    for (std::size_t w = 0; w < W; ++w) p.word[w] = words[w];
    return p;
  }
  [[nodiscard]] bool holds(const Packed& demand, const Packed& guard) const noexcept {
    std::uint64_t lost = 0;
    for (std::size_t w = 0; w < W; ++w) lost |= ~((word[w] | guard.word[w]) - demand.word[w]) & guard.word[w];
    return lost == 0;
  }
  void take(const Packed& demand) noexcept {
    for (std::size_t w = 0; w < W; ++w) word[w] -= demand.word[w];
  }
  void give(const Packed& demand) noexcept {
    for (std::size_t w = 0; w < W; ++w) word[w] += demand.word[w];
  }
  friend bool operator==(const Packed&, const Packed&) noexcept = default;
};

template <std::size_t W>
class Profile {
 public:
  explicit Profile(const Project& project)
      : capacity_(Packed<W>::of(project.capacity.data())),
        guard_(Packed<W>::of(project.guard.data())),
        full_(project.shapes) {
    steps_.reserve(2 * project.n + 2);
    clear();
  }

  /// Everything free from instant 0 on.
  void clear() {
    steps_.clear();
    steps_.push_back({0, capacity_});
    std::fill(full_.begin(), full_.end(), Stretch{});
  }

  /// Takes the demand at the earliest instant, `from` or later, from which it is free for `duration`; returns that
  /// instant. Nothing is taken for no duration (and a task without one has no demand, see prepare).
  Instant place(Instant from, Instant duration, const Packed<W>& demand, std::uint32_t shape) {
    Stretch& full = full_[shape];
    if (from >= full.from && from < full.to) from = full.to;
    std::size_t k = step_at(from);
    const std::size_t last = steps_.size() - 1;
    if (!steps_[k].free.holds(demand, guard_)) {
      const Instant searched = from;
      do {
        ++k;
      } while (!steps_[k].free.holds(demand, guard_));
      from = steps_[k].at;
      if (searched == full.to) {
        full.to = from;
      } else {
        full = {searched, from};
      }
    }
    if (duration == 0) return from;
    std::size_t begin = k;
    for (std::size_t next = k + 1; next <= last && steps_[next].at - from < duration; ++next) {
      if (steps_[next].free.holds(demand, guard_)) continue;
      do {
        ++next;
      } while (!steps_[next].free.holds(demand, guard_));
      from = steps_[next].at;
      begin = next;
    }
    take(begin, from, from + duration, demand);
    return from;
  }

 private:
  struct Step {
    Instant at;
    Packed<W> free;
  };
  struct Stretch {
    Instant from = 0, to = 0;
  };

  [[nodiscard]] std::size_t step_at(Instant at) const noexcept {
    // Most searches of a schedule built from the front begin near the back.
    constexpr std::size_t kNear = 8;
    std::size_t k = steps_.size() - 1;
    for (std::size_t near = 0; near < kNear && k > 0; ++near, --k) {
      if (steps_[k].at <= at) return k;
    }
    const auto after = std::upper_bound(steps_.begin(), steps_.begin() + static_cast<std::ptrdiff_t>(k + 1), at,
                                        [](Instant instant, const Step& step) { return instant < step.at; });
    return static_cast<std::size_t>(after - steps_.begin()) - 1;
  }

  void take(std::size_t k, Instant from, Instant to, const Packed<W>& demand) {
    if (steps_[k].at < from) {
      ++k;
      steps_.insert(steps_.begin() + static_cast<std::ptrdiff_t>(k), Step{from, steps_[k - 1].free});
    }
    for (; k < steps_.size() && steps_[k].at < to; ++k) {
      const Packed<W> before = steps_[k].free;
      steps_[k].free.take(demand);
      if (k + 1 == steps_.size() || steps_[k + 1].at > to) {
        steps_.insert(steps_.begin() + static_cast<std::ptrdiff_t>(k + 1), Step{to, before});
        return;
      }
    }
  }

  Packed<W> capacity_, guard_;
  std::vector<Step> steps_;
  std::vector<Stretch> full_;  // by shape: not even a moment is free in it
};

}  // namespace penstock::planner

// Schedule generation schemes: from an order of tasks to start times (Kolisch, Serial and parallel resource-constrained
// project scheduling methods revisited, EJOR 90 (1996) 320-333), and forward-backward improvement, also called double
// justification (Valls, Ballestin and Quintanilla, Justification and RCPSP, EJOR 165 (2005) 375-386).
//
// serial: task by task in a given order, each as early as it fits beside those before it. Some order gives an optimal
// schedule, but a machine that only starts what is ready cannot always follow it, as it may leave room unused on purpose.
// parallel: instant by instant, what is ready and fits, the smallest rank first: what dispatch does that knows no more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "penstock/planner/profile.hpp"
#include "penstock/planner/project.hpp"

namespace penstock::planner {

template <std::size_t W>
class Schemes {
 public:
  explicit Schemes(const Project& project) : p_(project), profile_(project), unmet_(project.n), demand_(project.n) {
    for (std::size_t k = 0; k < p_.n; ++k) demand_[k] = Packed<W>::of(p_.demand_of(k));
    guard_ = Packed<W>::of(p_.guard.data());
    least_ = Packed<W>::of(p_.capacity.data());
    for (const Field& f : p_.fields) {
      const std::uint64_t mask = ((std::uint64_t{1} << f.bits) - 1) << f.shift;
      for (std::size_t k = 0; k < p_.n; ++k) {
        if ((demand_[k].word[f.word] & mask) < (least_.word[f.word] & mask)) {
          least_.word[f.word] = (least_.word[f.word] & ~mask) | (demand_[k].word[f.word] & mask);
        }
      }
    }
  }

  /// `list`: every task once, each after its predecessors. Returns the makespan, or -1 when it was told to stop; what
  /// is placed by then is no schedule.
  template <class Stop>
  Instant serial(std::span<const std::uint32_t> list, std::span<Instant> start, const Stop& should_stop) {
    constexpr std::size_t kPause = 128;
    profile_.clear();
    Instant makespan = 0;
    std::size_t placed = 0;
    for (const std::uint32_t k : list) {
      if (++placed % kPause == 0 && should_stop()) return -1;
      Instant from = p_.release.empty() ? 0 : p_.release[k];
      for (const std::uint32_t b : p_.before[k]) from = std::max(from, start[b] + p_.duration[b]);
      start[k] = profile_.place(from, p_.duration[k], demand_[k], p_.shape[k]);
      makespan = std::max(makespan, start[k] + p_.duration[k]);
    }
    return makespan;
  }

  /// `rank`: the smaller is tried first, by position among equals. Returns the makespan, or -1 when it was told to stop.
  template <class R, class Stop>
  Instant parallel(std::span<const R> rank, std::span<Instant> start, const Stop& should_stop) {
    Packed<W> free = Packed<W>::of(p_.capacity.data());
    events_.clear();
    ready_.clear();
    came_.clear();
    const auto sooner = [&](std::uint32_t a, std::uint32_t b) { return rank[a] != rank[b] ? rank[a] < rank[b] : a < b; };
    const auto meet = [&](std::uint32_t k, Instant now) {
      const Instant release = p_.release.empty() ? 0 : p_.release[k];
      if (release <= now) {
        came_.push_back(k);
      } else {
        push({release, k, true});
      }
    };
    for (std::size_t k = 0; k < p_.n; ++k) unmet_[k] = static_cast<std::uint32_t>(p_.before[k].size());
    for (std::uint32_t k = 0; k < p_.n; ++k) {
      if (unmet_[k] == 0) meet(k, 0);
    }
    Instant now = 0;
    for (std::size_t rounds = 0;; ++rounds) {
      if (rounds % 64 == 63 && should_stop()) return -1;
      std::sort(came_.begin(), came_.end(), sooner);
      const auto middle = static_cast<std::ptrdiff_t>(ready_.size());
      ready_.insert(ready_.end(), came_.begin(), came_.end());
      std::inplace_merge(ready_.begin(), ready_.begin() + middle, ready_.end(), sooner);
      came_.clear();
      std::size_t kept = 0, at = 0;
      for (; at < ready_.size() && free.holds(least_, guard_); ++at) {
        const std::uint32_t k = ready_[at];
        if (!free.holds(demand_[k], guard_)) {
          ready_[kept++] = k;
          continue;
        }
        start[k] = now;
        free.take(demand_[k]);
        push({now + p_.duration[k], k, false});
      }
      if (kept < at) ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(kept), ready_.begin() + static_cast<std::ptrdiff_t>(at));
      if (events_.empty()) return now;
      now = events_.front().at;
      while (!events_.empty() && events_.front().at == now) {
        const Event event = events_.front();
        std::pop_heap(events_.begin(), events_.end());
        events_.pop_back();
        if (event.released) {
          came_.push_back(event.task);
          continue;
        }
        free.give(demand_[event.task]);
        for (const std::uint32_t s : p_.after[event.task]) {
          if (--unmet_[s] == 0) meet(s, now);
        }
      }
    }
  }

  /// Every task once, the smallest rank first among those whose predecessors are listed; by position among equals.
  std::vector<std::uint32_t> list_of(std::span<const double> rank) {
    const auto later = [&](std::uint32_t a, std::uint32_t b) { return rank[a] != rank[b] ? rank[a] > rank[b] : a > b; };
    std::vector<std::uint32_t> list;
    list.reserve(p_.n);
    ready_.clear();
    for (std::uint32_t k = 0; k < p_.n; ++k) {
      unmet_[k] = static_cast<std::uint32_t>(p_.before[k].size());
      if (unmet_[k] == 0) ready_.push_back(k);
    }
    std::make_heap(ready_.begin(), ready_.end(), later);
    while (!ready_.empty()) {
      std::pop_heap(ready_.begin(), ready_.end(), later);
      const std::uint32_t k = ready_.back();
      ready_.pop_back();
      list.push_back(k);
      for (const std::uint32_t s : p_.after[k]) {
        if (--unmet_[s] != 0) continue;
        ready_.push_back(s);
        std::push_heap(ready_.begin(), ready_.end(), later);
      }
    }
    return list;
  }

  [[nodiscard]] const Project& project() const noexcept { return p_; }

 private:
  struct Event {
    Instant at;
    std::uint32_t task;
    bool released;  // it may start; else it ends
    friend bool operator<(const Event& a, const Event& b) { return a.at != b.at ? a.at > b.at : a.task > b.task; }
  };
  void push(Event event) {
    events_.push_back(event);
    std::push_heap(events_.begin(), events_.end());
  }

  const Project& p_;
  Profile<W> profile_;
  std::vector<std::uint32_t> unmet_, ready_, came_;
  std::vector<Event> events_;
  std::vector<Packed<W>> demand_;
  Packed<W> guard_, least_;  // least_: of each resource, the smallest demand of any task
};

/// Tasks by start, those of equal start in topological order: a list from which serial() makes this schedule, or one
/// in which nothing starts later.
inline void order_by_start(const Project& p, std::span<const Instant> start, std::vector<std::uint32_t>& list) {
  list.assign(p.order.begin(), p.order.end());
  std::sort(list.begin(), list.end(), [&](std::uint32_t a, std::uint32_t b) {
    return start[a] != start[b] ? start[a] < start[b] : p.place[a] < p.place[b];
  });
}

/// Tasks by end, the last first: the list for the reversed project. Ties as above.
inline void order_by_end(const Project& p, std::span<const Instant> start, std::vector<std::uint32_t>& list) {
  list.assign(p.order.rbegin(), p.order.rend());
  std::sort(list.begin(), list.end(), [&](std::uint32_t a, std::uint32_t b) {
    const Instant end_a = start[a] + p.duration[a], end_b = start[b] + p.duration[b];
    return end_a != end_b ? end_a > end_b : p.place[a] > p.place[b];
  });
}

/// Both directions of one project, and the passes between them.
template <std::size_t W>
class Justifier {
 public:
  explicit Justifier(const Project& project)
      : forward_(project), reversed_(reversed(project)), backward_(reversed_), mirrored_(project.n) {}

  /// Pushes every task as late as it goes, then all as early as they go. Returns the makespan, which is no longer than
  /// that of `start`, or -1 when it was told to stop. `start` and `list` (by start) are left as the new schedule's.
  template <class Stop>
  Instant improve(std::span<Instant> start, std::vector<std::uint32_t>& list, const Stop& should_stop) {
    const Project& p = forward_.project();
    order_by_end(p, start, list);
    const Instant back = backward_.serial(list, mirrored_, should_stop);
    if (back < 0) return back;
    for (std::size_t k = 0; k < p.n; ++k) start[k] = back - mirrored_[k] - p.duration[k];
    order_by_start(p, start, list);
    const Instant found = forward_.serial(list, start, should_stop);
    if (found < 0) return found;
    order_by_start(p, start, list);
    return found;
  }

  Schemes<W>& forward() noexcept { return forward_; }
  Schemes<W>& backward() noexcept { return backward_; }

 private:
  Schemes<W> forward_;
  Project reversed_;
  Schemes<W> backward_;
  std::vector<Instant> mirrored_;
};

}  // namespace penstock::planner

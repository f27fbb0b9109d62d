// The scheduler's private nouns, shared by the files that implement its verbs.
#pragma once

#include <algorithm>

#include "penstock/scheduler.hpp"

namespace penstock {

/// One task's word: {marks 16, attempt 32, cause 8, state 8}. Every change is a compare-and-swap on the whole word, so two
/// verbs that race for one task (a finish and a cancel, say) have exactly one winner. Only ended tasks have marks.
namespace word {
constexpr std::uint64_t kPassedOn = std::uint64_t{1} << 63;  // it has succeeded, and `finish` is done with its successors
constexpr std::uint64_t kReleased = std::uint64_t{1} << 62;
constexpr std::uint64_t pack(Attempt attempt, Cause cause, State state) {
  return (std::uint64_t{attempt} << 16) | (std::uint64_t{static_cast<std::uint8_t>(cause)} << 8) |
         std::uint64_t{static_cast<std::uint8_t>(state)};
}
constexpr State state(std::uint64_t word) { return static_cast<State>(word & 0xFF); }
constexpr Cause cause(std::uint64_t word) { return static_cast<Cause>((word >> 8) & 0xFF); }
constexpr Attempt attempt(std::uint64_t word) { return static_cast<Attempt>(word >> 16); }
}  // namespace word

/// What every task has: half a cache line, since a run may hold ten million of them.
struct Scheduler::Record {
  std::atomic<std::uint64_t> word{0};
  std::atomic<double> priority{0.0};
  std::uint64_t origin = 0;  // shape in the low bits, then ns from the run's first submission to the task's
  std::uint32_t extra = 0;   // index into extras_; 0: none
  std::atomic<float> bottom_level{0.0F};  // ns, or hops when no run time was given; 24 bits are enough to rank by

  static constexpr unsigned kShapeBits = 12;
  static constexpr std::uint64_t kMostNs = (std::uint64_t{1} << (64 - kShapeBits)) - 1;  // 52 days; later counts as then

  [[nodiscard]] std::uint32_t shape() const noexcept {
    return static_cast<std::uint32_t>(origin & ((std::uint64_t{1} << kShapeBits) - 1));
  }
  [[nodiscard]] Instant submitted(Instant epoch) const noexcept { return epoch + static_cast<Instant>(origin >> kShapeBits); }
  static std::uint64_t origin_of(ShapeId shape, Instant after_epoch) noexcept {
    const std::uint64_t ns = after_epoch < 0 ? 0 : static_cast<std::uint64_t>(after_epoch);
    return (ns < kMostNs ? ns : kMostNs) << kShapeBits | static_cast<std::uint64_t>(shape);
  }
};

/// What only some tasks have, kept apart so that the others stay small.
struct Scheduler::Extra {
  std::atomic<Instant> expected{0};       // relaxed: an estimate, orders nothing
  std::atomic<Instant> deadline{kNever};  // relaxed: written before its task is published, see enrol() and release()
  Instant timeout = 0;
  std::uint32_t predecessors = 0;  // of a tolerant task
  std::uint32_t without_result = 0;  // predecessors that ended without one; mutex_
  bool tolerant = false;
  bool forgiven = false;
  Cause lost_to = Cause::upstream;  // why the last of them ended; mutex_

  /// As new, for another task. A `finish` that is about to rank the one before, which has ended, may still look at the
  /// atomics; what it makes of them goes nowhere.
  void reset() {
    expected.store(0, std::memory_order_relaxed);
    deadline.store(kNever, std::memory_order_relaxed);
    timeout = 0;
    predecessors = without_result = 0;
    tolerant = forgiven = false;
    lost_to = Cause::upstream;
  }
};

/// Tasks of one demand on one lane. Those with a deadline have a shape of their own, because their rank moves
/// with the clock at another rate, and heads are compared, not entries; those with a timeout too, because an
/// attempt's clock runs from its take and so it must not wait behind others in a worker's hand.
struct Scheduler::Shape {
  Shape(Tickets& tickets, const Demand& demand_, Lane lane_, bool deadline_, bool timeout_, std::uint32_t family_,
        ShapeId id_)
      : demand(demand_), asks(demand_), lane(lane_), deadline(deadline_), timeout(timeout_), family(family_), id(id_),
        heap(tickets, 0) {}
  Demand demand;  // as it was made; ranks are computed from it, also without the lock
  Demand asks;    // what a start takes; differs only in a family; mutex_
  Lane lane;
  bool deadline;
  bool timeout;
  std::uint32_t family;
  ShapeId id;
  PriorityHeap heap;
  TaskId blocked = kNoTask;  // the head that did not fit, and since when it has been passed over; mutex_
  Instant blocked_since = 0;
};

struct Scheduler::PolicyState {
  Policy policy;
};

struct Scheduler::Lease {
  Demand demand{};  // what it took
  Grant grant{};
  Instant expected_end = kNever;
  Instant opened = 0;
  std::atomic<std::uint32_t> open_attempts{0};  // beside the marks below

  static constexpr std::uint32_t kStill = 1U << 31;   // suspended: it holds its demand without what it yielded
  static constexpr std::uint32_t kEnding = 1U << 30;  // all attempts are reported, and the amounts are on their way back
  static constexpr std::uint32_t kCount = kEnding - 1;
};

/// How the tasks of a retired block have ended: two bits each.
struct Scheduler::Ends {
  std::array<std::uint64_t, (blocks::kTasks + 31) / 32> bits{};

  static constexpr unsigned kFinal = static_cast<unsigned>(State::succeeded);
  static_assert(static_cast<unsigned>(State::upstream_failed) == kFinal + 3, "the final states are four in a row");

  void set(std::uint32_t place, State state) {
    bits[place / 32] |= std::uint64_t{static_cast<unsigned>(state) - kFinal} << place % 32 * 2;
  }
  [[nodiscard]] State of(std::uint32_t place) const {
    return static_cast<State>(kFinal + static_cast<unsigned>(bits[place / 32] >> place % 32 * 2 & 3));
  }
};

/// What is known of a block of tasks as a whole; see blocks.hpp.
struct Scheduler::Block {
  std::atomic<std::uintptr_t> end{0};  // 0: not retired; kAllSucceeded; else the address of its Ends
  std::uint32_t released = 0;          // so many of its tasks; mutex_

  static constexpr std::uintptr_t kAllSucceeded = 1;
};

struct Scheduler::Timer {
  Instant at;
  TaskId task;
  Attempt attempt;
  // std::push_heap builds a max-heap: the latest is "less". The id settles equal instants the same way each time.
  friend bool operator<(const Timer& a, const Timer& b) {
    return a.at != b.at ? a.at > b.at : index(a.task) > index(b.task);
  }
};

/// A running attempt that stands still; forgotten at the next look once it does not run any more.
struct Scheduler::Suspended {
  Start start;
  Instant time_left;  // of its timeout; kNever: it has none
};

struct Scheduler::Head {
  double value;  // the rank now; smaller first
  double frozen;  // the rank as it stands in the heap
  std::uint64_t tie;
  TaskId task;
  Shape* shape;
  LeaseId lease = kNoLease;  // of a suspended attempt, which is no head of a heap: it waits for what it has yielded
};

/// What a reservation leaves to others: until `until` everything, beyond it only `spare`.
struct Scheduler::Shadow {
  TaskId task;
  Instant until;  // kNever: unknown
  std::array<Amount, kMaxResources> spare;
};

/// Of one value for each, one for all, or none: the k-th.
template <class T>
T at_or(std::span<const T> values, std::size_t k, T fallback) {
  if (values.empty()) return fallback;
  return values.size() == 1 ? values.front() : values[k];
}

/// Whether ranks depend on how much work waits behind a task.
inline bool uses_levels(const Policy& policy) {
  return policy.form == Form::plan || policy.weights.critical_path != 0.0 || policy.weights.deadline != 0.0;
}

// Here, so that each of those files has them inline: they are part of what every task costs.

inline Scheduler::Record& Scheduler::record(TaskId task) const {
  return const_cast<Record&>(records_[index(task)]);
}

/// Whether the task's block has been retired: nothing is known of it but how it ended.
inline bool Scheduler::is_retired(TaskId task) const {
  const std::size_t block = blocks::of(task);
  // acquire: pairs with the release in retire(). Who reads it meets what the block's end is made of.
  return block < blocks_.size() && blocks_[block].end.load(std::memory_order_acquire) != 0;
}

/// Calls visit(first, last) for each stretch of tasks that are in no retired block.
template <class F>
void Scheduler::for_kept(F&& visit) const {
  const std::size_t n = size();
  for (std::size_t first = 0; first < n;) {
    const TaskId task{static_cast<std::uint32_t>(first)};
    const std::size_t last = std::min<std::size_t>(n, blocks::end(blocks::of(task)));
    if (!is_retired(task)) visit(first, last);
    first = last;
  }
}

inline Event Scheduler::event(EventKind kind, Instant now, TaskId task, Attempt attempt, std::uint32_t worker,
                       std::int64_t value, Cause cause, State state) {
  return {now, value, index(task), attempt, worker, kind, cause, state, kEventVersion};
}

inline bool Scheduler::move(Record& record, std::uint64_t expected, State to, Cause cause) {
  if (!allowed(word::state(expected), to)) return false;
  return record.word.compare_exchange_strong(expected, word::pack(word::attempt(expected), cause, to),
                                             std::memory_order_seq_cst);
}

}  // namespace penstock

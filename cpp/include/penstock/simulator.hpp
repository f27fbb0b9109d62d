// Simulator: the second driver of the scheduler. It plays what a machine would do, in virtual time.
//
// What it is: a loop that takes from a `Scheduler`, lets each attempt last as long as the `World` says, and reports its
// end. Order, fitting, retries' waits and reservations are the scheduler's, through the same verbs that the runtime
// calls, so what is simulated about a policy is what a run does with it. The loop itself decides nothing.
//
// When not to use it: for a bound or a quick estimate, which need no events.
//
// Order: at one instant, first the ends of attempts (in order of their starts), then changes of capacity, then arrivals,
// then whatever starts. Attempts of run time 0 end at the instant at which they start, before anything later.
//
// Cost: O(log running) an attempt beside the scheduler's own verbs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "penstock/scheduler.hpp"

namespace penstock {

/// From `at` on there is `amount` of a resource: outside load comes and goes.
struct CapacityChange {
  Instant at;
  int resource;
  Amount amount;
};

/// What happens, and the scheduler is told of only when it does. Columns by task: of the length of the batch, of length
/// 1 for all, or empty for the default.
struct World {
  std::span<const Instant> duration;         // run time of an attempt, ns, >= 0
  std::span<const Instant> arrival;          // when the task is submitted, not decreasing; default: at once
  std::span<const std::uint32_t> failures;   // so many attempts fail before one succeeds; default 0
  std::span<const std::uint32_t> retries;    // further attempts after the first; default 0
  double failed_share = 1.0;                 // a failing attempt lasts this share of its run time, 0..1
  Instant retry_wait = 0;                    // between a failure and the next attempt, ns
  std::span<const CapacityChange> capacity;  // ordered by `at`
};

/// What came of it, by task, in ns from the start. -1: the task did not get so far.
struct Outcome {
  std::vector<Instant> started;   // of the last attempt
  std::vector<Instant> finished;  // of the last attempt
  std::vector<Attempt> attempts;
  Instant makespan = 0;  // the last end
  /// Tasks that had not ended when nothing could happen any more: what they ask for does not come free.
  std::size_t stuck = 0;
};

/// Submits `batch` (`indices` are positions in the batch, >= 0; `place` is of the tasks that arrive first) to a scheduler without tasks and plays it to its end.
/// `told`, where given, is called at each instant after what has ended was reported and before anything starts: the
/// place of a reader of the log that gives the scheduler better expectations.
/// Throws std::invalid_argument (a column's length, a negative run time, arrivals or changes out of order, a task that
/// arrives before one that it waits for, a scheduler that has tasks) and what `Scheduler::submit` throws.
Outcome simulate(Scheduler& scheduler, const Submission& batch, const World& world,
                 const std::function<void(Instant)>& told = {});

}  // namespace penstock

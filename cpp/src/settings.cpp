// What changes while a run goes on without a task going on: priorities, expectations, policies, capacities, pause and guard.
#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "penstock/scheduler.hpp"
#include "scheduler_state.hpp"

namespace penstock {

void Scheduler::rerank(std::span<const TaskId> tasks, std::span<const double> priorities, Instant now) {
  if (priorities.size() != tasks.size() && priorities.size() != 1) {
    throw std::invalid_argument("rerank got " + std::to_string(priorities.size()) + " priorities for " +
                                std::to_string(tasks.size()) + " tasks; give one for each or one for all");
  }
  for (const double priority : priorities) {
    if (!std::isfinite(priority)) throw std::invalid_argument("a priority is not a finite number; give an int or a float");
  }
  for (const TaskId task : tasks) checked(task);
  const std::scoped_lock lock(mutex_);
  const PolicyState* policy = policy_.load(std::memory_order_seq_cst);
  for (std::size_t k = 0; k < tasks.size(); ++k) {
    if (is_retired(tasks[k])) continue;
    Record& r = record(tasks[k]);
    const double priority = at_or(priorities, k, 0.0);
    r.priority.store(priority, std::memory_order_seq_cst);
    const std::uint64_t now_word = r.word.load(std::memory_order_seq_cst);
    if (word::state(now_word) == State::ready) {
      shapes_[r.shape()].load(std::memory_order_acquire)->heap.rerank({tasks[k], rank_of(*policy, tasks[k], r, priority), index(tasks[k])});
    }
    log(EventKind::rank_changed, now, tasks[k], word::attempt(now_word), 0, std::bit_cast<std::int64_t>(priority),
        Cause::none, word::state(now_word));
  }
}

void Scheduler::expect(std::span<const TaskId> tasks, std::span<const Instant> expected, Instant) {
  if (expected.size() != tasks.size() && expected.size() != 1) {
    throw std::invalid_argument("expect got " + std::to_string(expected.size()) + " run times for " +
                                std::to_string(tasks.size()) + " tasks; give one for each or one for all");
  }
  for (const Instant ns : expected) {
    if (ns < 0) throw std::invalid_argument("an expected run time is " + std::to_string(ns) + " ns; it must be 0 or more");
  }
  for (const TaskId task : tasks) checked(task);
  const std::scoped_lock lock(mutex_);
  // A task with a deadline, whose rank a `finish` may compute meanwhile, has its entry already.
  for (std::size_t k = 0; k < tasks.size(); ++k) {
    if (is_final(state(tasks[k]))) continue;
    extra_of(record(tasks[k])).expected.store(at_or(expected, k, Instant{0}), std::memory_order_relaxed);
  }
  const Policy policy = policy_.load(std::memory_order_seq_cst)->policy;
  if (!uses_levels(policy)) return;
  relevel();
  rank_by(policy);
}

bool Scheduler::forget_plan() {
  const std::scoped_lock lock(mutex_);
  const Policy policy = policy_.load(std::memory_order_seq_cst)->policy;
  if (plan_.empty() || policy.form == Form::plan) return false;
  plan_.clear();
  plan_at_ = 0;
  planned_.store(0, std::memory_order_seq_cst);
  if (uses_levels(policy)) {
    relevel();
    rank_by(policy);
  }
  return true;
}

void Scheduler::set_policy(const Policy& policy, Instant now) {
  require_finite(policy);
  const std::scoped_lock lock(mutex_);
  const bool had_levels = uses_levels(policy_.load(std::memory_order_seq_cst)->policy);
  if (uses_levels(policy) && !had_levels) relevel();
  rank_by(policy);
  log(EventKind::policy_changed, now, kNoTask, 0, 0, static_cast<std::int64_t>(policy_owners_.size()) - 1, Cause::none,
      State::waiting);
}

/// Ranks what waits in heaps by this policy; what becomes ready meanwhile sees the new state and ranks again.
void Scheduler::rank_by(const Policy& policy) {
  policy_owners_.push_back(std::make_unique<PolicyState>(PolicyState{policy}));
  const PolicyState* state = policy_owners_.back().get();
  policy_.store(state, std::memory_order_seq_cst);
  for_kept([&](std::size_t first, std::size_t last) {
    for (; first < last; ++first) {
      Record& r = records_[first];
      if (word::state(r.word.load(std::memory_order_seq_cst)) != State::ready) continue;
      const TaskId task{static_cast<std::uint32_t>(first)};
      const double priority = r.priority.load(std::memory_order_seq_cst);
      shapes_[r.shape()].load(std::memory_order_acquire)->heap.rerank({task, rank_of(*state, task, r, priority), index(task)});
    }
  });
}

void Scheduler::set_capacity(int resource, Amount amount, Instant now) {
  const std::scoped_lock lock(mutex_);
  if (ledger_.capacity(resource) == amount) return;
  ledger_.set_capacity(resource, amount);
  if (resource != kThreadSlots) {
    log(EventKind::capacity_changed, now, kNoTask, 0, static_cast<std::uint32_t>(resource), amount, Cause::none,
        State::waiting);
  }
}

void Scheduler::set_demand(std::uint32_t family, const Demand& demand, Instant) {
  if (family == 0) throw std::out_of_range("family 0 stands for tasks of no family; their demand is their shape's");
  const std::scoped_lock lock(mutex_);
  for (const auto& shape : shape_owners_) {
    if (shape->family != family) continue;
    const Amount slots = shape->asks.amounts[kThreadSlots];
    shape->asks = demand;
    shape->asks.amounts[kThreadSlots] = slots;
  }
}

void Scheduler::set_device_capacity(int device, Amount share, Amount memory, Instant now) {
  const std::scoped_lock lock(mutex_);
  ledger_.set_device_capacity(device, share, memory);
  log(EventKind::capacity_changed, now, kNoTask, static_cast<Attempt>(device) + 1, kGpuMemory, memory, Cause::none,
      State::waiting);
}

void Scheduler::pause(Instant now) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(paused_, true)) return;
  log(EventKind::paused, now, kNoTask, 0, 0, 0, Cause::none, State::waiting);
}

void Scheduler::resume(Instant now) {
  const std::scoped_lock lock(mutex_);
  if (!std::exchange(paused_, false)) return;
  log(EventKind::resumed, now, kNoTask, 0, 0, 0, Cause::none, State::waiting);
}

void Scheduler::guard(bool closed, Amount used, Instant now) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(guarded_, closed) == closed) return;
  log(closed ? EventKind::guard_closed : EventKind::guard_opened, now, kNoTask, 0, 0, used, Cause::none, State::waiting);
}

}  // namespace penstock

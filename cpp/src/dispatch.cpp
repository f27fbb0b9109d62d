// What starts next: take, the plan, the reservation for a wide task, timers, and the reasons for waiting.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "penstock/scheduler.hpp"
#include "scheduler_state.hpp"

namespace penstock {
namespace {

bool within(const Demand& demand, const std::array<Amount, kMaxResources>& room) {
  for (std::size_t r = 0; r < room.size(); ++r) {
    if (demand.amounts[r] > 0 && demand.amounts[r] > room[r]) return false;
  }
  return true;
}

Amount minus(Amount from, Amount amount) { return from == kUnlimited ? kUnlimited : from - amount; }

}  // namespace

// ------------------------------------------------------------------------------------------------------ take

std::size_t Scheduler::take(Lane lane, std::uint32_t worker, std::span<Start> out, Instant now) {
  if (out.empty()) return 0;
  const std::scoped_lock lock(mutex_);
  run_timers(now);
  update_wakeup();
  if (held_back()) return 0;
  if (guarded_) out = out.first(1);

  const bool planned = in_order();
  for (;;) {
    gather_heads(now);
    std::optional<Shadow> shadow;
    Demand spoken{};  // more urgent tasks of other lanes that fit: their executors are about to take them
    std::array<Amount, kYielded.size()> owed{};  // what more urgent attempts that stand still wait for
    bool raced = false;
    for (std::size_t h = 0; h < heads_.size() && !raced; ++h) {
      const Head& head = heads_[h];
      if (head.lease != kNoLease) {  // it goes on before what ranks behind it starts, whether it fits yet or not
        const Demand& waits = leases_[static_cast<std::size_t>(head.lease)].demand;
        for (std::size_t k = 0; k < owed.size(); ++k) owed[k] += waits.amounts[static_cast<std::size_t>(kYielded[k])];
        continue;
      }
      const Demand& demand = head.shape->asks;
      if (planned && overtakes(head.task)) continue;
      if (ledger_.lacking(demand)) {
        if (!shadow) shadow = reservation_for(head, now);
        continue;
      }
      head.shape->blocked = kNoTask;
      if (shadow && !leaves_room(head, *shadow, now)) continue;
      if (!suspended_.empty() && takes_from(owed, demand, spoken)) continue;
      Demand together = demand;
      for (std::size_t r = 0; r < together.amounts.size(); ++r) together.amounts[r] += spoken.amounts[r];
      if (head.shape->lane != lane) {
        spoken = together;
        continue;
      }
      if (h > 0 && ledger_.lacking(together)) continue;
      const std::optional<Grant> grant = ledger_.try_acquire(demand);
      if (!grant) continue;
      note_peak(demand);
      const Head* next = h + 1 < heads_.size() ? &heads_[h + 1] : nullptr;
      const bool alone = planned || shadow.has_value() || head.shape->timeout;
      const std::size_t started = start_from(head, next, *grant, worker, alone ? out.first(1) : out, now);
      if (started > 0) return started;
      ledger_.release(demand, *grant);
      raced = true;  // the head went (cancelled) between looking and popping; look again
    }
    if (!raced) return 0;
  }
}

/// Whether a start beside what is spoken for would keep an attempt that stands still from what it is owed.
bool Scheduler::takes_from(const std::array<Amount, kYielded.size()>& owed, const Demand& demand,
                           const Demand& spoken) const {
  for (std::size_t k = 0; k < owed.size(); ++k) {
    const auto r = static_cast<std::size_t>(kYielded[k]);
    if (owed[k] > 0 && demand.amounts[r] > 0 &&
        demand.amounts[r] + spoken.amounts[r] + owed[k] > ledger_.free(kYielded[k])) {
      return true;
    }
  }
  return false;
}

/// After an acquisition, under the lock; only acquisitions raise what is held.
void Scheduler::note_peak(const Demand& demand) {
  for (std::size_t r = 0; r < peak_held_.size(); ++r) {
    if (demand.amounts[r] != 0) peak_held_[r] = std::max(peak_held_[r], ledger_.held(static_cast<int>(r)));
  }
}

Amount Scheduler::take_peak_held(int resource) {
  const std::scoped_lock lock(mutex_);
  const Amount held = ledger_.held(resource);  // throws for what is no resource
  if (resource >= kGpu) throw std::out_of_range("the peak of resource " + std::to_string(resource) + " is not kept; 0 .. 3 are");
  return std::max(held, std::exchange(peak_held_[static_cast<std::size_t>(resource)], held));
}

/// Whether nothing may start now, whatever fits.
bool Scheduler::held_back() const {
  if (paused_ || !guarded_) return paused_;
  return std::any_of(open_leases_.begin(), open_leases_.end(), [&](LeaseId id) {
    const std::uint32_t open = leases_[static_cast<std::size_t>(id)].open_attempts.load(std::memory_order_seq_cst);
    return open != 0 && (open & Lease::kStill) == 0;
  });
}

bool Scheduler::startable(Lane lane) const {
  const std::scoped_lock lock(mutex_);
  if (held_back()) return false;
  const bool planned = in_order();
  return std::any_of(shape_owners_.begin(), shape_owners_.end(), [&](const auto& shape) {
    if (shape->lane != lane || shape->heap.empty() || ledger_.lacking(shape->asks)) return false;
    if (!planned) return true;
    const std::optional<PriorityHeap::Entry> head = shape->heap.peek();
    return head && !overtakes(head->task);
  });
}

// ---------------------------------------------------------------------------------------------------- a plan

bool Scheduler::in_order() const { return policy_.load(std::memory_order_seq_cst)->policy.form == Form::plan; }

/// The first task of the plan that has neither started nor ended.
TaskId Scheduler::next_in_plan() const {
  for (; plan_at_ < plan_.size(); ++plan_at_) {
    const TaskId task = plan_[plan_at_];
    if (attempt(task) == 0 && !is_final(state(task))) return task;
  }
  return kNoTask;
}

/// Whether its start would overtake the plan. What is not planned overtakes nothing, nor does a further attempt.
/// Nothing deadlocks: the next task in the plan waits, if at all, for planned tasks before it, which have started, or for
/// tasks outside the plan, which go before it in every heap; and heaps are in the plan's order.
bool Scheduler::overtakes(TaskId task) const {
  if (!is_planned(task)) return false;
  return word::attempt(record(task).word.load(std::memory_order_seq_cst)) == 0 && task != next_in_plan();
}

/// The head of every shape, most urgent first, as ranked at this instant.
void Scheduler::gather_heads(Instant now) {
  const Policy& policy = policy_.load(std::memory_order_seq_cst)->policy;
  heads_.clear();
  for (const auto& shape : shape_owners_) {
    if (shape->heap.empty()) continue;
    std::optional<PriorityHeap::Entry> entry = shape->heap.peek();
    while (entry && word::state(record(entry->task).word.load(std::memory_order_seq_cst)) != State::ready) {
      shape->heap.cancel(entry->task);  // cancelled between becoming ready and being queued
      entry = shape->heap.peek();
    }
    if (!entry) continue;
    heads_.push_back({0.0, entry->rank.value, entry->tie, entry->task, shape.get()});
  }
  if (!suspended_.empty()) gather_suspended();
  const bool compare = heads_.size() > 1;
  if (!compare) return;
  for (Head& head : heads_) head.value = value_now(policy, head, now);
  std::sort(heads_.begin(), heads_.end(), [](const Head& a, const Head& b) {
    return a.value != b.value ? a.value < b.value : a.tie < b.tie;
  });
}

/// Adds the attempts that stand still to the heads, and forgets those that have ended.
void Scheduler::gather_suspended() {
  const PolicyState& policy = *policy_.load(std::memory_order_seq_cst);
  std::erase_if(suspended_, [&](const Suspended& still) { return !is_live({0, still.start.task, still.start.attempt}, State::running); });
  for (const Suspended& still : suspended_) {
    const Record& r = record(still.start.task);
    const Rank rank = rank_of(policy, still.start.task, r, r.priority.load(std::memory_order_seq_cst));
    heads_.push_back({0.0, rank.value, index(still.start.task), still.start.task, shape_owners_[r.shape()].get(), still.start.lease});
  }
}

double Scheduler::value_now(const Policy& policy, const Head& head, Instant now) const {
  const Demand& demand = head.shape->asks;
  double alignment = 0.0, cpu_after = 0.0;
  if (policy.weights.fit != 0.0) {
    std::array<Amount, kMaxResources> free{}, capacity{};
    for (int r = 0; r < kThreadSlots; ++r) {
      free[static_cast<std::size_t>(r)] = ledger_.free(r);
      capacity[static_cast<std::size_t>(r)] = ledger_.capacity(r);
    }
    alignment = fit(demand, free, capacity);
  }
  if (policy.form == Form::product) {
    const Amount capacity = ledger_.capacity(kCpu);
    if (capacity > 0 && capacity != kUnlimited) {
      cpu_after = static_cast<double>(ledger_.held(kCpu) + demand.amounts[kCpu]) / static_cast<double>(capacity);
    }
  }
  return head_value(policy, Rank{head.frozen}, slope(policy, head.shape->deadline), now, alignment, cpu_after,
                    epoch_);
}

/// Pops from the head's heap, in order, up to the next shape's head, and starts what it gets under one lease.
std::size_t Scheduler::start_from(const Head& head, const Head* next, Grant grant, std::uint32_t worker,
                                  std::span<Start> out, Instant now) {
  Shape& shape = *head.shape;
  const Policy& policy = policy_.load(std::memory_order_seq_cst)->policy;
  std::optional<PriorityHeap::Key> before;
  if (next != nullptr) {
    if (policy.form == Form::product) {
      out = out.first(1);  // the factor differs between shapes; compare again for each
    } else {
      // In the sum form the rank now is the frozen rank plus a term common to the shape.
      before = PriorityHeap::Key{Rank{next->value - (head.value - head.frozen)}, next->tie};
    }
  }
  const LeaseId lease = open_lease(shape.id, grant, now);
  Lease& open = leases_[static_cast<std::size_t>(lease)];
  Instant expected_end = now;
  std::size_t started = 0;
  popped_.resize(out.size());
  events_.clear();
  while (started == 0) {
    // The first pop takes whatever leads the heap; the bound only cuts a batch short.
    const std::size_t n = before ? pop_first_then(shape.heap, popped_, *before) : shape.heap.pop(popped_);
    if (n == 0) break;
    for (std::size_t k = 0; k < n; ++k) {
      const TaskId task = popped_[k].task;
      Record& r = record(task);
      std::uint64_t seen = r.word.load(std::memory_order_seq_cst);
      const Attempt attempt = word::attempt(seen) + 1;
      if (word::state(seen) != State::ready ||
          !r.word.compare_exchange_strong(seen, word::pack(attempt, Cause::none, State::running),
                                          std::memory_order_seq_cst)) {
        continue;  // cancelled after it was queued
      }
      out[started++] = {task, attempt, lease, grant.devices};
      const Extra& x = extras_[r.extra];
      const Instant expected = x.expected.load(std::memory_order_relaxed);
      expected_end = expected > 0 && expected_end != kNever ? expected_end + expected : kNever;
      if (x.timeout > 0) arm(timeouts_, {now + x.timeout, task, attempt});
      const Event fact = event(EventKind::started, now, task, attempt, worker, static_cast<std::int64_t>(shape.lane),
                               Cause::none, State::running);
      if (events_.empty() || !extend_range(events_.back(), fact)) events_.push_back(fact);
    }
  }
  if (!events_.empty()) log_.append(events_);
  open.expected_end = expected_end;
  open.open_attempts.store(static_cast<std::uint32_t>(started), std::memory_order_seq_cst);
  if (started == 0) {
    open_leases_.pop_back();
    free_leases_.push_back(lease);
  }
  return started;
}

std::size_t Scheduler::pop_first_then(PriorityHeap& heap, std::span<PriorityHeap::Entry> out,
                                      const PriorityHeap::Key& before) {
  const std::size_t first = heap.pop(out.first(1));
  if (first == 0 || out.size() == 1) return first;
  return first + heap.pop(out.subspan(1), before);
}

// ----------------------------------------------------------------------------------------------- reservation

/// A head that does not fit is passed over by what does. After `reserve_after` of that it gets a reservation (EASY
/// backfill): others start only if they do not put its start off. A head that the machine could not hold even
/// when empty of our tasks (outside load has taken its place) reserves nothing: holding others back would not
/// help it.
std::optional<Scheduler::Shadow> Scheduler::reservation_for(const Head& head, Instant now) {
  const Policy& policy = policy_.load(std::memory_order_seq_cst)->policy;
  if (policy.reserve_after < 0) return {};
  const Demand& demand = head.shape->asks;
  for (int r = 0; r < kMaxResources; ++r) {
    if (demand.amounts[static_cast<std::size_t>(r)] > ledger_.capacity(r)) return {};
  }
  if (head.shape->blocked != head.task) {
    head.shape->blocked = head.task;
    head.shape->blocked_since = now;
  }
  if (now - head.shape->blocked_since < policy.reserve_after) return {};
  if (reserved_ != head.task) {
    reserved_ = head.task;
    reserved_since_ = now;
    log(EventKind::reserved, now, head.task, attempt(head.task), 0, 0, Cause::none, State::ready);
  }
  return shadow_of(head.task, demand);
}

Scheduler::Shadow Scheduler::shadow_of(TaskId task, const Demand& demand) const {
  Shadow shadow{task, kNever, {}};
  std::array<Amount, kMaxResources> room{};
  for (int r = 0; r < kMaxResources; ++r) room[static_cast<std::size_t>(r)] = ledger_.free(r);

  std::vector<LeaseId> by_end;
  for (const LeaseId id : open_leases_) {
    if (leases_[static_cast<std::size_t>(id)].open_attempts.load(std::memory_order_seq_cst) > 0) by_end.push_back(id);
  }
  const auto end_of = [&](LeaseId id) {  // nobody knows how long one stands still
    const Lease& lease = leases_[static_cast<std::size_t>(id)];
    return (lease.open_attempts.load(std::memory_order_seq_cst) & Lease::kStill) != 0 ? kNever : lease.expected_end;
  };
  std::sort(by_end.begin(), by_end.end(), [&](LeaseId a, LeaseId b) {
    const Instant end_a = end_of(a), end_b = end_of(b);
    return end_a != end_b ? end_a < end_b : static_cast<std::size_t>(a) < static_cast<std::size_t>(b);
  });
  const auto add = [&](LeaseId id) {
    const Demand held = held_by(leases_[static_cast<std::size_t>(id)]);
    for (std::size_t r = 0; r < room.size(); ++r) {
      if (room[r] != kUnlimited) room[r] += held.amounts[r];
    }
  };
  std::size_t k = 0;
  for (; k < by_end.size() && !within(demand, room); ++k) {
    const Instant end = end_of(by_end[k]);
    if (end == kNever) break;
    add(by_end[k]);
    shadow.until = end;
  }
  if (!within(demand, room)) {
    // Nobody knows when enough comes free. What was running when the reservation was made will end some day; what
    // starts from now on must fit beside the reserved task, for it may run for ever.
    shadow.until = kNever;
    for (; k < by_end.size(); ++k) {
      if (leases_[static_cast<std::size_t>(by_end[k])].opened < reserved_since_) add(by_end[k]);
    }
  }
  for (std::size_t r = 0; r < room.size(); ++r) shadow.spare[r] = minus(room[r], demand.amounts[r]);
  return shadow;
}

bool Scheduler::leaves_room(const Head& head, const Shadow& shadow, Instant now) const {
  const Instant expected = extras_[record(head.task).extra].expected.load(std::memory_order_relaxed);
  if (expected > 0 && shadow.until != kNever && now + expected <= shadow.until) return true;
  return within(head.shape->asks, shadow.spare);
}

// ---------------------------------------------------------------------------------------------------- timers

void Scheduler::arm(std::vector<Timer>& timers, Timer timer) {
  // Those of attempts that have ended long before their time go when there is no room for more: they are half of them, or
  // the room grows.
  if (timers.size() == timers.capacity()) {
    const State state = &timers == &timers_ ? State::backoff : State::running;
    std::erase_if(timers, [&](const Timer& old) { return !is_live(old, state); });
    std::make_heap(timers.begin(), timers.end());
    timers.reserve(std::max<std::size_t>(64, 2 * timers.size()));
  }
  timers.push_back(timer);
  std::push_heap(timers.begin(), timers.end());
  update_wakeup();
}

bool Scheduler::is_live(const Timer& timer, State state) const {
  const std::uint64_t seen = record(timer.task).word.load(std::memory_order_seq_cst);
  return word::state(seen) == state && word::attempt(seen) == timer.attempt;
}

void Scheduler::run_timers(Instant now) {
  while (!timers_.empty() && timers_.front().at <= now) {
    std::pop_heap(timers_.begin(), timers_.end());
    const Timer due = timers_.back();
    timers_.pop_back();
    if (is_live(due, State::backoff)) make_ready(due.task, now);
  }
}

void Scheduler::expire(Instant now, std::vector<Overdue>& out) {
  const std::scoped_lock lock(mutex_);
  while (!timeouts_.empty() && timeouts_.front().at <= now) {
    std::pop_heap(timeouts_.begin(), timeouts_.end());
    const Timer due = timeouts_.back();
    timeouts_.pop_back();
    if (!is_live(due, State::running)) continue;
    const Record& r = record(due.task);
    out.push_back({due.task, due.attempt, shape_owners_[r.shape()]->lane});
    log(EventKind::timed_out, now, due.task, due.attempt, 0, extras_[r.extra].timeout, Cause::timeout, State::running);
  }
  update_wakeup();
}

void Scheduler::update_wakeup() {
  const auto drop_dead = [&](std::vector<Timer>& timers, State state) {
    while (!timers.empty() && !is_live(timers.front(), state)) {
      std::pop_heap(timers.begin(), timers.end());
      timers.pop_back();
    }
    return timers.empty() ? kNever : timers.front().at;
  };
  const Instant backoff = drop_dead(timers_, State::backoff);
  const Instant timeout = drop_dead(timeouts_, State::running);
  next_wakeup_.store(std::min(backoff, timeout), std::memory_order_seq_cst);
}

// --------------------------------------------------------------------------------------------------- reasons

Explanation Scheduler::explain(TaskId task, Instant now) {
  checked(task);
  const std::scoped_lock lock(mutex_);
  const Record& r = record(task);
  const std::uint64_t seen = r.word.load(std::memory_order_seq_cst);
  Shape& shape = *shape_owners_[r.shape()];
  Explanation why{};
  why.state = state(task);
  why.cause = word::cause(seen);
  why.attempt = word::attempt(seen);
  why.unmet = why.state == State::waiting ? readiness_.unmet(task) : 0;
  why.retry_at = kNever;
  if (why.state == State::backoff) {
    for (const Timer& timer : timers_) {
      if (timer.task == task && timer.attempt == why.attempt) why.retry_at = timer.at;
    }
  }
  why.paused = paused_;
  why.guarded = !paused_ && held_back();
  why.suspended = why.state == State::running && std::any_of(suspended_.begin(), suspended_.end(), [&](const Suspended& s) {
    return s.start.task == task && s.start.attempt == why.attempt;
  });
  why.lacking = -1;
  why.reserved_for = kNoTask;
  why.after = kNoTask;
  if (why.state != State::ready) return why;
  why.ahead = shape.heap.size() - 1;
  if (in_order() && overtakes(task)) {
    why.after = next_in_plan();
    return why;
  }
  if (const std::optional<int> lacking = ledger_.lacking(shape.asks)) {
    why.lacking = *lacking;
    why.demanded = shape.asks.amounts[static_cast<std::size_t>(*lacking)];
    why.free = ledger_.free(*lacking);
    why.capacity = ledger_.capacity(*lacking);
  } else if (reserved_ != kNoTask && reserved_ != task && is_live({0, reserved_, attempt(reserved_)}, State::ready)) {
    const Head head{0.0, 0.0, 0, task, &shape};
    const Shape& wide = *shape_owners_[record(reserved_).shape()];
    if (ledger_.lacking(wide.asks) && !leaves_room(head, shadow_of(reserved_, wide.asks), now)) {
      why.reserved_for = reserved_;
    }
  }
  return why;
}

std::vector<TaskId> Scheduler::blocked(Instant now) {
  const std::scoped_lock lock(mutex_);
  gather_heads(now);
  std::vector<TaskId> out;
  for (const Head& head : heads_) {
    if (head.lease == kNoLease && ledger_.lacking(head.shape->asks)) out.push_back(head.task);
  }
  return out;
}

Demand Scheduler::demand(TaskId task) const {
  checked(task);
  const std::scoped_lock lock(mutex_);
  if (is_retired(task)) return {};
  return shape_owners_[record(task).shape()]->asks;
}

}  // namespace penstock

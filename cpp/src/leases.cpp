// What attempts hold together: leases, a start that is moved to one of its own, and attempts that stand still.
#include <algorithm>

#include "penstock/scheduler.hpp"
#include "scheduler_state.hpp"

namespace penstock {

std::optional<Start> Scheduler::split(const Start& start, std::uint32_t worker, Instant now) {
  const std::scoped_lock lock(mutex_);
  Record& r = record(checked(start.task));
  if (r.word.load(std::memory_order_seq_cst) != word::pack(start.attempt, Cause::none, State::running)) return {};
  const Lease& shared = leases_[static_cast<std::size_t>(start.lease)];
  if ((shared.open_attempts.load(std::memory_order_seq_cst) & Lease::kStill) != 0) return {};  // it has one of its own
  Shape& shape = *shape_owners_[r.shape()];
  const std::optional<Grant> grant = ledger_.try_acquire(shape.asks);
  if (!grant) return {};
  note_peak(shape.asks);
  const LeaseId lease = open_lease(shape.id, *grant, now);
  leases_[static_cast<std::size_t>(lease)].open_attempts.store(1, std::memory_order_seq_cst);
  end_lease_shares(start.lease, 1);
  log(EventKind::started, now, start.task, start.attempt, worker, static_cast<std::int64_t>(shape.lane), Cause::none,
      State::running);
  return Start{start.task, start.attempt, lease, grant->devices};
}

LeaseId Scheduler::open_lease(ShapeId shape, Grant grant, Instant now) {
  // Leases end without the lock; their places are collected here.
  std::erase_if(open_leases_, [&](LeaseId id) {
    if (leases_[static_cast<std::size_t>(id)].open_attempts.load(std::memory_order_seq_cst) != 0) return false;
    free_leases_.push_back(id);
    return true;
  });
  if (free_leases_.empty()) {
    leases_.grow(lease_count_ + 1);
    free_leases_.push_back(LeaseId{static_cast<std::uint32_t>(lease_count_++)});
  }
  const LeaseId id = free_leases_.back();
  free_leases_.pop_back();
  Lease& lease = leases_[static_cast<std::size_t>(id)];
  lease.demand = shape_owners_[static_cast<std::size_t>(shape)]->asks;
  lease.grant = grant;
  lease.opened = now;
  lease.expected_end = kNever;
  open_leases_.push_back(id);
  return id;
}

/// `count` attempts of a lease have been reported, at once or one of them late.
void Scheduler::end_lease_shares(LeaseId id, std::uint32_t count) {
  Lease& lease = leases_[static_cast<std::size_t>(id)];
  const Demand& demand = lease.demand;
  const Grant grant = lease.grant;
  // The last reporter marks the lease as ending first: from then on no suspend or proceed changes what it holds. Then
  // the amounts go back, and only then the place is given up, so that `held` never lacks what a listed lease holds.
  std::uint32_t open = lease.open_attempts.load(std::memory_order_seq_cst);
  for (;;) {
    const bool last = (open & Lease::kCount) == count;
    const std::uint32_t left = last ? Lease::kEnding : open - count;
    if (!lease.open_attempts.compare_exchange_strong(open, left, std::memory_order_seq_cst)) continue;
    if (!last) return;
    if ((open & Lease::kStill) == 0) {
      ledger_.release(demand, grant);
    } else {
      Demand held = demand;
      for (const int r : kYielded) held[r] = 0;
      ledger_.release(held, grant);
    }
    lease.open_attempts.store(0, std::memory_order_seq_cst);
    return;
  }
}

/// What a lease holds of scalar resources; under the lock, and exact while nobody reports.
Demand Scheduler::held_by(const Lease& lease) const {
  Demand held = lease.demand;
  if ((lease.open_attempts.load(std::memory_order_seq_cst) & Lease::kStill) != 0) {
    for (const int r : kYielded) held[r] = 0;
  }
  return held;
}

Demand Scheduler::yielded(const Demand& demand) {
  Demand part{};
  for (const int r : kYielded) part[r] = demand.amounts[static_cast<std::size_t>(r)];
  return part;
}

bool Scheduler::suspend(const Start& start, Instant now) {
  const std::scoped_lock lock(mutex_);
  checked(start.task);
  if (start.lease == kNoLease || !is_live({0, start.task, start.attempt}, State::running)) return false;
  Lease& lease = leases_[static_cast<std::size_t>(start.lease)];
  std::uint32_t alone = 1;
  if (!lease.open_attempts.compare_exchange_strong(alone, Lease::kStill | 1, std::memory_order_seq_cst)) return false;
  ledger_.release(yielded(lease.demand), Grant{});
  Instant left = kNever;
  const auto mine = std::find_if(timeouts_.begin(), timeouts_.end(), [&](const Timer& t) {
    return t.task == start.task && t.attempt == start.attempt;
  });
  if (mine != timeouts_.end()) {
    left = std::max<Instant>(mine->at - now, 0);
    timeouts_.erase(mine);
    std::make_heap(timeouts_.begin(), timeouts_.end());
  }
  suspended_.push_back({start, left});
  log(EventKind::suspended, now, start.task, start.attempt, 0, 0, Cause::none, State::running);
  update_wakeup();
  return true;
}

bool Scheduler::proceed(const Start& start, Instant now) {
  const std::scoped_lock lock(mutex_);
  checked(start.task);
  if (paused_) return false;
  gather_heads(now);
  const auto still = std::find_if(suspended_.begin(), suspended_.end(), [&](const Suspended& s) {
    return s.start.task == start.task && s.start.attempt == start.attempt;
  });
  if (still == suspended_.end()) return false;
  Demand before{};  // what ranks before it and would start now
  for (const Head& head : heads_) {
    if (head.task == start.task) break;
    const bool stands = head.lease != kNoLease;
    const Demand demand = stands ? yielded(leases_[static_cast<std::size_t>(head.lease)].demand) : head.shape->asks;
    if (!stands && ledger_.lacking(demand)) continue;
    for (std::size_t r = 0; r < before.amounts.size(); ++r) before.amounts[r] += demand.amounts[r];
  }
  Lease& lease = leases_[static_cast<std::size_t>(still->start.lease)];
  const Demand back = yielded(lease.demand);
  Demand together{};
  for (const int r : kYielded) together[r] = back[r] == 0 ? 0 : back[r] + before[r];
  if (ledger_.lacking(together) || !ledger_.try_acquire(back)) return false;
  std::uint32_t standing = Lease::kStill | 1;
  if (!lease.open_attempts.compare_exchange_strong(standing, 1, std::memory_order_seq_cst)) {
    ledger_.release(back, Grant{});  // reported just now
    return false;
  }
  const Instant left = still->time_left;
  suspended_.erase(still);
  log(EventKind::proceeded, now, start.task, start.attempt, 0, 0, Cause::none, State::running);
  if (left != kNever) arm(timeouts_, {now + left, start.task, start.attempt});
  return true;
}

}  // namespace penstock

// How tasks come in: shapes, submissions, levels and the plan; and what can be read of them.
#include "penstock/scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "scheduler_state.hpp"

namespace penstock {
namespace {

template <class T>
void require_length(std::span<const T> values, std::size_t count, const char* name) {
  if (values.size() > 1 && values.size() != count) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(values.size()) +
                                " entries for a batch of " + std::to_string(count) +
                                " tasks; give one for each, one for all, or none");
  }
}

/// Throws std::invalid_argument, naming the task, unless the places are an order to start in.
void check_places(const Submission& batch) {
  if (batch.place.empty()) return;
  if (batch.place.size() != batch.count) {
    throw std::invalid_argument("place has " + std::to_string(batch.place.size()) + " entries for a batch of " +
                                std::to_string(batch.count) + " tasks; give one for each, or none");
  }
  std::vector<bool> taken(batch.count);
  for (std::size_t k = 0; k < batch.count; ++k) {
    const std::uint32_t place = batch.place[k];
    if (place >= batch.count || taken[place]) {
      throw std::invalid_argument("node " + std::to_string(k) + " has place " + std::to_string(place) +
                                  "; places are 0 .. " + std::to_string(batch.count - 1) + ", each once");
    }
    taken[place] = true;
  }
  for (std::size_t k = 0; k < batch.count && !batch.indptr.empty(); ++k) {
    for (auto e = static_cast<std::size_t>(batch.indptr[k]); e < static_cast<std::size_t>(batch.indptr[k + 1]); ++e) {
      if (batch.indices[e] >= 0) continue;
      const auto before = static_cast<std::size_t>(~batch.indices[e]);
      if (batch.place[before] < batch.place[k]) continue;
      throw std::invalid_argument("node " + std::to_string(k) + " has place " + std::to_string(batch.place[k]) +
                                  ", before node " + std::to_string(before) + ", which it waits for");
    }
  }
}

}  // namespace

Scheduler::Scheduler(int devices) : ledger_(devices) {
  policy_owners_.push_back(std::make_unique<PolicyState>());
  policy_.store(policy_owners_.back().get(), std::memory_order_seq_cst);
  extras_.grow(1);
}

Scheduler::~Scheduler() = default;

TaskId Scheduler::checked(TaskId task) const {
  if (index(task) >= size()) {
    throw std::out_of_range("task " + std::to_string(index(task)) + " is unknown; ids go up to " +
                            std::to_string(size()) + " (exclusive)");
  }
  return task;
}

void Scheduler::log(EventKind kind, Instant now, TaskId task, Attempt attempt, std::uint32_t worker,
                    std::int64_t value, Cause cause, State state) {
  log_.append(event(kind, now, task, attempt, worker, value, cause, state));
}

// ---------------------------------------------------------------------------------------------------- submit

ShapeId Scheduler::shape(const Demand& demand, Lane lane, std::uint32_t family) {
  const std::scoped_lock lock(mutex_);
  return shape_locked(demand, lane, false, false, family);
}

ShapeId Scheduler::shape_locked(const Demand& demand, Lane lane, bool deadline, bool timeout, std::uint32_t family) {
  const Demand* asks = nullptr;
  for (const auto& shape : shape_owners_) {
    if (family != 0 && shape->family == family) asks = &shape->asks;
    if (shape->lane == lane && shape->deadline == deadline && shape->timeout == timeout && shape->family == family &&
        shape->demand == demand) {
      return shape->id;
    }
  }
  const std::size_t id = shape_owners_.size();
  if (id == kMaxShapes) {
    throw std::length_error("a run has at most " + std::to_string(kMaxShapes) +
                            " different resource demands; round them so that tasks share some");
  }
  shape_owners_.push_back(
      std::make_unique<Shape>(tickets_, demand, lane, deadline, timeout, family, ShapeId{static_cast<std::uint32_t>(id)}));
  if (asks != nullptr) shape_owners_.back()->asks = *asks;
  shapes_[id].store(shape_owners_.back().get(), std::memory_order_seq_cst);
  return shape_owners_.back()->id;
}

TaskId Scheduler::submit(const Submission& batch, Instant now, std::vector<TaskId>& settled) {
  const std::size_t n = batch.count;
  require_length(batch.shape, n, "shape");
  require_length(batch.priority, n, "priority");
  require_length(batch.expected, n, "expected");
  require_length(batch.deadline, n, "deadline");
  require_length(batch.timeout, n, "timeout");
  require_length(batch.tolerant, n, "tolerant");
  require_length(batch.forgiven, n, "forgiven");
  for (const double priority : batch.priority) {
    if (!std::isfinite(priority)) throw std::invalid_argument("a priority is not a finite number; give an int or a float");
  }

  const std::scoped_lock lock(mutex_);
  const std::size_t first = size();
  const TaskId first_id{static_cast<std::uint32_t>(first)};
  if (n == 0) return first_id;
  for (const ShapeId id : batch.shape) {
    if (static_cast<std::size_t>(id) >= shape_owners_.size()) {
      throw std::out_of_range("shape " + std::to_string(static_cast<std::uint32_t>(id)) +
                              " is unknown; take one from shape()");
    }
  }
  if (first == 0) epoch_ = now;
  ready_.clear();
  // Records must be in place before a predecessor on another thread can free one of the new tasks.
  readiness_.grow(n, batch.indptr, batch.indices, ready_, [&](TaskId) {
    // Here indices and rows have been checked, and nothing is changed yet.
    if (!batch.place.empty() && !plan_.empty()) throw std::invalid_argument("a batch with places came before; one plan is followed");
    check_places(batch);
    enrol(first, batch, now);
  });

  // A predecessor that ended without a result counts as met for readiness; its dependant ends instead. Failures
  // happen under this mutex, so none slips in between. Tolerant tasks count what they have lost first: the end of
  // another task of the batch may be the last thing that they wait for. And all others end before what depends on them
  // hears of it: the end of one that is forgiven must not start another that has lost something too.
  std::vector<std::pair<TaskId, Cause>> ended;
  for (const bool tolerant : {true, false}) {
    if (batch.indptr.empty() || (tolerant && batch.tolerant.empty())) continue;
    for (std::size_t k = 0; k < n; ++k) {
      if ((at_or(batch.tolerant, k, std::uint8_t{0}) != 0) != tolerant) continue;
      for (auto e = static_cast<std::size_t>(batch.indptr[k]); e < static_cast<std::size_t>(batch.indptr[k + 1]); ++e) {
        if (batch.indices[e] < 0) continue;
        const TaskId before{static_cast<std::uint32_t>(batch.indices[e])};
        if (!is_missed(before)) continue;
        const TaskId task{static_cast<std::uint32_t>(first + k)};
        const Cause upstream = cause(before);
        if (tolerant) {
          lost_predecessor(task, upstream, now, settled);
        } else if (end_for_upstream(task, upstream, now, settled)) {
          ended.emplace_back(task, upstream);
        }
      }
    }
  }
  for (const auto& [task, upstream] : ended) cascade(task, upstream, now, settled);
  admit(ready_, now, settled);
  return first_id;
}

/// Writes what the scheduler itself keeps of a batch.
void Scheduler::enrol(std::size_t first, const Submission& batch, Instant now) {
  const std::size_t n = batch.count;
  records_.grow(first + n);
  tickets_.reserve(static_cast<std::uint32_t>(first + n));
  const ShapeId free_shape = batch.shape.empty() ? shape_locked(Demand{}, Lane::threads, false, false, 0) : ShapeId{};
  const bool plain = batch.shape.size() <= 1 && batch.expected.empty() && batch.deadline.empty() &&
                     batch.timeout.empty() && batch.tolerant.empty() && batch.forgiven.empty();
  plain ? enrol_plain(first, batch, at_or(batch.shape, 0, free_shape), now) : enrol_each(first, batch, free_shape, now);
  if (uses_levels(policy_.load(std::memory_order_seq_cst)->policy) || !batch.place.empty()) level(first, batch);
  if (!batch.place.empty()) {
    plan_.resize(n);
    for (std::size_t k = 0; k < n; ++k) plan_[batch.place[k]] = TaskId{static_cast<std::uint32_t>(first + k)};
    planned_.store(std::uint64_t{first} << 32 | (first + n), std::memory_order_seq_cst);
    plan_scale_ = longest_.load(std::memory_order_relaxed);
    follow_plan();
  }

  unfinished_.fetch_add(n, std::memory_order_seq_cst);
  count_.store(first + n, std::memory_order_seq_cst);
  log(EventKind::submitted, now, TaskId{static_cast<std::uint32_t>(first)}, 0, 0, static_cast<std::int64_t>(n), Cause::none, State::waiting);
}

/// A batch of one shape and with nothing special: the records are new, so what is zero is there already.
void Scheduler::enrol_plain(std::size_t first, const Submission& batch, ShapeId shape, Instant now) {
  static_assert(word::pack(0, Cause::none, State::waiting) == 0);
  const std::uint64_t origin = Record::origin_of(shape, now - epoch_);
  std::size_t k = 0;
  records_.for_runs(first, batch.count, [&](Record* run, std::size_t count) {
    // relaxed: published by the store of count_ in enrol().
    for (std::size_t i = 0; i < count; ++i, ++k) {
      run[i].priority.store(at_or(batch.priority, k, 0.0), std::memory_order_relaxed);
      run[i].origin = origin;
    }
  });
}

void Scheduler::enrol_each(std::size_t first, const Submission& batch, ShapeId free_shape, Instant now) {
  ShapeId last_given{UINT32_MAX}, last_used{};
  bool last_deadline = false, last_timeout = false;
  for (std::size_t k = 0; k < batch.count; ++k) {
    Record& r = records_[first + k];
    r.priority.store(at_or(batch.priority, k, 0.0), std::memory_order_relaxed);  // published as above
    const Instant expected = at_or(batch.expected, k, Instant{0});
    const Instant deadline = at_or(batch.deadline, k, kNever);
    const Instant timeout = at_or(batch.timeout, k, Instant{0});
    const bool tolerant = at_or(batch.tolerant, k, std::uint8_t{0}) != 0;
    const bool forgiven = at_or(batch.forgiven, k, std::uint8_t{0}) != 0;
    const ShapeId given = at_or(batch.shape, k, free_shape);
    if (given != last_given || (deadline != kNever) != last_deadline || (timeout > 0) != last_timeout) {
      last_given = given;
      last_deadline = deadline != kNever;
      last_timeout = timeout > 0;
      const Shape& s = *shape_owners_[static_cast<std::size_t>(given)];
      last_used = (last_deadline || last_timeout) ? shape_locked(s.demand, s.lane, last_deadline, last_timeout, s.family) : given;
    }
    r.origin = Record::origin_of(last_used, now - epoch_);
    if (expected > 0 || deadline != kNever || timeout > 0 || tolerant || forgiven) {
      Extra& x = extra_of(r);
      x.expected.store(expected, std::memory_order_relaxed);
      x.deadline.store(deadline, std::memory_order_relaxed);
      x.timeout = timeout;
      x.tolerant = tolerant;
      x.forgiven = forgiven;
      if (tolerant && !batch.indptr.empty()) {
        x.predecessors = static_cast<std::uint32_t>(batch.indptr[k + 1] - batch.indptr[k]);
      }
    }
  }
}

/// A task's own entry, made where it has none.
Scheduler::Extra& Scheduler::extra_of(Record& r) {
  if (r.extra != 0) return extras_[r.extra];
  if (free_extras_.empty()) {
    extras_.grow(extra_count_ + 1);
    free_extras_.push_back(static_cast<std::uint32_t>(extra_count_++));
  }
  r.extra = free_extras_.back();
  free_extras_.pop_back();
  extras_[r.extra].reset();
  return extras_[r.extra];
}

void Scheduler::level(std::size_t first, const Submission& batch) {
  std::vector<std::int64_t> weights(batch.count), levels(batch.count);
  for (std::size_t k = 0; k < batch.count; ++k) {
    weights[k] = std::max<std::int64_t>(at_or(batch.expected, k, Instant{0}), 1);
  }
  Readiness::bottom_levels(batch.count, batch.indptr, batch.indices, weights, levels);
  // relaxed: written under the mutex, by this thread or one before it; for those who rank without the mutex see rank_of().
  double longest = longest_.load(std::memory_order_relaxed);
  for (std::size_t k = 0; k < batch.count; ++k) {
    const auto value = static_cast<double>(levels[k]);
    records_[first + k].bottom_level.store(static_cast<float>(value), std::memory_order_relaxed);
    longest = std::max(longest, value);
  }
  longest_.store(longest, std::memory_order_relaxed);  // scales a feature; a stale value misorders nothing for long
}

/// The plan's order stands in for the bottom levels of its tasks, on the scale that they had: the first task has the
/// longest level, and each of the others an equal step less. (A float tells 2^23 steps apart.)
void Scheduler::follow_plan() {
  const auto n = static_cast<double>(plan_.size());
  for (std::size_t at = 0; at < plan_.size(); ++at) {
    const double level = plan_scale_ * (n - static_cast<double>(at)) / n;
    // relaxed: as in level() and relevel(), which go before; published as there.
    records_[index(plan_[at])].bottom_level.store(static_cast<float>(level), std::memory_order_relaxed);
  }
}

/// Bottom levels of everything that is known, for a policy that asks for them after the tasks came.
void Scheduler::relevel() {
  std::size_t origin = size();  // the first that is kept
  for_kept([&](std::size_t first, std::size_t) { origin = std::min(origin, first); });
  constexpr double kUnknown = -1.0;
  std::vector<double> level(size() - origin, kUnknown);
  std::vector<std::uint32_t> stack;
  double longest = 1.0;
  const auto walk = [&](std::size_t root) {
    if (level[root - origin] != kUnknown) return;
    stack.push_back(static_cast<std::uint32_t>(root));
    while (!stack.empty()) {
      const std::uint32_t t = stack.back();
      bool complete = true;
      double below = 0.0;
      readiness_.successors(TaskId{t}, [&](TaskId s) {
        if (is_retired(s)) return;  // it has ended: nothing waits for it
        const double its = level[index(s) - origin];
        if (its == kUnknown) {
          complete = false;
          stack.push_back(index(s));
        } else {
          below = std::max(below, its);
        }
      });
      if (!complete) continue;
      stack.pop_back();
      const Record& r = records_[t];
      level[t - origin] = below + static_cast<double>(std::max<Instant>(extras_[r.extra].expected.load(std::memory_order_relaxed), 1));
      longest = std::max(longest, level[t - origin]);
    }
  };
  for_kept([&](std::size_t first, std::size_t last) {
    for (; first < last; ++first) walk(first);
  });
  // relaxed: the store of policy_ that follows publishes them, see rank_of().
  for_kept([&](std::size_t first, std::size_t last) {
    for (; first < last; ++first) records_[first].bottom_level.store(static_cast<float>(level[first - origin]), std::memory_order_relaxed);
  });
  longest_.store(longest, std::memory_order_relaxed);
  follow_plan();
}

// --------------------------------------------------------------------------------------------------- reading

// In this order: a block that is retired in between has been read before it was.
State Scheduler::state(TaskId task) const {
  const std::uint64_t seen = record(checked(task)).word.load(std::memory_order_seq_cst);
  return is_retired(task) ? end_of(task) : word::state(seen);
}
Cause Scheduler::cause(TaskId task) const {
  return word::cause(record(checked(task)).word.load(std::memory_order_seq_cst));
}
Attempt Scheduler::attempt(TaskId task) const {
  return word::attempt(record(checked(task)).word.load(std::memory_order_seq_cst));
}
double Scheduler::priority(TaskId task) const {
  return record(checked(task)).priority.load(std::memory_order_seq_cst);
}

std::size_t Scheduler::queued(Lane lane) const {
  std::size_t total = 0;
  for (const auto& slot : shapes_) {
    const Shape* shape = slot.load(std::memory_order_acquire);  // pairs with the store in shape_locked
    if (shape == nullptr) break;
    if (shape->lane == lane) total += shape->heap.size();
  }
  return total;
}

void Scheduler::check() const {
  const std::scoped_lock lock(mutex_);
  std::array<Amount, kMaxResources> held{};
  for (const LeaseId id : open_leases_) {
    const Lease& lease = leases_[static_cast<std::size_t>(id)];
    if (lease.open_attempts.load(std::memory_order_seq_cst) == 0) continue;
    const Demand demand = held_by(lease);
    for (std::size_t r = 0; r < held.size(); ++r) held[r] += demand.amounts[r];
  }
  for (int r = 0; r < kMaxResources; ++r) {
    if (r == kGpu || r == kGpuMemory) continue;  // kept per device; the ledger's own check covers them
    if (ledger_.held(r) != held[static_cast<std::size_t>(r)]) {
      throw std::logic_error("resource " + std::to_string(r) + " is held for " + std::to_string(ledger_.held(r)) +
                             " but open leases hold " + std::to_string(held[static_cast<std::size_t>(r)]));
    }
  }
  std::size_t open = 0;
  for_kept([&](std::size_t first, std::size_t last) {
    for (; first < last; ++first) open += is_final(word::state(records_[first].word.load(std::memory_order_seq_cst))) ? 0 : 1;
  });
  if (open != unfinished()) {
    throw std::logic_error(std::to_string(open) + " tasks have not ended but unfinished() says " + std::to_string(unfinished()));
  }
}

}  // namespace penstock

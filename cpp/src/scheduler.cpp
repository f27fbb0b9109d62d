// The verbs that change tasks: submit, finish, fail, defer, cancel, rerank, and the settings of a run.
#include "penstock/scheduler.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "scheduler_state.hpp"

namespace penstock {
namespace {

template <class T>
T at_or(std::span<const T> values, std::size_t k, T fallback) {
  if (values.empty()) return fallback;
  return values.size() == 1 ? values.front() : values[k];
}

template <class T>
void require_length(std::span<const T> values, std::size_t count, const char* name) {
  if (values.size() > 1 && values.size() != count) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(values.size()) +
                                " entries for a batch of " + std::to_string(count) +
                                " tasks; give one for each, one for all, or none");
  }
}

bool ended_without_result(State state) {
  return state == State::failed || state == State::cancelled || state == State::upstream_failed;
}

/// Scratch vectors longer than this are given back after a large batch.
constexpr std::size_t kKeptScratch = 1 << 16;

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

bool uses_levels(const Policy& policy) {
  return policy.form == Form::plan || policy.weights.critical_path != 0.0 || policy.weights.deadline != 0.0;
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

Scheduler::Record& Scheduler::record(TaskId task) const {
  return const_cast<Record&>(records_[index(task)]);
}

Event Scheduler::event(EventKind kind, Instant now, TaskId task, Attempt attempt, std::uint32_t worker,
                       std::int64_t value, Cause cause, State state) {
  return {now, value, index(task), attempt, worker, kind, cause, state, kEventVersion};
}

void Scheduler::log(EventKind kind, Instant now, TaskId task, Attempt attempt, std::uint32_t worker,
                    std::int64_t value, Cause cause, State state) {
  log_.append(event(kind, now, task, attempt, worker, value, cause, state));
}

bool Scheduler::move(Record& record, std::uint64_t expected, State to, Cause cause) {
  if (!allowed(word::state(expected), to)) return false;
  return record.word.compare_exchange_strong(expected, word::pack(word::attempt(expected), cause, to),
                                             std::memory_order_seq_cst);
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
      x.deadline = deadline;
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
  if (r.extra == 0) {
    const std::size_t e = extra_count_++;
    extras_.grow(extra_count_);
    r.extra = static_cast<std::uint32_t>(e);
  }
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
  const std::size_t n = size();
  constexpr double kUnknown = -1.0;
  std::vector<double> level(n, kUnknown);
  std::vector<std::uint32_t> stack;
  double longest = 1.0;
  for (std::size_t root = 0; root < n; ++root) {
    if (level[root] != kUnknown) continue;
    stack.push_back(static_cast<std::uint32_t>(root));
    while (!stack.empty()) {
      const std::uint32_t t = stack.back();
      bool complete = true;
      double below = 0.0;
      readiness_.successors(TaskId{t}, [&](TaskId s) {
        if (level[index(s)] == kUnknown) {
          complete = false;
          stack.push_back(index(s));
        } else {
          below = std::max(below, level[index(s)]);
        }
      });
      if (!complete) continue;
      stack.pop_back();
      const Record& r = records_[t];
      level[t] = below + static_cast<double>(std::max<Instant>(extras_[r.extra].expected.load(std::memory_order_relaxed), 1));
      longest = std::max(longest, level[t]);
    }
  }
  // relaxed: the store of policy_ that follows publishes them, see rank_of().
  for (std::size_t t = 0; t < n; ++t) records_[t].bottom_level.store(static_cast<float>(level[t]), std::memory_order_relaxed);
  longest_.store(longest, std::memory_order_relaxed);
  follow_plan();
}

// ----------------------------------------------------------------------------------------------------- ready

Rank Scheduler::rank_of(const PolicyState& state, TaskId task, const Record& r, double priority) const {
  const Policy& policy = state.policy;
  const Shape& shape = *shapes_[r.shape()].load(std::memory_order_acquire);  // pairs with the store in shape_locked
  Features f{};
  f.priority = priority;
  f.submitted = r.submitted(epoch_);
  f.deadline = kNever;
  if (policy.weights.demand != 0.0) f.demand = dominant_share(shape.demand);
  if (uses_levels(policy)) {
    // relaxed, both. A level is published with its task, by the links of readiness, or with the policy that asks for it,
    // by the store of policy_; who ranks by the policy before it ranks again when it sees the new one. `longest_` may be
    // that of a moment ago: all ranks of that moment are scaled by it.
    const double level = r.bottom_level.load(std::memory_order_relaxed);
    if (policy.form == Form::plan) {
      // Nothing is scaled, so that what is queued and what comes later compare whatever came between. And what is not
      // planned goes before all that is: a heap's head that waits for its turn must hide nothing that the turn waits for.
      constexpr double kBeforeAll = 0x1p62;  // ns; above every level
      f.bottom_level = is_planned(task) ? level : kBeforeAll + level;
    } else {
      // Rounded, it may pass the longest.
      f.bottom_level = std::min(level / longest_.load(std::memory_order_relaxed), 1.0);
    }
    if (shape.deadline) {
      f.deadline = extras_[r.extra].deadline;
      f.remaining = extras_[r.extra].expected.load(std::memory_order_relaxed) > 0 ? static_cast<Instant>(level) : 0;
    }
  }
  return frozen_rank(policy, f, epoch_);
}

double Scheduler::dominant_share(const Demand& demand) const {
  double share = 0.0;
  for (int r = 0; r < kThreadSlots; ++r) {
    const Amount capacity = ledger_.capacity(r);
    const Amount amount = demand.amounts[static_cast<std::size_t>(r)];
    if (amount > 0 && capacity > 0 && capacity != kUnlimited) {
      share = std::max(share, static_cast<double>(amount) / static_cast<double>(capacity));
    }
  }
  return std::min(share, 1.0);
}

/// Moves a task to ready; false when it has been cancelled meanwhile. The caller logs and queues it.
bool Scheduler::mark_ready(TaskId task) {
  Record& r = record(task);
  return move(r, r.word.load(std::memory_order_seq_cst), State::ready, Cause::none);
}

/// Queues tasks that have just become ready: their events first, so that none is logged as started before, then one
/// push for each run of one shape.
///
/// A change of a task's priority or of the policy may come between reading them and the push; that verb finds no
/// queued entry to re-rank, so this side looks again after its push. One of the two sees the other: both sides write
/// first and read second, all seq_cst.
void Scheduler::enqueue(std::span<const TaskId> tasks, Instant now) {
  constexpr std::size_t kRun = 64;
  std::array<PriorityHeap::Entry, kRun> entries;
  std::array<double, kRun> priorities{};
  std::array<Event, kRun> events;
  for (std::size_t done = 0; done < tasks.size();) {
    const std::uint32_t shape = record(tasks[done]).shape();
    const PolicyState* policy = policy_.load(std::memory_order_seq_cst);
    std::size_t n = 0, said = 0;
    for (; n < kRun && done + n < tasks.size() && record(tasks[done + n]).shape() == shape; ++n) {
      const TaskId task = tasks[done + n];
      const Record& r = record(task);
      priorities[n] = r.priority.load(std::memory_order_seq_cst);
      entries[n] = {task, rank_of(*policy, task, r, priorities[n]), index(task)};
      // relaxed: this thread has just made it ready, so it reads its own attempt or a later state of the same.
      const Event fact = event(EventKind::ready, now, task, word::attempt(r.word.load(std::memory_order_relaxed)), 0, 0,
                               Cause::none, State::ready);
      if (said == 0 || !extend_range(events[said - 1], fact)) events[said++] = fact;
    }
    log_.append(std::span<const Event>(events).first(said));
    PriorityHeap& heap = shapes_[shape].load(std::memory_order_acquire)->heap;  // as in rank_of()
    n == 1 ? heap.push(entries[0]) : heap.push(std::span<const PriorityHeap::Entry>(entries).first(n));
    for (std::size_t k = 0; k < n; ++k) requeue_if_changed(tasks[done + k], policy, priorities[k]);
    done += n;
  }
}

void Scheduler::requeue_if_changed(TaskId task, const PolicyState* policy, double priority) {
  const Record& r = record(task);
  for (;;) {
    const PolicyState* policy_now = policy_.load(std::memory_order_seq_cst);
    const double priority_now = r.priority.load(std::memory_order_seq_cst);
    if (policy_now == policy && priority_now == priority) return;
    policy = policy_now;
    priority = priority_now;
    // acquire: as in rank_of(), here and wherever a shape is looked up.
    shapes_[r.shape()].load(std::memory_order_acquire)->heap.rerank({task, rank_of(*policy, task, r, priority), index(task)});
  }
}

void Scheduler::make_ready(TaskId task, Instant now) {
  if (mark_ready(task)) enqueue({&task, 1}, now);
}

/// Queues what a batch left ready. What comes in the order of its ranks, as a batch of one priority does, is pushed
/// in stretches that stay in the cache; else the heap sorts all of one shape together. Nobody takes anything between
/// two pushes: that needs the mutex, which the caller holds.
void Scheduler::admit(std::span<const TaskId> ready, Instant now, std::vector<TaskId>& settled) {
  constexpr std::size_t kStretch = std::size_t{1} << 14;
  const PolicyState* policy = policy_.load(std::memory_order_seq_cst);
  entries_.clear();
  events_.clear();
  std::uint32_t shape = UINT32_MAX;
  bool in_order = true;
  Rank last{};
  const auto flush = [&] {
    if (!events_.empty()) log_.append(events_);  // first, so that none is logged as started before
    if (!entries_.empty()) shapes_[shape].load(std::memory_order_acquire)->heap.push(entries_);
    entries_.clear();
    events_.clear();
  };
  // Tasks of one submission that differ in nothing that a rank is made of have the same one.
  const bool by_task = uses_levels(policy->policy);
  std::uint64_t origin = UINT64_MAX;
  double priority = 0.0;
  Rank rank{};
  for (const TaskId task : ready) {
    Record& r = record(task);
    if (word::state(r.word.load(std::memory_order_relaxed)) != State::waiting) continue;  // it has lost a predecessor
    if (r.extra != 0 && extras_[r.extra].tolerant && judge_tolerant(task, now, settled)) continue;
    // A store is enough: a waiting task without unmet predecessors is changed under the mutex only. release, as the
    // exchange in move(): who takes it sees what was written about it.
    r.word.store(word::pack(0, Cause::none, State::ready), std::memory_order_release);
    const double its_priority = r.priority.load(std::memory_order_relaxed);
    if (by_task || r.origin != origin || its_priority != priority) {
      rank = rank_of(*policy, task, r, its_priority);
      origin = r.origin;
      priority = its_priority;
    }
    if (r.shape() != shape) {
      flush();
      shape = r.shape();
      in_order = true;
    } else if (rank < last) {
      in_order = false;
    }
    if (in_order && entries_.size() == kStretch) flush();
    last = rank;
    entries_.push_back({task, rank, index(task)});
    const Event fact = event(EventKind::ready, now, task, 0, 0, 0, Cause::none, State::ready);
    if (events_.empty() || !extend_range(events_.back(), fact)) events_.push_back(fact);
  }
  flush();  // priorities and the policy change under the mutex that the caller holds: nothing to look at again
  if (entries_.capacity() > kKeptScratch) entries_ = {};
  if (events_.capacity() > kKeptScratch) events_ = {};
}

// ------------------------------------------------------------------------------------------------------- end

void Scheduler::late(const Report& report, Cause cause, Instant now) {
  late_reports_.fetch_add(1, std::memory_order_relaxed);  // a statistic, orders nothing
  log(EventKind::late_report, now, report.task, report.attempt, 0, report.finished - report.started, cause,
      state(report.task));
}

std::size_t Scheduler::finish(std::span<const Report> reports, Instant now) {
  constexpr std::size_t kRun = 64;
  std::array<Event, kRun> events;
  std::array<TaskId, kRun> done, freed;
  std::size_t became_ready = 0, ended = 0;
  while (!reports.empty()) {
    const auto run = reports.first(std::min(kRun, reports.size()));
    reports = reports.subspan(run.size());
    std::size_t n = 0;
    for (const Report& report : run) {
      std::uint64_t running = word::pack(report.attempt, Cause::none, State::running);
      if (record(report.task).word.compare_exchange_strong(
              running, word::pack(report.attempt, Cause::none, State::succeeded), std::memory_order_seq_cst)) {
        done[n] = report.task;
        events[n++] = event(EventKind::succeeded, report.finished, report.task, report.attempt, 0,
                            report.finished - report.started, Cause::none, State::succeeded);
      } else {
        late(report, Cause::none, now);
      }
    }
    if (n > 0) log_.append(std::span<const Event>(events).first(n));
    ended += n;
    // What becomes ready is queued in runs; its ends are in the log by now.
    std::size_t waiting = 0;
    const auto flush = [&] {
      became_ready += enqueue_freed(std::span<TaskId>(freed).first(waiting), now);
      waiting = 0;
    };
    readiness_.complete(std::span<const TaskId>(done).first(n), [&](TaskId successor) {
      freed[waiting++] = successor;
      if (waiting == kRun) flush();
    });
    flush();
    for (std::size_t k = 0; k < run.size();) {
      const LeaseId lease = run[k].lease;
      std::uint32_t shares = 0;
      for (; k < run.size() && run[k].lease == lease; ++k) ++shares;
      if (lease != kNoLease) end_lease_shares(lease, shares);
    }
  }
  unfinished_.fetch_sub(ended, std::memory_order_seq_cst);
  return became_ready;
}

/// Queues tasks whose last predecessor has ended, unless they were cancelled meanwhile. Returns how many it queued.
std::size_t Scheduler::enqueue_freed(std::span<TaskId> freed, Instant now) {
  // They lie anywhere in the tables; asked for together, their lines come side by side.
  for (const TaskId task : freed) {
    prefetch(&records_[index(task)]);
    tickets_.prefetch(task);
  }
  std::size_t n = 0;
  for (const TaskId task : freed) {
    if (mark_ready(task)) freed[n++] = task;
  }
  enqueue(freed.first(n), now);
  return n;
}

void Scheduler::settle(TaskId task, Attempt attempt, State state, Cause cause, Instant now,
                       std::vector<TaskId>& settled) {
  const EventKind kind = state == State::failed      ? EventKind::failed
                         : state == State::cancelled ? EventKind::cancelled
                                                     : EventKind::upstream_failed;
  log(kind, now, task, attempt, 0, 0, cause, state);
  settled.push_back(task);
  unfinished_.fetch_sub(1, std::memory_order_seq_cst);
}

/// Ends a task that has lost a predecessor it needs, with what depends on it.
bool Scheduler::end_for_upstream(TaskId task, Cause upstream, Instant now, std::vector<TaskId>& settled) {
  const bool skipped = upstream == Cause::skipped;
  Record& r = record(task);
  const std::uint64_t before = r.word.load(std::memory_order_seq_cst);
  const State to = skipped ? State::cancelled : State::upstream_failed;
  const Cause cause = skipped ? Cause::skipped : Cause::upstream;
  if (word::state(before) != State::waiting || !move(r, before, to, cause)) return false;
  settle(task, word::attempt(before), to, cause, now, settled);
  return true;
}

/// A tolerant task with no predecessor left to wait for ends when none of them gave a result. True: it ended.
bool Scheduler::judge_tolerant(TaskId task, Instant now, std::vector<TaskId>& settled) {
  const Extra& x = extras_[record(task).extra];
  if (x.predecessors == 0 || x.without_result < x.predecessors) return false;
  if (end_for_upstream(task, x.lost_to, now, settled)) cascade(task, x.lost_to, now, settled);
  return true;
}

/// `task` was submitted after one of its predecessors had ended without a result.
void Scheduler::lost_predecessor(TaskId task, Cause upstream, Instant now, std::vector<TaskId>& settled) {
  Extra& x = extras_[record(task).extra];
  if (x.tolerant) {
    ++x.without_result;
    x.lost_to = upstream;
  } else if (end_for_upstream(task, upstream, now, settled)) {
    cascade(task, upstream, now, settled);
  }
}

/// Whether a task has ended in a way that those who need it do not survive. One that is forgiven is missed only when it
/// was cancelled or skipped, which is somebody's wish.
bool Scheduler::is_missed(TaskId ended) const {
  const Record& r = record(ended);
  const State how = word::state(r.word.load(std::memory_order_seq_cst));
  return ended_without_result(how) && (how == State::cancelled || !extras_[r.extra].forgiven);
}

/// `task` has ended without a result: so does, transitively, what needs it and does not forgive it.
void Scheduler::cascade(TaskId task, Cause upstream, Instant now, std::vector<TaskId>& settled) {
  std::vector<TaskId> stack{task}, freed;
  while (!stack.empty()) {
    const TaskId ended = stack.back();
    stack.pop_back();
    const bool missed = is_missed(ended);
    readiness_.close(ended, [&](TaskId successor) {
      if (!missed) {
        if (readiness_.satisfy(successor)) make_ready(successor, now);
        return;
      }
      Extra& x = extras_[record(successor).extra];
      if (x.tolerant) {
        ++x.without_result;
        x.lost_to = upstream;
        if (!readiness_.satisfy(successor)) return;
        if (x.without_result < x.predecessors) {
          make_ready(successor, now);
        } else if (end_for_upstream(successor, upstream, now, settled)) {
          stack.push_back(successor);
        }
      } else if (end_for_upstream(successor, upstream, now, settled)) {
        stack.push_back(successor);
      }
    });
  }
}

/// Gives a task that nobody but the holder of the lock can start another demand.
void Scheduler::reshape(Record& r, ShapeId shape) {
  const Shape& old = *shape_owners_[r.shape()];
  const Shape& wanted = *shape_owners_[static_cast<std::size_t>(shape)];
  r.origin = Record::origin_of(shape_locked(wanted.demand, wanted.lane, old.deadline, old.timeout, wanted.family),
                               r.submitted(epoch_) - epoch_);
}

bool Scheduler::fail(const Report& report, Cause cause, Instant retry_at, Instant now, std::vector<TaskId>& settled,
                     ShapeId shape) {
  checked(report.task);
  const std::scoped_lock lock(mutex_);
  Record& r = record(report.task);
  if (shape != kSameShape) {
    if (static_cast<std::size_t>(shape) >= shape_owners_.size()) {
      throw std::out_of_range("shape " + std::to_string(static_cast<std::uint32_t>(shape)) +
                              " is unknown; take one from shape()");
    }
    if (shape_owners_[static_cast<std::size_t>(shape)]->lane != shape_owners_[r.shape()]->lane) {
      throw std::invalid_argument("a task stays on its lane; give fail() a shape of that lane");
    }
  }
  const std::uint64_t running = word::pack(report.attempt, Cause::none, State::running);
  const bool retry = retry_at != kNever;
  const bool won = move(r, running, retry ? State::backoff : State::failed, cause);
  if (report.lease != kNoLease) end_lease_shares(report.lease, 1);
  if (!won) {
    late(report, cause, now);
    return false;
  }
  if (retry) {
    if (shape != kSameShape) reshape(r, shape);  // in backoff it is changed under this lock only
    log(EventKind::retrying, now, report.task, report.attempt, 0, retry_at, cause, State::backoff);
    if (retry_at <= now) {
      make_ready(report.task, now);
    } else {
      arm(timers_, {retry_at, report.task, report.attempt});
    }
  } else {
    settle(report.task, report.attempt, State::failed, cause, now, settled);
    cascade(report.task, Cause::upstream, now, settled);
  }
  return true;
}

bool Scheduler::defer(const Report& report, std::span<const TaskId> children, Instant now,
                      std::vector<TaskId>& settled) {
  checked(report.task);
  for (const TaskId child : children) checked(child);
  const std::scoped_lock lock(mutex_);
  for (const TaskId child : children) {
    std::vector<TaskId> cycle = child == report.task ? std::vector<TaskId>{child} : readiness_.path(report.task, child);
    if (!cycle.empty()) throw CycleError(cycle);
  }
  const bool won = move(record(report.task), word::pack(report.attempt, Cause::none, State::running), State::waiting,
                        Cause::none);
  if (report.lease != kNoLease) end_lease_shares(report.lease, 1);
  if (!won) {
    late(report, Cause::none, now);
    return false;
  }
  // Its predecessors are behind it; what it returned it needs all of, also when it did not need all of those.
  if (Extra& x = extras_[record(report.task).extra]; x.tolerant) x.tolerant = false;
  // One unmet more than there are children, so that no child's end frees the task before all are counted.
  readiness_.rearm(report.task, static_cast<std::uint32_t>(children.size()) + 1);
  log(EventKind::deferred, now, report.task, report.attempt, 0, static_cast<std::int64_t>(children.size()), Cause::none,
      State::waiting);
  for (const TaskId child : children) {
    const std::uint64_t before = record(child).word.load(std::memory_order_seq_cst);
    if (is_missed(child)) {
      lost_predecessor(report.task, word::cause(before), now, settled);
    } else if (!readiness_.add_edge(child, report.task)) {
      readiness_.satisfy(report.task);  // it has just succeeded
    }
  }
  if (readiness_.satisfy(report.task)) make_ready(report.task, now);
  return true;
}

void Scheduler::cancel(std::span<const TaskId> tasks, Cause cause, Instant now, std::vector<Start>& running,
                       std::vector<TaskId>& settled) {
  for (const TaskId task : tasks) checked(task);
  const State to = cause == Cause::timeout ? State::failed : State::cancelled;
  const std::scoped_lock lock(mutex_);
  for (const TaskId task : tasks) {
    Record& r = record(task);
    std::uint64_t before = r.word.load(std::memory_order_seq_cst);
    bool won = false;
    while (!is_final(word::state(before)) && !(won = move(r, before, to, cause))) {
      before = r.word.load(std::memory_order_seq_cst);  // a finish on another thread moved it; it moves forward only
    }
    if (!won) continue;
    if (word::state(before) == State::running) {
      running.push_back({task, word::attempt(before), kNoLease, 0});
    } else {
      shapes_[r.shape()].load(std::memory_order_acquire)->heap.cancel(task);  // only a hint: `take` checks the word
    }
    settle(task, word::attempt(before), to, cause, now, settled);
    cascade(task, cause == Cause::skipped ? Cause::skipped : Cause::upstream, now, settled);
  }
}

// -------------------------------------------------------------------------------------------------- settings

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
  for (std::size_t t = 0; t < size(); ++t) {
    Record& r = records_[t];
    if (word::state(r.word.load(std::memory_order_seq_cst)) != State::ready) continue;
    const TaskId task{static_cast<std::uint32_t>(t)};
    const double priority = r.priority.load(std::memory_order_seq_cst);
    shapes_[r.shape()].load(std::memory_order_acquire)->heap.rerank({task, rank_of(*state, task, r, priority), index(task)});
  }
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

// --------------------------------------------------------------------------------------------------- reading

State Scheduler::state(TaskId task) const {
  return word::state(record(checked(task)).word.load(std::memory_order_seq_cst));
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
  for (std::size_t t = 0; t < size(); ++t) open += is_final(word::state(records_[t].word.load(std::memory_order_seq_cst))) ? 0 : 1;
  if (open != unfinished()) {
    throw std::logic_error(std::to_string(open) + " tasks have not ended but unfinished() says " + std::to_string(unfinished()));
  }
}

}  // namespace penstock

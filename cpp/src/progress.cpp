// How tasks go on: they become ready, are ranked and queued; they finish, fail, defer or are cancelled, and what waits hears of it.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "penstock/scheduler.hpp"
#include "scheduler_state.hpp"

namespace penstock {
namespace {

bool ended_without_result(State state) {
  return state == State::failed || state == State::cancelled || state == State::upstream_failed;
}

/// Scratch vectors longer than this are given back after a large batch.
constexpr std::size_t kKeptScratch = 1 << 16;

}  // namespace

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
      f.deadline = extras_[r.extra].deadline.load(std::memory_order_relaxed);
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
  std::array<std::atomic<std::uint64_t>*, kRun> words;  // of those that are done
  std::size_t became_ready = 0, ended = 0;
  while (!reports.empty()) {
    const auto run = reports.first(std::min(kRun, reports.size()));
    reports = reports.subspan(run.size());
    std::size_t n = 0;
    for (const Report& report : run) {
      std::uint64_t running = word::pack(report.attempt, Cause::none, State::running);
      std::atomic<std::uint64_t>& word = record(report.task).word;
      if (word.compare_exchange_strong(
              running, word::pack(report.attempt, Cause::none, State::succeeded), std::memory_order_seq_cst)) {
        done[n] = report.task;
        words[n] = &word;
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
    for (std::size_t k = 0; k < n; ++k) {
      // A store is enough: of a task that has succeeded nobody else writes the word before this mark is there. release:
      // pairs with let_go(): whoever lets the task go does so after all that this thread has done with it.
      words[k]->store(words[k]->load(std::memory_order_relaxed) | word::kPassedOn, std::memory_order_release);
    }
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
  const State how = state(ended);
  return ended_without_result(how) && (how == State::cancelled || !extras_[record(ended).extra].forgiven);
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
        return;
      }
      // It ends before it is met: a predecessor that finishes meanwhile must not start it.
      if (end_for_upstream(successor, upstream, now, settled)) stack.push_back(successor);
      readiness_.satisfy(successor);
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
  if (shape != kSameShape && !is_retired(report.task)) {
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
  const std::uint64_t running = word::pack(report.attempt, Cause::none, State::running);
  Record& r = record(report.task);
  if (r.word.load(std::memory_order_seq_cst) == running) {
    for (const TaskId child : children) {
      std::vector<TaskId> cycle = child == report.task ? std::vector<TaskId>{child} : readiness_.path(report.task, child);
      if (!cycle.empty()) throw CycleError(cycle);
    }
  }
  const bool won = move(r, running, State::waiting, Cause::none);
  if (report.lease != kNoLease) end_lease_shares(report.lease, 1);
  if (!won) {
    late(report, Cause::none, now);
    return false;
  }
  // Its predecessors are behind it; what it returned it needs all of, also when it did not need all of those.
  if (Extra& x = extras_[r.extra]; x.tolerant) x.tolerant = false;
  // One unmet more than there are children, so that no child's end frees the task before all are counted.
  readiness_.rearm(report.task, static_cast<std::uint32_t>(children.size()) + 1);
  log(EventKind::deferred, now, report.task, report.attempt, 0, static_cast<std::int64_t>(children.size()), Cause::none,
      State::waiting);
  for (const TaskId child : children) {
    if (is_missed(child)) {
      lost_predecessor(report.task, cause(child), now, settled);
      readiness_.satisfy(report.task);
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
    if (is_retired(task)) continue;
    Record& r = record(task);
    const Ticket ticket{tickets_.word(task).load(std::memory_order_seq_cst)};
    std::uint64_t before = r.word.load(std::memory_order_seq_cst);
    bool won = false;
    while (!is_final(word::state(before)) && !(won = move(r, before, to, cause))) {
      before = r.word.load(std::memory_order_seq_cst);  // a finish on another thread moved it; it moves forward only
    }
    if (!won) continue;
    if (word::state(before) == State::running) {
      running.push_back({task, word::attempt(before), kNoLease, 0});
    } else if (!shapes_[r.shape()].load(std::memory_order_acquire)->heap.cancel(task) && word::state(before) == State::ready) {
      // A `finish` is about to queue it, or has after the look at its ticket: `take` will drop it, and its memory must stay.
      to_be_queued_.emplace(task, ticket.version());
    }
    settle(task, word::attempt(before), to, cause, now, settled);
    cascade(task, cause == Cause::skipped ? Cause::skipped : Cause::upstream, now, settled);
  }
}

}  // namespace penstock

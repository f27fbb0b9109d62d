// The rules of the scheduler, written for clearness: maps, loops over all tasks, one thread.
//
// A second opinion for the Scheduler, from the same description and not from the same code. Left out: reservations
// (a policy of test_dispatch.cpp) and GPU devices (test_ledger.cpp).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "penstock/event_log.hpp"
#include "penstock/scheduler.hpp"

namespace penstock::test {

class Oracle {
 public:
  struct Task {
    std::vector<std::size_t> predecessors;  // one entry an edge
    Demand demand{};
    Lane lane = Lane::threads;
    double priority = 0;
    Instant deadline = kNever, timeout = 0;
    bool tolerant = false;
    bool forgiven = false;

    std::vector<std::size_t> dependants;  // edges from when this task had not ended
    std::size_t untold = 0;               // edges of which it has not heard that the other task has ended
    State state = State::waiting;
    Cause cause = Cause::none;
    Attempt attempt = 0;
    Instant retry_at = kNever;
    Instant time_out = kNever;  // of the running attempt; never again once it was told, and not while it stands still
    bool still = false;         // the running attempt is suspended
    Instant left = kNever;      // until its timeout, when it goes on
    std::uint32_t lease = 0;    // its own, while it is suspended
    Cause lost_to = Cause::upstream;
  };
  struct Lease {
    Demand demand{};
    std::size_t open = 0;
    bool still = false;  // it lacks what its only attempt has yielded
  };
  using Reported = std::map<std::size_t, std::vector<Event>>;  // by task; those of no task under kNoTask

  std::vector<Task> tasks;
  std::map<std::uint32_t, Lease> leases;
  std::array<Amount, kMaxResources> capacity{};
  double weight = 1;  // of the priority
  bool paused = false, guarded = false;
  std::uint64_t late_reports = 0;
  // What the verb in progress has done.
  Reported events;
  std::set<std::size_t> settled;
  std::size_t became_ready = 0;
  Instant now = 0;

  void begin(Instant at) {
    now = at;
    events.clear();
    settled.clear();
    became_ready = 0;
  }

  // --------------------------------------------------------------------------------------------------- verbs

  void submit(std::vector<Task> batch) {
    const std::size_t first = tasks.size();
    tasks.insert(tasks.end(), batch.begin(), batch.end());
    note(EventKind::submitted, first, 0, static_cast<std::int64_t>(batch.size()), Cause::none, State::waiting);
    for (std::size_t k = first; k < tasks.size(); ++k) {
      for (const std::size_t before : tasks[k].predecessors) {
        if (is_final(tasks[before].state)) continue;
        tasks[before].dependants.push_back(k);
        ++tasks[k].untold;
      }
    }
    std::vector<std::size_t> ended;  // those that lost an earlier task, before anything hears of their end
    for (std::size_t k = first; k < tasks.size(); ++k) {
      for (const std::size_t before : tasks[k].predecessors) {
        if (before >= first || !missed(tasks[before]) || is_final(tasks[k].state)) continue;
        note_loss(k, before);
        if (tasks[k].tolerant) continue;
        close_for_upstream(k);
        ended.push_back(k);
      }
    }
    for (const std::size_t k : ended) tell_dependants(k);
    for (std::size_t k = first; k < tasks.size(); ++k) judge(k);
  }

  /// Which tasks start, in order; the first of them takes the amounts for all.
  std::vector<std::size_t> take(Lane lane, std::uint32_t worker, std::size_t most) {
    if (most == 0) return {};
    wake();
    if (held_back()) return {};
    if (guarded) most = 1;
    const std::vector<std::size_t> heads = in_order();
    Demand spoken{};  // what more urgent heads of other lanes are about to take
    Demand owed{};    // what more urgent attempts that stand still wait for
    for (std::size_t h = 0; h < heads.size(); ++h) {
      const Task& head = tasks[heads[h]];
      if (head.state == State::running) {
        for (const int r : kYielded) owed[r] += leases.at(head.lease).demand[r];
        continue;
      }
      if (short_of(head.demand)) continue;
      if (std::any_of(kYielded.begin(), kYielded.end(), [&](int r) {
            return owed[r] > 0 && head.demand[r] > 0 && free(r) < owed[r] + spoken[r] + head.demand[r];
          })) {
        continue;
      }
      Demand together = head.demand;
      for (int r = 0; r < kMaxResources; ++r) together[r] += spoken[r];
      if (head.lane != lane) {
        spoken = together;
        continue;
      }
      if (h > 0 && short_of(together)) continue;
      std::vector<std::size_t> started;
      for (std::size_t t = 0; t < tasks.size(); ++t) {
        if (tasks[t].state == State::ready && same_shape(t, heads[h])) started.push_back(t);
      }
      std::sort(started.begin(), started.end(), [&](std::size_t a, std::size_t b) { return before(a, b); });
      const auto past = [&](std::size_t t) { return h + 1 < heads.size() && !before(t, heads[h + 1]); };
      started.erase(std::find_if(started.begin() + 1, started.end(), past), started.end());
      started.resize(std::min(started.size(), head.timeout > 0 ? 1 : most));
      for (const std::size_t t : started) start(t, worker);
      return started;
    }
    return {};
  }

  void open(LeaseId lease, const Demand& demand, std::size_t attempts) {
    leases[static_cast<std::uint32_t>(lease)] = {demand, attempts};
  }

  /// Whether the attempt can be moved to a lease of its own.
  [[nodiscard]] bool split(std::size_t task, Attempt attempt, LeaseId lease, std::uint32_t worker) {
    if (!current(task, attempt) || tasks[task].still || short_of(tasks[task].demand)) return false;
    let_go(lease);
    Event started = event_of(EventKind::started, task, attempt, static_cast<std::int64_t>(tasks[task].lane), Cause::none, State::running);
    started.worker = worker;
    events[task].push_back(started);
    return true;
  }

  bool suspend(std::size_t task, Attempt attempt, LeaseId id) {
    Lease& lease = leases.at(static_cast<std::uint32_t>(id));
    if (!current(task, attempt) || lease.still || lease.open != 1) return false;
    lease.still = true;
    Task& t = tasks[task];
    t.still = true;
    t.lease = static_cast<std::uint32_t>(id);
    t.left = t.time_out == kNever ? kNever : std::max<Instant>(t.time_out - now, 0);
    t.time_out = kNever;
    note(EventKind::suspended, task, attempt, 0, Cause::none, State::running);
    return true;
  }

  bool proceed(std::size_t task, Attempt attempt) {
    if (paused || !current(task, attempt) || !tasks[task].still) return false;
    Task& t = tasks[task];
    Demand wanted{};
    for (const int r : kYielded) wanted[r] = leases.at(t.lease).demand[r];
    const Demand own = wanted;
    for (const std::size_t h : in_order()) {  // what comes first, and would start or go on now
      if (h == task) break;
      const Task& other = tasks[h];
      const bool stands = other.state == State::running;
      if (!stands && short_of(other.demand)) continue;
      for (const int r : kYielded) wanted[r] += stands ? leases.at(other.lease).demand[r] : other.demand[r];
    }
    for (const int r : kYielded) {
      if (own[r] > 0 && free(r) < wanted[r]) return false;
    }
    leases.at(t.lease).still = t.still = false;
    t.time_out = t.left == kNever ? kNever : now + t.left;
    note(EventKind::proceeded, task, attempt, 0, Cause::none, State::running);
    return true;
  }

  void finish(const Report& report) {
    const std::size_t task = index(report.task);
    if (report.lease != kNoLease) let_go(report.lease);
    if (!current(task, report.attempt)) return late(report, Cause::none);
    tasks[task].state = State::succeeded;
    Event ended = event_of(EventKind::succeeded, task, report.attempt, report.finished - report.started, Cause::none, State::succeeded);
    ended.time = report.finished;
    events[task].push_back(ended);
    for (const std::size_t after : tasks[task].dependants) {
      --tasks[after].untold;
      judge(after);
    }
  }

  bool fail(const Report& report, Cause cause, Instant retry_at, const Demand* other = nullptr) {
    const std::size_t task = index(report.task);
    if (report.lease != kNoLease) let_go(report.lease);
    if (!current(task, report.attempt)) return late(report, cause), false;
    if (retry_at == kNever) return end(task, State::failed, cause), true;
    if (other != nullptr) tasks[task].demand = *other;
    tasks[task].state = State::backoff;
    tasks[task].cause = cause;
    tasks[task].retry_at = retry_at;
    note(EventKind::retrying, task, report.attempt, retry_at, cause, State::backoff);
    if (retry_at <= now) make_ready(task);
    return true;
  }

  /// Whether a task's waiting for these would be a cycle.
  [[nodiscard]] bool circular(std::size_t task, const std::vector<std::size_t>& children) const {
    std::set<std::size_t> after{task};
    std::vector<std::size_t> open{task};
    while (!open.empty()) {
      const std::size_t t = open.back();
      open.pop_back();
      for (const std::size_t next : tasks[t].dependants) {
        if (is_final(tasks[next].state)) continue;  // nothing waits for what has ended
        if (after.insert(next).second) open.push_back(next);
      }
    }
    return std::any_of(children.begin(), children.end(), [&](std::size_t child) { return after.contains(child); });
  }
  bool defer(const Report& report, const std::vector<std::size_t>& children) {
    const std::size_t task = index(report.task);
    if (report.lease != kNoLease) let_go(report.lease);
    if (!current(task, report.attempt)) return late(report, Cause::none), false;
    tasks[task].state = State::waiting;
    tasks[task].tolerant = false;  // it needs all that it defers to
    tasks[task].predecessors.clear();  // those are behind it
    tasks[task].untold = 0;
    note(EventKind::deferred, task, report.attempt, static_cast<std::int64_t>(children.size()), Cause::none, State::waiting);
    for (const std::size_t child : children) {
      tasks[task].predecessors.push_back(child);
      if (is_final(tasks[child].state)) continue;
      tasks[child].dependants.push_back(task);
      ++tasks[task].untold;
    }
    for (const std::size_t child : children) lose(task, child);
    judge(task);
    return true;
  }

  /// The attempts that were running.
  std::vector<std::pair<std::size_t, Attempt>> cancel(const std::vector<std::size_t>& which, Cause cause) {
    std::vector<std::pair<std::size_t, Attempt>> running;
    for (const std::size_t task : which) {
      if (is_final(tasks[task].state)) continue;
      if (tasks[task].state == State::running) running.emplace_back(task, tasks[task].attempt);
      end(task, cause == Cause::timeout ? State::failed : State::cancelled, cause);
    }
    return running;
  }

  void rerank(std::size_t task, double priority) {
    tasks[task].priority = priority;
    note(EventKind::rank_changed, task, tasks[task].attempt, std::bit_cast<std::int64_t>(priority), Cause::none, tasks[task].state);
  }

  void set_capacity(int resource, Amount amount) {
    if (capacity[static_cast<std::size_t>(resource)] == amount) return;
    capacity[static_cast<std::size_t>(resource)] = amount;
    if (resource == kThreadSlots) return;  // no resource of the user's
    Event changed = event_of(EventKind::capacity_changed, kNone, 0, amount, Cause::none, State::waiting);
    changed.worker = static_cast<std::uint32_t>(resource);
    events[kNone].push_back(changed);
  }

  void set_guarded(bool to, Amount used) {
    if (std::exchange(guarded, to) != to) {
      note(to ? EventKind::guard_closed : EventKind::guard_opened, kNone, 0, used, Cause::none, State::waiting);
    }
  }
  /// Whether nothing may start now; a closed guard lets one task through when none runs.
  [[nodiscard]] bool held_back() const {
    return paused || (guarded && std::any_of(leases.begin(), leases.end(), [](const auto& lease) { return !lease.second.still; }));
  }

  void set_paused(bool to) {
    if (std::exchange(paused, to) != to) {
      note(to ? EventKind::paused : EventKind::resumed, kNone, 0, 0, Cause::none, State::waiting);
    }
  }

  std::set<std::pair<std::size_t, Attempt>> expire() {
    std::set<std::pair<std::size_t, Attempt>> overdue;
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      if (tasks[t].state != State::running || tasks[t].time_out > now) continue;
      tasks[t].time_out = kNever;
      overdue.emplace(t, tasks[t].attempt);
      note(EventKind::timed_out, t, tasks[t].attempt, tasks[t].timeout, Cause::timeout, State::running);
    }
    return overdue;
  }

  // ------------------------------------------------------------------------------------------------- readings

  [[nodiscard]] Amount held(int resource) const {
    Amount sum = 0;
    const bool yielded = std::find(kYielded.begin(), kYielded.end(), resource) != kYielded.end();
    for (const auto& [id, lease] : leases) sum += lease.still && yielded ? 0 : lease.demand[resource];
    return sum;
  }
  [[nodiscard]] Amount free(int resource) const { return capacity[static_cast<std::size_t>(resource)] - held(resource); }
  [[nodiscard]] std::optional<int> short_of(const Demand& demand) const {
    for (int r = 0; r < kMaxResources; ++r) {
      if (demand[r] > 0 && free(r) < demand[r]) return r;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::size_t unfinished() const {
    return static_cast<std::size_t>(std::count_if(tasks.begin(), tasks.end(), [](const Task& t) { return !is_final(t.state); }));
  }
  [[nodiscard]] std::uint32_t unmet(std::size_t task) const {
    return static_cast<std::uint32_t>(std::count_if(tasks[task].predecessors.begin(), tasks[task].predecessors.end(),
                                                    [&](std::size_t p) { return !is_final(tasks[p].state); }));
  }
  /// When a timer comes due next.
  [[nodiscard]] Instant wakeup() const {
    Instant next = kNever;
    for (const Task& t : tasks) {
      if (t.state == State::backoff) next = std::min(next, t.retry_at);
      if (t.state == State::running) next = std::min(next, t.time_out);
    }
    return next;
  }
  [[nodiscard]] bool current(std::size_t task, Attempt attempt) const {
    return tasks[task].state == State::running && tasks[task].attempt == attempt;
  }

 private:
  static constexpr std::size_t kNone = index(kNoTask);

  /// The first ready task of each kind, and the attempts that stand still, in the order in which they come.
  [[nodiscard]] std::vector<std::size_t> in_order() const {
    std::vector<std::size_t> heads;
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      if (tasks[t].state != State::ready) continue;
      const auto same = std::find_if(heads.begin(), heads.end(), [&](std::size_t h) { return same_shape(h, t); });
      if (same == heads.end()) {
        heads.push_back(t);
      } else if (before(t, *same)) {
        *same = t;
      }
    }
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      if (tasks[t].state == State::running && tasks[t].still) heads.push_back(t);
    }
    std::sort(heads.begin(), heads.end(), [&](std::size_t a, std::size_t b) { return before(a, b); });
    return heads;
  }
  [[nodiscard]] bool before(std::size_t a, std::size_t b) const {
    const double rank_a = weight * tasks[a].priority, rank_b = weight * tasks[b].priority;
    return rank_a != rank_b ? rank_a < rank_b : a < b;
  }
  [[nodiscard]] bool same_shape(std::size_t a, std::size_t b) const {
    const Task &x = tasks[a], &y = tasks[b];
    return x.demand == y.demand && x.lane == y.lane && (x.deadline == kNever) == (y.deadline == kNever) &&
           (x.timeout > 0) == (y.timeout > 0);
  }
  [[nodiscard]] Event event_of(EventKind kind, std::size_t task, Attempt attempt, std::int64_t value, Cause cause, State state) const {
    return {now, value, static_cast<std::uint32_t>(task), attempt, 0, kind, cause, state, kEventVersion};
  }
  void note(EventKind kind, std::size_t task, Attempt attempt, std::int64_t value, Cause cause, State state) {
    events[task].push_back(event_of(kind, task, attempt, value, cause, state));
  }
  void late(const Report& report, Cause cause) {
    ++late_reports;
    note(EventKind::late_report, index(report.task), report.attempt, report.finished - report.started, cause, tasks[index(report.task)].state);
  }
  void let_go(LeaseId lease) {
    const auto at = leases.find(static_cast<std::uint32_t>(lease));
    if (--at->second.open == 0) leases.erase(at);
  }
  void start(std::size_t task, std::uint32_t worker) {
    Task& t = tasks[task];
    t.state = State::running;
    t.cause = Cause::none;
    ++t.attempt;
    t.still = false;
    t.time_out = t.timeout > 0 ? now + t.timeout : kNever;
    Event started = event_of(EventKind::started, task, t.attempt, static_cast<std::int64_t>(t.lane), Cause::none, State::running);
    started.worker = worker;
    events[task].push_back(started);
  }
  void make_ready(std::size_t task) {
    tasks[task].state = State::ready;
    tasks[task].cause = Cause::none;
    ++became_ready;
    note(EventKind::ready, task, tasks[task].attempt, 0, Cause::none, State::ready);
  }
  void wake() {
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      if (tasks[t].state == State::backoff && tasks[t].retry_at <= now) make_ready(t);
    }
  }

  /// Whether who needs this task ends with it.
  static bool missed(const Task& ended) {
    if (!is_final(ended.state) || ended.state == State::succeeded) return false;
    return ended.state == State::cancelled || !ended.forgiven;
  }

  /// A waiting task hears that a predecessor has ended; nothing happens when that one gave a result or is forgiven.
  void lose(std::size_t task, std::size_t predecessor) {
    if (!missed(tasks[predecessor])) return;
    note_loss(task, predecessor);
    if (!tasks[task].tolerant && tasks[task].state == State::waiting) end_for_upstream(task);
  }
  /// A waiting task with nothing left to wait for starts, or ends when no predecessor gave a result.
  void judge(std::size_t task) {
    const Task& t = tasks[task];
    if (t.state != State::waiting || t.untold > 0) return;
    const auto lost = std::count_if(t.predecessors.begin(), t.predecessors.end(), [&](std::size_t p) { return missed(tasks[p]); });
    if (lost == 0 || (t.tolerant && lost < std::ssize(t.predecessors))) return make_ready(task);
    if (t.tolerant) end_for_upstream(task);  // else it hears of the one that it has lost right after this
  }
  void note_loss(std::size_t task, std::size_t predecessor) {
    tasks[task].lost_to = tasks[predecessor].cause == Cause::skipped ? Cause::skipped : Cause::upstream;
  }
  void end_for_upstream(std::size_t task) {
    close_for_upstream(task);
    tell_dependants(task);
  }
  void close_for_upstream(std::size_t task) {
    const bool skipped = tasks[task].lost_to == Cause::skipped;
    close(task, skipped ? State::cancelled : State::upstream_failed, tasks[task].lost_to);
  }
  void end(std::size_t task, State state, Cause cause) {
    close(task, state, cause);
    tell_dependants(task);
  }
  void close(std::size_t task, State state, Cause cause) {
    tasks[task].state = state;
    tasks[task].cause = cause;
    const EventKind kind = state == State::failed      ? EventKind::failed
                           : state == State::cancelled ? EventKind::cancelled
                                                       : EventKind::upstream_failed;
    note(kind, task, tasks[task].attempt, 0, cause, state);
    settled.insert(task);
  }
  void tell_dependants(std::size_t task) {
    for (const std::size_t after : std::vector<std::size_t>(tasks[task].dependants)) {
      --tasks[after].untold;
      lose(after, task);
      judge(after);
    }
  }
};

}  // namespace penstock::test

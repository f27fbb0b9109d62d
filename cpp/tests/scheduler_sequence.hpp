// One sequence of verbs, drawn from Choices, given to the Scheduler and to the Oracle; every outcome is compared.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "choices.hpp"
#include "penstock/batch_graph.hpp"
#include "penstock/scheduler.hpp"
#include "scheduler_oracle.hpp"

namespace penstock::test {

class SchedulerSequence {
 public:
  explicit SchedulerSequence(Choices& choices) : choices_(choices) {}

  /// Throws std::logic_error, with all verbs so far, at the first difference.
  void run() {
    for (int r = 0; r < kMaxResources; ++r) {
      if (r != kGpu && r != kGpuMemory) set_capacity(r, kUnlimited);
    }
    set_capacity(kCpu, 1 + choices_.below(6));
    set_capacity(kMemory, choices_.below(9));
    set_policy();
    while (choices_.more()) {
      switch (choices_.below(21)) {
        case 0:
        case 1: submit(); break;
        case 2:
        case 3:
        case 4:
        case 5: take(); break;
        case 6:
        case 7:
        case 8: finish(); break;
        case 9: fail(); break;
        case 10: defer(); break;
        case 11: cancel(); break;
        case 12: rerank(); break;
        case 13: change_capacity(); break;
        case 14: expire(); break;
        case 15:
        case 16: now_ += 1 + choices_.below(3); break;
        case 17: suspend(); break;
        case 18: proceed(); break;
        case 19: release(); break;
        default: seldom(); break;
      }
    }
    wind_up();
  }

 private:
  struct Hand {
    std::size_t task;
    Attempt attempt;
    LeaseId lease;
    Instant started;
  };

  // -------------------------------------------------------------------------------------------------- comparing

  [[noreturn]] void differ(const std::string& what) const { throw std::logic_error(what + "\nafter" + trace_); }
  void require(bool same, const char* what) const {
    if (!same) differ(std::string("they differ in ") + what);
  }
  template <class... Words>
  void say(const Words&... words) {
    trace_ += "\n ";
    ((trace_ += ' ', trace_ += text(words)), ...);
  }
  static std::string text(const char* word) { return word; }
  static std::string text(const std::string& word) { return word; }
  template <class Number>
  static std::string text(Number number) {
    return std::to_string(number);
  }
  template <class Range>
  static std::string listed(const Range& numbers) {
    std::string out = "[";
    for (const auto number : numbers) out.append(out.size() > 1 ? " " : "").append(std::to_string(number));
    return out.append("]");
  }

  static std::string listed(const Oracle::Reported& events) {
    std::string out;
    for (const auto& [task, of_task] : events) {
      for (const Event& e : of_task) {
        out.append("  task ").append(std::to_string(task)).append(", attempt ").append(std::to_string(e.attempt));
        out.append(", kind ").append(std::to_string(static_cast<int>(e.kind))).append(", value ").append(std::to_string(e.value));
        out.append(", ").append(name(e.state)).append(", cause ").append(name(e.cause)).append(", at ").append(std::to_string(e.time)).append("\n");
      }
    }
    return out;
  }

  void begin() {
    oracle_.begin(now_);
    settled_.clear();
  }
  void compare() {
    std::vector<Event> log(scheduler_.log().size() - read_);
    log.resize(scheduler_.log().read(read_, log));
    read_ += log.size();
    Oracle::Reported events;
    for (const Event& event : log) {
      for (std::uint32_t k = 0; k < tasks_in(event); ++k) {
        Event one = event;
        one.task += k;
        if (tasks_in(event) > 1) one.value %= std::int64_t{1} << kRangeShift;
        events[one.task].push_back(one);
      }
    }
    if (events != oracle_.events) differ("they differ in events:\n" + listed(events) + "and the oracle says\n" + listed(oracle_.events));
    std::set<std::size_t> settled;
    for (const TaskId task : settled_) settled.insert(index(task));
    require(settled.size() == settled_.size() && settled == oracle_.settled, "the tasks that ended");
    require(scheduler_.size() == oracle_.tasks.size(), "the number of tasks");
    for (std::size_t t = 0; t < oracle_.tasks.size(); ++t) {
      const Oracle::Task& task = oracle_.tasks[t];
      const TaskId id{static_cast<std::uint32_t>(t)};
      if (scheduler_.state(id) != task.state) {
        differ("task " + std::to_string(t) + " is " + std::string(name(scheduler_.state(id))) + ", and the oracle says " + std::string(name(task.state)));
      }
      if (released_.contains(t) && scheduler_.attempt(id) == 0) continue;  // perhaps no more is known of it
      require(scheduler_.cause(id) == task.cause, "the cause of a task");
      require(scheduler_.attempt(id) == task.attempt, "the attempt of a task");
      require(scheduler_.priority(id) == task.priority, "the priority of a task");
    }
    require(scheduler_.unfinished() == oracle_.unfinished(), "unfinished()");
    require(scheduler_.late_reports() == oracle_.late_reports, "late_reports()");
    for (const int r : {int{kCpu}, int{kMemory}, int{kFirstCustom}}) {
      require(scheduler_.ledger().held(r) == oracle_.held(r), "what is held");
      require(scheduler_.ledger().free(r) == oracle_.free(r), "what is free");
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      std::size_t queued = 0;
      bool startable = false;
      for (const Oracle::Task& task : oracle_.tasks) {
        if (task.state != State::ready || task.lane != static_cast<Lane>(lane)) continue;
        ++queued;
        startable = startable || (!oracle_.held_back() && !oracle_.short_of(task.demand));
      }
      require(scheduler_.queued(static_cast<Lane>(lane)) == queued, "queued()");
      require(scheduler_.startable(static_cast<Lane>(lane)) == startable, "startable()");
    }
    require(scheduler_.next_wakeup() <= oracle_.wakeup(), "next_wakeup(): a timer would be missed");
    scheduler_.check();
  }
  void compare_reasons() {
    if (oracle_.tasks.empty()) return;
    const std::size_t t = choices_.below(static_cast<std::uint32_t>(oracle_.tasks.size()));
    say("explain", t);
    const Explanation why = scheduler_.explain(id(t), now_);
    const Oracle::Task& task = oracle_.tasks[t];
    require(why.state == task.state, "explain()'s state");
    require(released_.contains(t) || (why.cause == task.cause && why.attempt == task.attempt), "explain()'s cause and attempt");
    require(why.unmet == (task.state == State::waiting ? oracle_.unmet(t) : 0), "explain()'s unmet predecessors");
    require(why.retry_at == (task.state == State::backoff ? task.retry_at : kNever), "explain()'s next attempt");
    require(why.paused == oracle_.paused, "explain()'s pause");
    require(why.suspended == (task.state == State::running && task.still), "explain()'s standing still");
    require(why.guarded == (!oracle_.paused && oracle_.held_back()), "explain()'s guard");
    const std::optional<int> lacking = task.state == State::ready ? oracle_.short_of(task.demand) : std::nullopt;
    require(why.lacking == lacking.value_or(-1), "explain()'s lacking resource");
    require(!lacking || (why.demanded == task.demand[*lacking] && why.free == oracle_.free(*lacking)), "explain()'s amounts");
  }

  static TaskId id(std::size_t task) { return TaskId{static_cast<std::uint32_t>(task)}; }
  static std::vector<TaskId> ids(const std::vector<std::size_t>& tasks) {
    std::vector<TaskId> out;
    for (const std::size_t t : tasks) out.push_back(id(t));
    return out;
  }
  double a_priority() { return static_cast<double>(choices_.below(5)) - 2; }
  std::size_t a_task() { return choices_.below(static_cast<std::uint32_t>(oracle_.tasks.size())); }

  // ------------------------------------------------------------------------------------------------------ verbs

  void submit() {
    const std::size_t first = oracle_.tasks.size();
    if (first > 200) return;  // so that one draw can name any of them
    const std::size_t n = 1 + choices_.below(5);
    std::vector<Oracle::Task> batch(n);
    std::vector<std::int64_t> indptr{0}, indices;
    std::vector<ShapeId> shapes;
    std::vector<double> priorities;
    std::vector<Instant> deadlines, timeouts;
    std::vector<std::uint8_t> tolerant, forgiven;
    const bool special = choices_.one_in(3);
    for (std::size_t k = 0; k < n; ++k) {
      Oracle::Task& task = batch[k];
      for (std::uint32_t e = first + k == 0 ? 0 : choices_.below(4); e > 0; --e) {
        const std::size_t before = choices_.below(static_cast<std::uint32_t>(std::min<std::size_t>(first + k, 255)));
        if (released_.contains(before)) continue;
        task.predecessors.push_back(before);
        const auto known = static_cast<std::int64_t>(before);
        indices.push_back(before < first ? known : ~(known - static_cast<std::int64_t>(first)));
      }
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
      task.demand[kCpu] = choices_.below(4);
      task.demand[kMemory] = choices_.one_in(3) ? choices_.below(5) : 0;
      task.demand[kFirstCustom] = choices_.one_in(8) ? 1 : 0;
      task.lane = choices_.one_in(4) ? static_cast<Lane>(choices_.below(kLanes)) : Lane::threads;
      task.priority = a_priority();
      if (special) {
        task.tolerant = choices_.one_in(2);
        task.forgiven = choices_.one_in(3);
        if (choices_.one_in(2)) task.timeout = 1 + choices_.below(4);
        if (choices_.one_in(4)) task.deadline = now_ + choices_.below(9);
      }
      shapes.push_back(scheduler_.shape(task.demand, task.lane));
      priorities.push_back(task.priority);
      timeouts.push_back(task.timeout);
      deadlines.push_back(task.deadline);
      tolerant.push_back(task.tolerant ? 1 : 0);
      forgiven.push_back(task.forgiven ? 1 : 0);
    }
    Submission given;
    given.count = n;
    given.indptr = indptr;
    given.indices = indices;
    given.shape = shapes;
    given.priority = priorities;
    given.timeout = timeouts;
    given.deadline = deadlines;
    given.tolerant = tolerant;
    given.forgiven = forgiven;
    begin();
    if (choices_.one_in(12) && !indices.empty()) return submit_wrong(given, indices);
    std::string rows;
    for (const Oracle::Task& task : batch) {
      rows.append("\n    needs ").append(listed(task.predecessors)).append(task.tolerant ? ", tolerant" : "").append(task.forgiven ? ", forgiven" : "");
      rows.append(", cpu ").append(std::to_string(task.demand[kCpu])).append(", memory ").append(std::to_string(task.demand[kMemory]));
      rows.append(", lane ").append(std::to_string(static_cast<int>(task.lane)));
      rows.append(", priority ").append(std::to_string(static_cast<int>(task.priority)));
      if (task.timeout > 0) rows.append(", timeout ").append(std::to_string(task.timeout));
    }
    say("submit", first, rows);
    oracle_.submit(batch);
    require(index(scheduler_.submit(given, now_, settled_)) == first, "the first id");
    compare();
  }
  void submit_wrong(Submission given, std::vector<std::int64_t> indices) {
    say("submit a wrong batch");
    std::size_t row = 0;
    while (given.indptr[row + 1] == 0) ++row;
    const bool circular = choices_.one_in(2);
    indices[0] = circular ? ~static_cast<std::int64_t>(row) : 9999;
    given.indices = indices;
    bool refused = false;
    try {
      scheduler_.submit(given, now_, settled_);
    } catch (const CycleError&) {
      refused = circular;
    } catch (const std::out_of_range&) {
      refused = !circular;
    }
    require(refused, "the refusal of a wrong batch");
    compare();
  }

  void take() {
    const auto lane = static_cast<Lane>(choices_.one_in(3) ? choices_.below(kLanes) : 0);
    const std::size_t most = 1 + choices_.below(4);
    take(lane, most);
  }
  std::size_t take(Lane lane, std::size_t most) {
    say("take", static_cast<int>(lane), most, "at", now_);
    begin();
    const std::uint32_t worker = static_cast<std::uint32_t>(most) * 7;
    const std::vector<std::size_t> expected = oracle_.take(lane, worker, most);
    std::vector<Start> out(most);
    out.resize(scheduler_.take(lane, worker, out, now_));
    std::vector<std::size_t> started;
    for (const Start& start : out) started.push_back(index(start.task));
    if (started != expected) differ("started " + listed(started) + ", and the oracle says " + listed(expected));
    for (const Start& start : out) {
      require(start.attempt == oracle_.tasks[index(start.task)].attempt, "the attempt of a start");
      require(start.lease == out.front().lease, "the lease of a take");
      hand_.push_back({index(start.task), start.attempt, start.lease, now_});
    }
    if (!out.empty()) {
      require(!oracle_.leases.contains(static_cast<std::uint32_t>(out.front().lease)), "a lease that is open already");
      oracle_.open(out.front().lease, oracle_.tasks[started.front()].demand, started.size());
    }
    compare();
    return out.size();
  }

  std::optional<Report> a_report() {
    if (hand_.empty()) return std::nullopt;
    const std::size_t k = choices_.below(static_cast<std::uint32_t>(hand_.size()));
    const Hand hand = hand_[k];
    hand_.erase(hand_.begin() + static_cast<std::ptrdiff_t>(k));
    return Report{id(hand.task), hand.attempt, hand.lease, hand.started, now_};
  }
  void finish() {
    std::vector<Report> reports;
    for (std::uint32_t n = choices_.one_in(3) ? 1 + choices_.below(3) : 1; n > 0; --n) {
      const auto report = a_report();
      if (!report) continue;
      // Two attempts of one task in one call: a late one may be logged before the other's success. Not worth a rule.
      const bool again = std::any_of(reports.begin(), reports.end(), [&](const Report& other) { return other.task == report->task; });
      again ? hand_.push_back({index(report->task), report->attempt, report->lease, report->started}) : reports.push_back(*report);
    }
    finish(reports);
  }
  void finish(const std::vector<Report>& reports) {
    if (reports.empty()) return;
    std::vector<std::uint32_t> tasks;
    for (const Report& report : reports) tasks.push_back(index(report.task));
    say("finish", listed(tasks));
    begin();
    for (const Report& report : reports) oracle_.finish(report);
    const std::size_t ready = scheduler_.finish(reports, now_);
    require(ready == oracle_.became_ready, "how many tasks became ready");
    compare();
  }

  void fail() {
    const auto report = a_report();
    if (!report) return;
    const std::uint32_t wait = choices_.below(5);
    const Instant retry_at = wait == 4 ? kNever : now_ + wait;
    const auto cause = static_cast<Cause>(1 + choices_.below(4));
    if (!choices_.one_in(4)) return fail(*report, cause, retry_at);
    Demand other = oracle_.tasks[index(report->task)].demand;
    other[kMemory] = static_cast<Amount>(choices_.below(7));
    fail(*report, cause, retry_at, &other);
  }
  void fail(const Report& report, Cause cause, Instant retry_at, const Demand* other = nullptr) {
    if (other != nullptr) say("with another demand of memory", (*other)[kMemory]);
    say("fail", index(report.task), retry_at == kNever ? "for good" : "until", retry_at);
    begin();
    const ShapeId shape = other == nullptr ? kSameShape : scheduler_.shape(*other, oracle_.tasks[index(report.task)].lane);
    const bool expected = oracle_.fail(report, cause, retry_at, other);
    require(scheduler_.fail(report, cause, retry_at, now_, settled_, shape) == expected, "whether a failure counts");
    compare();
  }

  void defer() {
    const auto report = a_report();
    if (!report) return;
    std::vector<std::size_t> children;
    for (std::uint32_t n = choices_.below(4); n > 0; --n) children.push_back(a_task());
    std::erase_if(children, [&](std::size_t child) { return released_.contains(child); });
    say("defer", index(report->task), "to", listed(children));
    begin();
    const std::vector<TaskId> given = ids(children);
    if (oracle_.current(index(report->task), report->attempt) && oracle_.circular(index(report->task), children)) {
      bool refused = false;
      try {
        scheduler_.defer(*report, given, now_, settled_);
      } catch (const CycleError&) {
        refused = true;
      }
      require(refused, "the refusal of a cycle");
      hand_.push_back({index(report->task), report->attempt, report->lease, report->started});
    } else {
      const bool expected = oracle_.defer(*report, children);
      require(scheduler_.defer(*report, given, now_, settled_) == expected, "whether a deferral counts");
    }
    compare();
  }

  void cancel() {
    if (oracle_.tasks.empty()) return;
    std::vector<std::size_t> which;
    for (std::uint32_t n = 1 + choices_.below(2); n > 0; --n) which.push_back(a_task());
    const Cause cause = std::array{Cause::cancelled, Cause::skipped, Cause::timeout}[choices_.below(3)];
    say("cancel", listed(which), std::string(name(cause)));
    begin();
    const auto expected = oracle_.cancel(which, cause);
    std::vector<Start> running;
    scheduler_.cancel(ids(which), cause, now_, running, settled_);
    std::vector<std::pair<std::size_t, Attempt>> got;
    for (const Start& start : running) got.emplace_back(index(start.task), start.attempt);
    require(got == expected, "the attempts that a cancel ends");
    compare();
  }

  void rerank() {
    if (oracle_.tasks.empty()) return;
    const std::size_t task = a_task();
    if (released_.contains(task)) return;
    const double priority = a_priority();
    say("rerank", task, static_cast<int>(priority));
    begin();
    oracle_.rerank(task, priority);
    const TaskId given = id(task);
    scheduler_.rerank({&given, 1}, {&priority, 1}, now_);
    compare();
  }

  void set_capacity(int resource, Amount amount) {
    say("set_capacity", resource, amount);
    begin();
    oracle_.set_capacity(resource, amount);
    scheduler_.set_capacity(resource, amount, now_);
    compare();
  }
  void change_capacity() {
    const int resource = choices_.one_in(2) ? kMemory : kCpu;
    set_capacity(resource, choices_.one_in(8) ? kUnlimited : static_cast<Amount>(choices_.below(7)));
  }

  void expire() {
    say("expire at", now_);
    begin();
    const auto expected = oracle_.expire();
    std::vector<Overdue> out;
    scheduler_.expire(now_, out);
    std::set<std::pair<std::size_t, Attempt>> overdue;
    for (const Overdue& o : out) overdue.emplace(index(o.task), o.attempt);
    require(overdue == expected && out.size() == expected.size(), "the attempts that are overdue");
    compare();
    for (const auto& [task, attempt] : expected) {  // what a driver does; the executor's own report comes late
      if (choices_.one_in(3)) continue;
      fail({id(task), attempt, kNoLease, now_, now_}, Cause::timeout, choices_.one_in(3) ? kNever : now_);
      if (choices_.one_in(2)) take(oracle_.tasks[task].lane, 1);
    }
  }

  void split() {
    if (hand_.empty()) return;
    Hand& hand = hand_[choices_.below(static_cast<std::uint32_t>(hand_.size()))];
    say("split", hand.task);
    begin();
    const bool expected = oracle_.split(hand.task, hand.attempt, hand.lease, 3);
    const auto moved = scheduler_.split({id(hand.task), hand.attempt, hand.lease, 0}, 3, now_);
    require(moved.has_value() == expected, "whether a start can be split off");
    if (moved) {
      require(!oracle_.leases.contains(static_cast<std::uint32_t>(moved->lease)), "a lease that is open already");
      oracle_.open(moved->lease, oracle_.tasks[hand.task].demand, 1);
      hand.lease = moved->lease;
    }
    compare();
  }

  void suspend() {
    if (hand_.empty()) return;
    const Hand& hand = hand_[choices_.below(static_cast<std::uint32_t>(hand_.size()))];
    say("suspend", hand.task);
    begin();
    const bool expected = oracle_.suspend(hand.task, hand.attempt, hand.lease);
    require(scheduler_.suspend({id(hand.task), hand.attempt, hand.lease, 0}, now_) == expected, "whether an attempt can be suspended");
    compare();
  }

  void proceed() {
    if (hand_.empty()) return;
    const Hand& hand = hand_[choices_.below(static_cast<std::uint32_t>(hand_.size()))];
    say("proceed", hand.task);
    begin();
    const bool expected = oracle_.proceed(hand.task, hand.attempt);
    require(scheduler_.proceed({id(hand.task), hand.attempt, hand.lease, 0}, now_) == expected, "whether an attempt goes on");
    compare();
  }

  // The caller will not name them again, whatever becomes of them; the oracle keeps all that it knows.
  void release() {
    if (oracle_.tasks.empty()) return;
    const std::size_t first = a_task();
    const std::size_t last = std::min<std::size_t>(first + 1 + choices_.below(12), oracle_.tasks.size());
    std::vector<TaskId> given;
    for (std::size_t task = first; task < last; ++task) {
      released_.insert(task);
      given.push_back(id(task));
    }
    say("release", first, "to", last - 1);
    begin();
    scheduler_.release(given);
    compare();
  }

  void set_policy() {
    oracle_.weight = choices_.one_in(3) ? -1 : choices_.one_in(3) ? 0 : 1;
    say("set_policy", static_cast<int>(oracle_.weight));
    begin();
    Policy policy;
    policy.weights.priority = oracle_.weight;
    policy.priority_raw = true;
    scheduler_.set_policy(policy, now_);
    oracle_.events[index(kNoTask)].push_back({now_, ++policies_, index(kNoTask), 0, 0, EventKind::policy_changed, Cause::none, State::waiting, kEventVersion});
    compare();
  }

  void pause(bool to) {
    say(to ? "pause" : "resume");
    begin();
    oracle_.set_paused(to);
    to ? scheduler_.pause(now_) : scheduler_.resume(now_);
    compare();
  }

  void guard(bool to) {
    say(to ? "close the guard" : "open the guard");
    begin();
    oracle_.set_guarded(to, 7);
    scheduler_.guard(to, 7, now_);
    compare();
  }

  void seldom() {
    switch (choices_.below(7)) {
      case 0: return pause(true);
      case 1: return pause(false);
      case 2: return set_policy();
      case 3: return split();
      case 4: return guard(true);
      case 5: return guard(false);
      default: return compare_reasons();
    }
  }

  // Everything that can run runs to its end; then nothing is held and nothing is left out.
  void wind_up() {
    pause(false);
    guard(false);
    set_capacity(kCpu, kUnlimited);
    set_capacity(kMemory, kUnlimited);
    for (bool more = true; more;) {
      now_ += 10;
      more = false;
      for (int lane = 0; lane < kLanes; ++lane) more = take(static_cast<Lane>(lane), 8) > 0 || more;
      more = more || !hand_.empty();
      for (const Hand& hand : std::exchange(hand_, {})) finish({{id(hand.task), hand.attempt, hand.lease, hand.started, now_}});
    }
    require(scheduler_.unfinished() == 0, "the end: some tasks can never start");
    require(scheduler_.ledger().held(kCpu) == 0 && scheduler_.ledger().held(kMemory) == 0, "the end: something is still held");
  }

  Choices& choices_;
  Scheduler scheduler_;
  Oracle oracle_;
  std::vector<Hand> hand_;
  std::set<std::size_t> released_;
  std::vector<TaskId> settled_;
  std::string trace_;
  std::uint64_t read_ = 0;
  std::int64_t policies_ = 0;
  Instant now_ = 0;
};

}  // namespace penstock::test

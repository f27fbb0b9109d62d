// Scheduler: the one door through which task state changes.
//
// What it is: the composition of readiness (who waits for whom), one priority heap per demand shape (what is
// ready, most urgent first), the ledger (what is free) and the event log (what happened). A driver, the runtime
// or the simulator, calls the verbs; the scheduler calls nobody, reads no clock and starts no thread.
//
// When not to use it: for a plain queue (PriorityHeap) or a plain topological order (Readiness).
//
// Progress: `finish` takes no lock: it is a CAS on the task's word, the ledger's and readiness's atomics, pushes
// into lock-free heaps and appends to the lock-free log. All other verbs share one mutex, because admission
// compares the heads of all shapes with one ledger and that is a decision for the whole machine. A thread
// parked inside `finish` blocks nobody; one parked inside `take` blocks other takes, never a finish.
//
// Order: for the same calls in the same order it does the same thing. Among equals, submission order.
//
// Leases: one `take` hands out tasks of one shape under one lease: one acquisition of that shape's demand,
// for a run of tasks that their worker executes one after another. The executor reports every attempt it was
// given exactly once, and the lease ends with the last report, whatever became of the tasks in between
// (timed out, cancelled): a thread that overruns its timeout still holds the CPU, so its amounts stay held.
//
// Standing still: `suspend` takes CPU, disk and network from a running attempt, which keeps its memory and all else, and
// `proceed` gives them back once they are there. Until then its place in the order is kept: what ranks behind it starts
// only if that leaves it room. A suspended attempt's timeout stands still too.
//
// Letting go: a scheduler keeps what it knows of a task, 56 bytes and 4 to 8 an edge, unless `release` is called for it.
// Memory goes back a block of 4096 tasks at a time (blocks.hpp), once all of them are released; of such a block only
// how its tasks ended is kept, in 8 bytes when all have succeeded, else in two bits a task.
//
// Invariants, and what checks them:
//   I1  a state changes only along transitions.hpp                         every change goes through `move`
//   I2  an attempt starts at most once and ends at most once               CAS on the word {attempt, cause, state}
//   I3  held == sum of what open leases hold: their demands, of the       `check()`
//       suspended ones without what `suspend` gives back
//   I4  a task is started only after all that it needs                     `Readiness`
//   I5  unfinished == number of tasks whose state is not final             `check()`
//   I6  a ready task is queued in its shape's heap, or its pusher is on the way to it
//   I7  with the guard closed a task starts only when no attempt runs      `take`; test_protection.cpp
//   I8  a released task has ended, is in no heap, has been told to all     `let_go`; test_release.cpp, test_scheduler_oracle.cpp
//       successors and heard of all predecessors
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "penstock/blocks.hpp"
#include "penstock/chunked_table.hpp"
#include "penstock/event_log.hpp"
#include "penstock/ledger.hpp"
#include "penstock/priority_heap.hpp"
#include "penstock/ranking.hpp"
#include "penstock/readiness.hpp"
#include "penstock/transitions.hpp"
#include "penstock/types.hpp"

namespace penstock {

inline constexpr LeaseId kNoLease{UINT32_MAX};
inline constexpr TaskId kNoTask{UINT32_MAX};

/// The last resource index counts the worker slots of the threads lane, so that a free worker is one more thing
/// a thread task must get, like a core or a byte. It has no name for users.
inline constexpr int kThreadSlots = kMaxResources - 1;

/// What a suspended attempt gives back: what a process that stands still does not use. The rest it keeps.
inline constexpr std::array<int, 3> kYielded{kCpu, kDisk, kNetwork};

inline constexpr ShapeId kSameShape{UINT32_MAX};

/// A batch of tasks, as arrays. An array of length 1 holds for all; an empty one means the default.
struct Submission {
  std::size_t count = 0;
  std::span<const std::int64_t> indptr;    // count + 1 row starts into `indices`; empty: no dependencies
  std::span<const std::int64_t> indices;   // >= 0: an earlier task's id; ~k: the k-th task of this batch
  std::span<const ShapeId> shape;          // from `shape()`
  std::span<const double> priority;        // smaller is more urgent; default 0
  std::span<const Instant> expected;       // expected run time in ns; 0: unknown
  std::span<const Instant> deadline;       // instant on the driver's clock; kNever: none
  std::span<const Instant> timeout;        // longest run time of one attempt in ns; 0: none
  std::span<const std::uint32_t> place;    // in the plan, each of 0 .. count - 1 once, each after its predecessors
  std::span<const std::uint8_t> tolerant;  // 1: runs once all predecessors have ended and one has succeeded
  std::span<const std::uint8_t> forgiven;  // 1: what depends on it runs though it fails, or fails to run
};

/// One attempt handed to an executor.
struct Start {
  TaskId task;
  Attempt attempt;
  LeaseId lease;
  std::uint64_t devices;  // bit d: device d is this lease's
};

/// The end of one attempt, as its executor saw it.
struct Report {
  TaskId task;
  Attempt attempt;
  LeaseId lease;  // kNoLease: the executor has not let go yet (a timeout); its own report follows
  Instant started;
  Instant finished;
};

/// An attempt whose time ran out, still running: the driver ends it and decides about a retry.
struct Overdue {
  TaskId task;
  Attempt attempt;
  Lane lane;
};

/// Why a task is not running.
struct Explanation {
  State state;
  Cause cause;
  Attempt attempt;
  std::uint32_t unmet;       // predecessors still to come
  Instant retry_at;          // in backoff: when the next attempt may start
  bool paused;               // the whole run is paused
  bool guarded;              // the guard is closed, and another attempt runs
  bool suspended;            // it is running, but stands still
  int lacking;               // first resource that does not fit now; -1: none
  Amount demanded, free, capacity;  // of that resource
  TaskId reserved_for;       // a wide task that others stand back for; kNoTask: none
  TaskId after;              // the task that comes first in the plan and has not started; kNoTask: none holds it up
  std::uint64_t ahead;       // queued tasks of the same shape; a hint, not a position
};

class Scheduler {
 public:
  /// `devices`: GPUs in the ledger. The policy is `fifo` until `set_policy`.
  explicit Scheduler(int devices = 0);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// The shape of a demand on a lane; the same demand, lane and family give the same shape. A family is a number of
  /// the driver's for tasks whose demand may be learned while they wait, see `set_demand`; 0: none. Throws
  /// std::length_error past kMaxShapes.
  ShapeId shape(const Demand& demand, Lane lane, std::uint32_t family = 0);

  /// Adds a batch and returns its first id; the others follow it. `settled` receives tasks that ended at once
  /// because a predecessor had failed. Throws CycleError, std::invalid_argument or std::out_of_range before
  /// anything is changed.
  TaskId submit(const Submission& batch, Instant now, std::vector<TaskId>& settled);

  /// Starts the most urgent tasks of `lane` that fit, all of one shape under one lease; returns how many.
  std::size_t take(Lane lane, std::uint32_t worker, std::span<Start> out, Instant now);

  /// Moves a start that its worker has not begun to a lease of its own, for another worker. Nothing when its
  /// demand does not fit a second time, or the attempt is suspended.
  std::optional<Start> split(const Start& start, std::uint32_t worker, Instant now);

  /// Reports successes. Returns how many tasks became ready.
  std::size_t finish(std::span<const Report> reports, Instant now);

  /// Reports a failure: another attempt from `retry_at` on, or, with kNever, the end of the task and of what
  /// depends on it. `shape`: what the other attempt asks for, on the task's lane, when it is to be something else. Returns
  /// false for a late report. `settled` receives every task that ended.
  bool fail(const Report& report, Cause cause, Instant retry_at, Instant now, std::vector<TaskId>& settled,
            ShapeId shape = kSameShape);

  /// Takes CPU, disk and network back from a running attempt that its driver has stopped. False, and nothing changed, when
  /// it has ended, is suspended already, or shares its lease with others.
  bool suspend(const Start& start, Instant now);

  /// Gives a suspended attempt back what it yielded, if that is free and nothing before it in the order would start on
  /// it; the driver then lets it go on. False, and nothing changed, otherwise.
  bool proceed(const Start& start, Instant now);

  /// A running task waits for `children` and then starts again. Throws CycleError (task ids) when one of them
  /// waits for the task itself. Returns false for a late report.
  bool defer(const Report& report, std::span<const TaskId> children, Instant now, std::vector<TaskId>& settled);

  /// Ends tasks that have not ended; cause cancelled or skipped, or timeout for a task whose time is over whether an
  /// attempt of it runs or not: it has failed. `running` receives the attempts that their executors should end.
  /// Dependants end too: skipped ones as skipped, others as upstream_failed.
  void cancel(std::span<const TaskId> tasks, Cause cause, Instant now, std::vector<Start>& running,
              std::vector<TaskId>& settled);

  /// New priorities, also for tasks that wait in a heap; tasks that have started or ended keep their place.
  void rerank(std::span<const TaskId> tasks, std::span<const double> priorities, Instant now);
  /// What is expected of tasks from now on, ns, one for each or one for all; 0: unknown. Reservations and, where the
  /// policy weighs them, longest paths and ranks follow, also of tasks that wait in a heap. A call walks all tasks and
  /// keeps a few bytes until the run ends: tell of many tasks at once, and of changes that matter. Throws
  /// std::invalid_argument (lengths, a negative run time) and std::out_of_range before anything is changed.
  void expect(std::span<const TaskId> tasks, std::span<const Instant> expected, Instant now);
  /// Longest paths count again in the place of the plan's order, as `expect` has them, also for tasks that wait in a heap.
  /// Returns false, and changes nothing, where there is no plan or the policy is one that keeps to it.
  bool forget_plan();
  void set_policy(const Policy& policy, Instant now);
  void set_capacity(int resource, Amount amount, Instant now);
  /// From now on a start of the family takes `demand`, whatever its shapes were made with; what runs holds what it took.
  /// Ranks stay as they are: all of a shape change alike. Throws std::out_of_range for family 0.
  void set_demand(std::uint32_t family, const Demand& demand, Instant now);
  void set_device_capacity(int device, Amount share, Amount memory, Instant now);
  void pause(Instant now);
  void resume(Instant now);
  /// While closed, a task starts only when no attempt runs (suspended ones aside): then it has what memory there is, and a
  /// machine that others fill stops no run for ever. `used`: for the log.
  void guard(bool closed, Amount used, Instant now);

  /// Lets go of tasks whose memory may be used for something else once they have ended: the caller will not name them again.
  /// Who does all the same is told how they ended by `state`, and otherwise 0 or none; verbs leave them alone.
  /// A call retries those that earlier ones could not let go yet. Throws std::out_of_range before anything is changed.
  void release(std::span<const TaskId> tasks);

  /// Attempts whose timeout has passed; each is told once.
  void expire(Instant now, std::vector<Overdue>& out);

  /// The next instant at which `take` or `expire` may have something to do without another verb being called.
  Instant next_wakeup() const { return next_wakeup_.load(std::memory_order_seq_cst); }

  Explanation explain(TaskId task, Instant now);

  /// The first task of each shape that is ready and does not fit, the most urgent first.
  std::vector<TaskId> blocked(Instant now);
  /// What the next start of a task takes.
  Demand demand(TaskId task) const;

  /// Tasks in one of these states, none of which is final, in order of their ids. A hint while others run.
  std::vector<TaskId> open_tasks(std::span<const State> states) const;

  State state(TaskId task) const;
  Cause cause(TaskId task) const;
  Attempt attempt(TaskId task) const;
  double priority(TaskId task) const;
  std::size_t size() const { return count_.load(std::memory_order_seq_cst); }
  std::size_t unfinished() const { return unfinished_.load(std::memory_order_seq_cst); }
  std::uint64_t late_reports() const { return late_reports_.load(std::memory_order_relaxed); }  // a statistic, orders nothing
  /// Whether a take on the lane would find something that fits, reservations aside. For waking a sleeper, not for
  /// deciding.
  bool startable(Lane lane) const;
  /// Whether tasks start in the order of a plan, so that one start may allow another on any lane.
  bool in_order() const;
  /// Tasks queued on a lane, a hint while others run.
  std::size_t queued(Lane lane) const;
  /// The most that was held at once of cpu, memory, disk or network since the last call. A use measured over a window is
  /// compared with it: what is held at the instant of looking may be between two tasks. Throws std::out_of_range.
  Amount take_peak_held(int resource);
  const Ledger& ledger() const { return ledger_; }
  const Readiness& readiness() const { return readiness_; }
  EventLog& log() { return log_; }
  const EventLog& log() const { return log_; }

  /// Checks I3 and I5 at rest; throws std::logic_error naming the breach.
  void check() const;

 private:
  static constexpr std::size_t kMaxShapes = 4096;  // as many as Record has bits for

  struct Record;
  struct Extra;
  struct Shape;
  struct PolicyState;
  struct Lease;
  struct Timer;
  struct Suspended;
  struct Block;
  struct Ends;
  struct Head;
  struct Shadow;

  Record& record(TaskId task) const;
  TaskId checked(TaskId task) const;
  static Event event(EventKind kind, Instant now, TaskId task, Attempt attempt, std::uint32_t worker,
                     std::int64_t value, Cause cause, State state);
  void log(EventKind kind, Instant now, TaskId task, Attempt attempt, std::uint32_t worker, std::int64_t value,
           Cause cause, State state);
  static bool move(Record& record, std::uint64_t expected, State to, Cause cause);
  bool is_missed(TaskId ended) const;

  ShapeId shape_locked(const Demand& demand, Lane lane, bool deadline, bool timeout, std::uint32_t family);
  void note_peak(const Demand& demand);
  bool takes_from(const std::array<Amount, kYielded.size()>& owed, const Demand& demand, const Demand& spoken) const;
  void reshape(Record& record, ShapeId shape);
  void enrol(std::size_t first, const Submission& batch, Instant now);
  void enrol_plain(std::size_t first, const Submission& batch, ShapeId shape, Instant now);
  void enrol_each(std::size_t first, const Submission& batch, ShapeId free_shape, Instant now);
  void level(std::size_t first, const Submission& batch);
  void follow_plan();
  void relevel();
  void rank_by(const Policy& policy);
  Extra& extra_of(Record& record);
  Rank rank_of(const PolicyState& policy, TaskId task, const Record& record, double priority) const;
  double dominant_share(const Demand& demand) const;
  bool mark_ready(TaskId task);
  void enqueue(std::span<const TaskId> tasks, Instant now);
  std::size_t enqueue_freed(std::span<TaskId> freed, Instant now);
  void requeue_if_changed(TaskId task, const PolicyState* policy, double priority);
  void make_ready(TaskId task, Instant now);
  void admit(std::span<const TaskId> ready, Instant now, std::vector<TaskId>& settled);

  void late(const Report& report, Cause cause, Instant now);
  void settle(TaskId task, Attempt attempt, State state, Cause cause, Instant now, std::vector<TaskId>& settled);
  bool end_for_upstream(TaskId task, Cause upstream, Instant now, std::vector<TaskId>& settled);
  bool judge_tolerant(TaskId task, Instant now, std::vector<TaskId>& settled);
  void lost_predecessor(TaskId task, Cause upstream, Instant now, std::vector<TaskId>& settled);
  void cascade(TaskId task, Cause upstream, Instant now, std::vector<TaskId>& settled);

  bool held_back() const;
  void gather_heads(Instant now);
  void gather_suspended();
  double value_now(const Policy& policy, const Head& head, Instant now) const;
  std::size_t start_from(const Head& head, const Head* next, Grant grant, std::uint32_t worker, std::span<Start> out,
                         Instant now);
  static std::size_t pop_first_then(PriorityHeap& heap, std::span<PriorityHeap::Entry> out,
                                    const PriorityHeap::Key& before);
  LeaseId open_lease(ShapeId shape, Grant grant, Instant now);
  void end_lease_shares(LeaseId lease, std::uint32_t count);
  Demand held_by(const Lease& lease) const;
  static Demand yielded(const Demand& demand);
  std::optional<Shadow> reservation_for(const Head& head, Instant now);
  Shadow shadow_of(TaskId task, const Demand& demand) const;
  bool is_planned(TaskId task) const {
    const std::uint64_t range = planned_.load(std::memory_order_seq_cst);
    return index(task) >= range >> 32 && index(task) < (range & UINT32_MAX);
  }
  TaskId next_in_plan() const;
  bool overtakes(TaskId task) const;
  bool leaves_room(const Head& head, const Shadow& shadow, Instant now) const;
  void arm(std::vector<Timer>& timers, Timer timer);
  bool is_live(const Timer& timer, State state) const;
  void run_timers(Instant now);
  void update_wakeup();

  bool is_retired(TaskId task) const;
  State end_of(TaskId task) const;
  bool let_go(TaskId task);
  bool has_been_queued(TaskId task);
  void retire(std::size_t block);
  template <class F>
  void for_kept(F&& visit) const;

  mutable std::mutex mutex_;  // guards everything below that is not atomic and not said to be otherwise
  EventLog log_;              // lock-free
  Ledger ledger_;             // lock-free
  Readiness readiness_;       // completions lock-free, growth under mutex_
  Tickets tickets_;           // lock-free
  ChunkedTable<Record> records_;
  ChunkedTable<Extra> extras_;  // what few tasks have; the entry at 0 stands for "nothing special"
  std::size_t extra_count_ = 1;
  std::vector<std::uint32_t> free_extras_;  // those of released tasks
  ChunkedTable<Block, 4> blocks_;           // as far as tasks have been released
  std::vector<std::unique_ptr<Ends>> ends_;
  std::deque<TaskId> kept_back_;            // to be released as soon as they can be
  std::unordered_map<TaskId, std::uint32_t> to_be_queued_;  // cancelled before they were; the versions of their tickets then
  std::array<std::atomic<Shape*>, kMaxShapes> shapes_{};  // for reading without the lock
  std::vector<std::unique_ptr<Shape>> shape_owners_;
  std::atomic<const PolicyState*> policy_{nullptr};
  std::vector<std::unique_ptr<PolicyState>> policy_owners_;  // old ones stay: a `finish` may still read them
  ChunkedTable<Lease> leases_;
  std::size_t lease_count_ = 0;
  std::vector<LeaseId> open_leases_, free_leases_;
  std::vector<Timer> timers_;    // heap of backoffs, earliest first
  std::vector<Timer> timeouts_;  // heap of attempts' ends, earliest first
  std::vector<Suspended> suspended_;
  std::vector<Head> heads_;      // scratch of take
  std::vector<PriorityHeap::Entry> popped_;   // scratch of take
  std::vector<PriorityHeap::Entry> entries_;  // scratch of submit
  std::vector<Event> events_;                 // scratch of submit and take
  std::vector<TaskId> ready_;                 // scratch of submit
  Instant epoch_ = 0;  // of the first submission; written before anything is ranked
  std::array<Amount, kGpu> peak_held_{};  // since take_peak_held
  std::vector<TaskId> plan_;          // of the one batch that came with places, whose ids follow each other; by place
  std::atomic<std::uint64_t> planned_{0};  // that batch's first id in the high half, the id after its last in the low
  double plan_scale_ = 1.0;           // level of its first task
  mutable std::size_t plan_at_ = 0;   // those before it have started, or ended without
  TaskId reserved_ = kNoTask;
  Instant reserved_since_ = 0;
  bool paused_ = false;
  bool guarded_ = false;
  std::atomic<Instant> next_wakeup_{kNever};
  std::atomic<std::size_t> count_{0};
  std::atomic<std::size_t> unfinished_{0};
  std::atomic<std::uint64_t> late_reports_{0};
  std::atomic<double> longest_{1.0};  // the longest bottom level so far; scales the critical-path feature
};

}  // namespace penstock

// Door: the core scheduler with what a driver needs around it: a clock for calls that name no instant, and bells
// for those who sleep. No decisions here.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "doorbell.hpp"
#include "penstock/scheduler.hpp"

namespace penstock::bindings {

/// An event log and the bell of those who read it. Shared, so that a reader may outlive the run.
struct WatchedLog {
  explicit WatchedLog(std::shared_ptr<EventLog> log_) : log(std::move(log_)) {}
  std::shared_ptr<EventLog> log;
  Doorbell bell;   // rung by appends
  Doorbell quiet;  // rung by close only: where a reader lets a burst gather
  std::atomic<bool> closed{false};

  void appended() {
    if (bell.sleepers() > 0) bell.ring_all();
  }
};

class Door {
 public:
  explicit Door(int devices)
      : core_(std::make_shared<Scheduler>(devices)),
        log_(std::make_shared<WatchedLog>(std::shared_ptr<EventLog>(core_, &core_->log()))) {}

  Scheduler& core() { return *core_; }
  const std::shared_ptr<WatchedLog>& log() const { return log_; }
  Doorbell workers;  // threads-lane workers
  Doorbell control;  // the thread that feeds other lanes, keeps timers and sees the end
  // How many want to hear when nothing is unfinished. Who begins to want it rings the control thread, which looks.
  std::atomic<int> idle_wanted{0};
  // Whether the control thread looks after whatever has become ready or free, on any lane: where it may make room for it.
  std::atomic<bool> tell_all{false};
  // Set by a thread that has submitted a single task and goes on in Python, cleared when it begins to look for the end
  // of one: a worker had better not ask for the GIL in between. Advice only.
  std::atomic<bool> host_busy{false};

  TaskId submit(const Submission& batch, Instant now, std::vector<TaskId>& settled) {
    const Instant wakeup = core_->next_wakeup();
    const TaskId first = core_->submit(batch, now, settled);
    batch.count > 1 ? workers.ring_all() : workers.ring_one();
    if (other_lanes() || core_->unfinished() == 0 || core_->next_wakeup() < wakeup || tells_all()) control.ring_all();
    log_->appended();
    return first;
  }

  std::size_t take(Lane lane, std::uint32_t worker, std::span<Start> out, Instant now) {
    const Instant wakeup = core_->next_wakeup();
    const std::size_t n = core_->take(lane, worker, out, now);
    // Pass it on: if there is more, the next sleeper looks for itself. A worker that got nothing wakes nobody, or
    // two of them would wake each other for ever; the control thread may, since its take also ends backoffs.
    if (n > 0 || lane != Lane::threads) wake_worker();
    if (lane == Lane::threads && core_->next_wakeup() < wakeup) control.ring_all();
    if (lane == Lane::threads && n > 0 && core_->in_order() && other_lanes()) control.ring_all();
    if (n > 0) log_->appended();
    return n;
  }

  std::size_t finish(std::span<const Report> reports, Instant now) {
    const std::size_t ready = core_->finish(reports, now);
    wake_worker();
    if (other_lanes() || tells_all() || (core_->unfinished() == 0 && idle_wanted.load(std::memory_order_seq_cst) > 0)) {
      control.ring_all();
    }
    log_->appended();
    return ready;
  }

  /// After any other verb: everyone may look again.
  void changed() {
    workers.ring_all();
    control.ring_all();
    log_->appended();
  }

  /// A sleeper is woken only for something that it could start: a worker that wakes in vain costs the others the GIL.
  void wake_worker() {
    if (workers.sleepers() > 0 && core_->startable(Lane::threads)) workers.ring_one();
  }

  // relaxed: set once, before the first task is submitted.
  bool tells_all() const { return tell_all.load(std::memory_order_relaxed); }

  bool other_lanes() const {
    return core_->queued(Lane::processes) > 0 || core_->queued(Lane::commands) > 0;
  }

 private:
  std::shared_ptr<Scheduler> core_;
  std::shared_ptr<WatchedLog> log_;
};

}  // namespace penstock::bindings

// Watch: the tasks whose end somebody waits for, as workers ask after them: without the GIL, and for nothing when
// nobody waits. Who waits is kept in Python.
//
// A waiter adds the task first and looks at its state second; a worker ends the task first and asks here second. So one
// of the two sees the other: seq_cst on both sides, the count here and the task's word in the core.
#pragma once

#include <atomic>
#include <mutex>
#include <span>
#include <unordered_set>
#include <vector>

#include "penstock/scheduler.hpp"

namespace penstock::bindings {

class Watch {
 public:
  void add(std::uint32_t task) {
    const std::scoped_lock lock(mutex_);
    tasks_.insert(task);
    count_.store(tasks_.size(), std::memory_order_seq_cst);
  }
  void remove(std::uint32_t task) {
    const std::scoped_lock lock(mutex_);
    tasks_.erase(task);
    count_.store(tasks_.size(), std::memory_order_seq_cst);
  }

  /// Watched tasks that have ended: those among the reported ones, or, where few are watched, any.
  std::vector<std::uint32_t> ended(const Scheduler& core, std::span<const Report> reports) const {
    std::vector<std::uint32_t> found;
    if (count_.load(std::memory_order_seq_cst) == 0) return found;
    const std::scoped_lock lock(mutex_);
    if (tasks_.size() < reports.size()) {
      for (const std::uint32_t task : tasks_) {
        if (is_final(core.state(TaskId{task}))) found.push_back(task);
      }
    } else {
      for (const Report& report : reports) {
        if (tasks_.contains(index(report.task))) found.push_back(index(report.task));
      }
    }
    return found;
  }

 private:
  mutable std::mutex mutex_;  // never held while waiting for the GIL
  std::unordered_set<std::uint32_t> tasks_;
  std::atomic<std::size_t> count_{0};
};

}  // namespace penstock::bindings

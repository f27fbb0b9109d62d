// What the scheduler's tests share: a machine of a few cores, and verbs with fewer arguments.
#pragma once

#include <vector>

#include "penstock/scheduler.hpp"

namespace penstock::test {

inline constexpr Instant kSecond = 1'000'000'000;

inline std::size_t n(TaskId task) { return index(task); }
inline TaskId id(std::size_t task) { return TaskId{static_cast<std::uint32_t>(task)}; }

inline Demand cores(Amount milli, Amount memory = 0) {
  Demand demand;
  demand.amounts[kCpu] = milli;
  demand.amounts[kMemory] = memory;
  return demand;
}

inline Policy by_priority() {
  Policy policy;
  policy.weights.priority = 1;
  policy.priority_raw = true;
  return policy;
}

/// A scheduler of `milli` cores and `memory` bytes; everything else is unlimited.
struct Machine {
  explicit Machine(Amount milli, Amount memory = kUnlimited) {
    for (int r = 0; r < kMaxResources; ++r) {
      if (r != kGpu && r != kGpuMemory) scheduler.set_capacity(r, kUnlimited, 0);
    }
    scheduler.set_capacity(kCpu, milli, 0);
    scheduler.set_capacity(kMemory, memory, 0);
  }

  TaskId submit(const Demand& demand, double priority = 0, Lane lane = Lane::threads) {
    return submit(std::vector<std::vector<std::int64_t>>{{}}, demand, priority, lane);
  }

  /// One task for each entry, which lists its predecessors.
  TaskId submit(const std::vector<std::vector<std::int64_t>>& predecessors, const Demand& demand, double priority = 0,
                Lane lane = Lane::threads) {
    const ShapeId shape = scheduler.shape(demand, lane);
    std::vector<std::int64_t> indptr{0}, indices;
    for (const auto& row : predecessors) {
      indices.insert(indices.end(), row.begin(), row.end());
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
    extra.count = predecessors.size();
    extra.indptr = indptr;
    extra.indices = indices;
    extra.shape = {&shape, 1};
    extra.priority = {&priority, 1};
    const TaskId first = scheduler.submit(extra, now, settled);
    extra = {};
    return first;
  }

  /// What one take of one task gives, or nothing.
  std::vector<Start> take(std::size_t most = 1, Lane lane = Lane::threads) {
    std::vector<Start> out(most);
    out.resize(scheduler.take(lane, 0, out, now));
    return out;
  }

  std::size_t finish(const Start& start) {
    const Report report{start.task, start.attempt, start.lease, now, now};
    return scheduler.finish({&report, 1}, now);
  }

  bool fail(const Start& start, Instant retry_at = kNever, Cause cause = Cause::exception) {
    return scheduler.fail({start.task, start.attempt, start.lease, now, now}, cause, retry_at, now, settled);
  }

  std::vector<Start> cancel(TaskId task, Cause cause = Cause::cancelled) {
    std::vector<Start> running;
    scheduler.cancel({&task, 1}, cause, now, running, settled);
    return running;
  }

  std::size_t events(EventKind kind) {
    std::vector<Event> all(scheduler.log().size());
    all.resize(scheduler.log().read(0, all));
    std::size_t count = 0;
    for (const Event& event : all) count += event.kind == kind ? 1 : 0;
    return count;
  }

  Scheduler scheduler;
  Submission extra;  // columns for the next submit
  std::vector<TaskId> settled;
  Instant now = 0;
};

}  // namespace penstock::test

// What a scheduler that lives long lets go of: the memory of tasks that have ended and that nobody names any more.
#include <algorithm>
#include <memory>
#include <utility>

#include "penstock/scheduler.hpp"
#include "scheduler_state.hpp"

namespace penstock {

/// How a task of a retired block has ended.
State Scheduler::end_of(TaskId task) const {
  const std::uintptr_t end = blocks_[blocks::of(task)].end.load(std::memory_order_acquire);  // as in is_retired()
  return end == Block::kAllSucceeded ? State::succeeded : reinterpret_cast<const Ends*>(end)->of(blocks::place(task));
}

void Scheduler::release(std::span<const TaskId> tasks) {
  for (const TaskId task : tasks) checked(task);
  const std::scoped_lock lock(mutex_);
  // Those that could not go yet come again, some at a time, so that many of them make no call slow.
  std::size_t again = std::min(kept_back_.size(), 2 * tasks.size() + blocks::kTasks);
  for (; again > 0; --again) {
    const TaskId task = kept_back_.front();
    kept_back_.pop_front();
    if (!let_go(task)) kept_back_.push_back(task);
  }
  for (const TaskId task : tasks) {
    if (!let_go(task)) kept_back_.push_back(task);
  }
}

/// False when something may still come to the task: it has not ended, its end is being passed on, a predecessor has not
/// ended, or its entry is on the way into a heap.
bool Scheduler::let_go(TaskId task) {
  if (is_retired(task)) return true;
  Record& r = record(task);
  // acquire: pairs with the release in finish(), whose thread visits nothing of the task after it.
  const std::uint64_t seen = r.word.load(std::memory_order_acquire);
  if ((seen & word::kReleased) != 0) return true;
  const State state = word::state(seen);
  if (!is_final(state) || (state == State::succeeded && (seen & word::kPassedOn) == 0)) return false;
  if (!has_been_queued(task) || !readiness_.release(task)) return false;

  r.word.store(seen | word::kReleased, std::memory_order_relaxed);  // final, and passed on: the lock's alone
  if (r.extra != 0) free_extras_.push_back(r.extra);
  const std::size_t block = blocks::of(task);
  if (blocks_.size() <= block) blocks_.grow(block + 1);
  if (++blocks_[block].released == blocks::kTasks) retire(block);
  return true;
}

/// False for a task that was cancelled when it was ready and not queued, until its pusher has come by.
bool Scheduler::has_been_queued(TaskId task) {
  const auto late = to_be_queued_.find(task);
  if (late == to_be_queued_.end()) return true;
  if (Ticket{tickets_.word(task).load(std::memory_order_seq_cst)}.version() == late->second) return false;
  shapes_[record(task).shape()].load(std::memory_order_acquire)->heap.cancel(task);  // unless a `take` has
  to_be_queued_.erase(late);
  return true;
}

/// All tasks of the block have been released: only how they ended is kept.
///
/// Lock-free verbs may still hold one of its ids: a late report, a timer, a heap's old entry. Its words read as they were
/// or as zeros from now on. Both say that it stands in no queue and does not run, which is all that they ask; zeros also
/// say that it waits, and who would act on that asks is_retired() first.
void Scheduler::retire(std::size_t block) {
  const TaskId first = blocks::first(block);
  std::unique_ptr<Ends> ends;
  for (std::uint32_t k = 0; k < blocks::kTasks; ++k) {
    const State state = word::state(records_[index(first) + k].word.load(std::memory_order_relaxed));  // as in let_go()
    if (state == State::succeeded) continue;
    if (!ends) ends = std::make_unique<Ends>();
    ends->set(k, state);
  }
  std::uintptr_t end = Block::kAllSucceeded;
  if (ends) {
    end = reinterpret_cast<std::uintptr_t>(ends.get());
    ends_.push_back(std::move(ends));
  }
  blocks_[block].end.store(end, std::memory_order_release);
  readiness_.retire(block);
  tickets_.forget(first, blocks::kTasks);
  records_.forget(index(first), blocks::kTasks);
}

std::vector<TaskId> Scheduler::open_tasks(std::span<const State> states) const {
  std::vector<TaskId> found;
  for_kept([&](std::size_t first, std::size_t last) {
    for (; first < last; ++first) {
      const State state = word::state(records_[first].word.load(std::memory_order_seq_cst));
      if (std::find(states.begin(), states.end(), state) != states.end()) found.push_back(TaskId{static_cast<std::uint32_t>(first)});
    }
  });
  return found;
}

}  // namespace penstock

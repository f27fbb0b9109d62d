// The simulator's loop: from one instant at which something happens to the next.
#include "penstock/simulator.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>

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
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(values.size()) + " entries for " +
                                std::to_string(count) + " tasks; give one for each, one for all, or none");
  }
}

template <class T>
std::span<const T> part(std::span<const T> values, std::size_t first, std::size_t count) {
  return values.size() > 1 ? values.subspan(first, count) : values;
}

/// An attempt under way.
struct End {
  Instant at;
  std::uint64_t order;  // of its start: what ends together ends in this order
  Start start;
  Instant began;
  std::uint32_t worker;
  friend bool operator<(const End& a, const End& b) {  // std::push_heap builds a max-heap: the latest is "less"
    return a.at != b.at ? a.at > b.at : a.order > b.order;
  }
};

class Play {
 public:
  Play(Scheduler& scheduler, const Submission& batch, const World& world)
      : scheduler_(scheduler), batch_(batch), world_(world) {
    require();
    out_.started.assign(batch.count, -1);
    out_.finished.assign(batch.count, -1);
    out_.attempts.assign(batch.count, 0);
  }

  Outcome play(const std::function<void(Instant)>& told) {
    for (Instant now = next(); now != kNever; now = next()) {
      end(now);
      for (; changes_ < world_.capacity.size() && world_.capacity[changes_].at <= now; ++changes_) {
        const CapacityChange& change = world_.capacity[changes_];
        scheduler_.set_capacity(change.resource, change.amount, now);
      }
      arrive(now);
      if (told) told(now);
      start(now);
      if (scheduler_.unfinished() == 0 && arrived_ == batch_.count) break;  // what the machine does then is no matter
    }
    out_.stuck = scheduler_.unfinished();
    return std::move(out_);
  }

 private:
  void require() const {
    const std::size_t n = batch_.count;
    if (scheduler_.size() != 0) throw std::invalid_argument("the scheduler has tasks already; a simulation takes a new one");
    require_length(batch_.shape, n, "shape");
    require_length(batch_.priority, n, "priority");
    require_length(batch_.expected, n, "expected");
    require_length(batch_.deadline, n, "deadline");
    require_length(world_.duration, n, "duration");
    require_length(world_.arrival, n, "arrival");
    require_length(world_.failures, n, "failures");
    require_length(world_.retries, n, "retries");
    for (const Instant d : world_.duration) {
      if (d < 0) throw std::invalid_argument("a run time is " + std::to_string(d) + " ns; it must be 0 or more");
    }
    if (!std::is_sorted(world_.arrival.begin(), world_.arrival.end()) || (n > 0 && arrival(0) < 0)) {
      throw std::invalid_argument("arrivals must not decrease, and start at 0 or later; order the tasks by arrival");
    }
    if (!std::is_sorted(world_.capacity.begin(), world_.capacity.end(),
                        [](const CapacityChange& a, const CapacityChange& b) { return a.at < b.at; })) {
      throw std::invalid_argument("changes of capacity must be in the order of their instants");
    }
    if (!(world_.failed_share >= 0.0 && world_.failed_share <= 1.0)) {
      throw std::invalid_argument("failed_share is " + std::to_string(world_.failed_share) + "; it must be from 0 to 1");
    }
    if (world_.retry_wait < 0) throw std::invalid_argument("retry_wait is negative; it must be 0 or more");
  }

  [[nodiscard]] Instant arrival(std::size_t task) const { return at_or(world_.arrival, task, Instant{0}); }

  [[nodiscard]] Instant next() const {
    Instant next = scheduler_.next_wakeup();
    if (!ends_.empty()) next = std::min(next, ends_.front().at);
    if (changes_ < world_.capacity.size()) next = std::min(next, world_.capacity[changes_].at);
    if (arrived_ < batch_.count) next = std::min(next, arrival(arrived_));
    return next;
  }

  void end(Instant now) {
    while (!ends_.empty() && ends_.front().at <= now) {
      std::pop_heap(ends_.begin(), ends_.end());
      const End ended = ends_.back();
      ends_.pop_back();
      idle_.push_back(ended.worker);
      std::push_heap(idle_.begin(), idle_.end(), std::greater<>{});
      const std::size_t task = index(ended.start.task);
      const Report report{ended.start.task, ended.start.attempt, ended.start.lease, ended.began, now};
      out_.finished[task] = now;
      out_.makespan = std::max(out_.makespan, now);
      if (fails(ended.start)) {
        flush(now);
        const bool again = ended.start.attempt <= at_or(world_.retries, task, 0U);
        scheduler_.fail(report, Cause::exception, again ? now + world_.retry_wait : kNever, now, settled_);
      } else {
        reports_.push_back(report);
      }
    }
    flush(now);
  }

  void flush(Instant now) {
    scheduler_.finish(reports_, now);
    reports_.clear();
  }

  /// Submits the tasks that have come by now, as one batch.
  void arrive(Instant now) {
    const std::size_t first = arrived_;
    while (arrived_ < batch_.count && arrival(arrived_) <= now) ++arrived_;
    const std::size_t count = arrived_ - first;
    if (count == 0) return;
    Submission batch;
    std::vector<std::int64_t> indptr, indices;
    if (!batch_.indptr.empty()) {
      if (batch_.indptr.size() != batch_.count + 1) throw std::invalid_argument("indptr must have one entry more than there are tasks");
      indptr.reserve(count + 1);
      indptr.push_back(0);
      for (std::size_t k = first; k < arrived_; ++k) {
        for (auto e = static_cast<std::size_t>(batch_.indptr[k]); e < static_cast<std::size_t>(batch_.indptr[k + 1]); ++e) {
          if (e >= batch_.indices.size()) throw std::invalid_argument("indptr points past the end of indices");
          const std::int64_t before = batch_.indices[e];
          if (before >= static_cast<std::int64_t>(arrived_)) {
            throw std::invalid_argument("task " + std::to_string(k) + " waits for task " + std::to_string(before) +
                                        ", which arrives later; let it arrive no earlier");
          }
          const auto own = before - static_cast<std::int64_t>(first);
          indices.push_back(before >= 0 && own >= 0 ? ~own : before);
        }
        indptr.push_back(static_cast<std::int64_t>(indices.size()));
      }
    }
    batch.count = count;
    batch.indptr = indptr;
    batch.indices = indices;
    batch.shape = part(batch_.shape, first, count);
    batch.priority = part(batch_.priority, first, count);
    batch.expected = part(batch_.expected, first, count);
    batch.deadline = part(batch_.deadline, first, count);
    if (first == 0) batch.place = batch_.place;  // a plan is of what is there at the start
    scheduler_.submit(batch, now, settled_);
  }

  void start(Instant now) {
    Start start{};
    for (;;) {
      // The worker of an attempt is the first that is idle: who draws the schedule has as many rows as ran at once.
      const std::uint32_t worker = idle_.empty() ? workers_ : idle_.front();
      if (scheduler_.take(Lane::threads, worker, {&start, 1}, now) == 0) return;
      if (idle_.empty()) {
        ++workers_;
      } else {
        std::pop_heap(idle_.begin(), idle_.end(), std::greater<>{});
        idle_.pop_back();
      }
      const std::size_t task = index(start.task);
      out_.started[task] = now;
      out_.attempts[task] = start.attempt;
      Instant lasts = at_or(world_.duration, task, Instant{0});
      if (fails(start)) lasts = static_cast<Instant>(static_cast<double>(lasts) * world_.failed_share);
      ends_.push_back({now + lasts, started_++, start, now, worker});
      std::push_heap(ends_.begin(), ends_.end());
    }
  }

  [[nodiscard]] bool fails(const Start& start) const {
    return start.attempt <= at_or(world_.failures, index(start.task), 0U);
  }

  Scheduler& scheduler_;
  const Submission& batch_;
  const World& world_;
  std::vector<End> ends_;  // heap, earliest first
  std::vector<std::uint32_t> idle_;  // heap, first number first
  std::uint32_t workers_ = 0;
  std::vector<Report> reports_;
  std::vector<TaskId> settled_;
  std::size_t arrived_ = 0, changes_ = 0;
  std::uint64_t started_ = 0;
  Outcome out_;
};

}  // namespace

Outcome simulate(Scheduler& scheduler, const Submission& batch, const World& world,
                 const std::function<void(Instant)>& told) {
  return Play(scheduler, batch, world).play(told);
}

}  // namespace penstock

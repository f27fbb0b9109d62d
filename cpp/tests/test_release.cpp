// What a scheduler that lives long keeps of tasks that were released, and what becomes of their memory.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <span>
#include <thread>
#include <vector>

#include "penstock/blocks.hpp"
#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

/// Ids of the first block that can be retired.
std::vector<TaskId> a_block() {
  std::vector<TaskId> tasks;
  const std::size_t block = blocks::of(id(0)) == 0 ? 1 : blocks::of(id(0));
  for (std::uint64_t t = index(blocks::first(block)); t < blocks::end(block); ++t) tasks.push_back(id(t));
  return tasks;
}

/// As many tasks as it takes to have that block whole, all of them run.
void run_a_block(Machine& machine) {
  machine.submit(std::vector<std::vector<std::int64_t>>(n(a_block().back()) + 1), cores(1000));
  for (std::vector<Start> started; !(started = machine.take(64)).empty();) {
    for (const Start& start : started) machine.finish(start);
  }
}

}  // namespace

TEST_CASE("the state of a released task is known for ever, the rest only while its block is whole") {
  Machine machine(1000);
  run_a_block(machine);
  const std::vector<TaskId> block = a_block();
  machine.scheduler.release(std::span(block).first(block.size() - 1));
  CHECK(machine.scheduler.state(block.front()) == State::succeeded);
  CHECK(machine.scheduler.attempt(block.front()) == 1);
  machine.scheduler.release(std::span(block).last(1));
  for (const TaskId task : block) {
    CHECK(machine.scheduler.state(task) == State::succeeded);
    CHECK(machine.scheduler.explain(task, 0).state == State::succeeded);
  }
  machine.scheduler.check();
  CHECK(machine.scheduler.unfinished() == 0);
}

TEST_CASE("each of the four ends is kept, also when they are mixed") {
  Machine machine(1000);
  const std::vector<TaskId> block = a_block();
  const std::size_t count = n(block.back()) + 1;
  std::vector<std::vector<std::int64_t>> rows(count);
  for (std::size_t t = n(block.front()) + 1; t < count; t += 4) rows[t].push_back(~static_cast<std::int64_t>(t - 1));
  machine.submit(rows, cores(1000));
  std::vector<State> ends;
  for (std::vector<Start> started; !(started = machine.take()).empty();) {
    const std::size_t at = n(started.front().task);
    if (at % 4 == n(block.front()) % 4) {
      machine.fail(started.front());  // and the one behind it has lost it
    } else if (at % 4 == (n(block.front()) + 2) % 4) {
      machine.cancel(started.front().task);
      machine.finish(started.front());  // too late, but it frees the core
    } else {
      machine.finish(started.front());
    }
  }
  for (const TaskId task : block) ends.push_back(machine.scheduler.state(task));
  CHECK(ends[0] == State::failed);
  CHECK(ends[1] == State::upstream_failed);
  CHECK(ends[2] == State::cancelled);
  CHECK(ends[3] == State::succeeded);
  machine.scheduler.release(block);
  for (std::size_t k = 0; k < block.size(); ++k) REQUIRE(machine.scheduler.state(block[k]) == ends[k]);
  CHECK(machine.scheduler.attempt(block.front()) == 0);  // nothing else is known any more
  CHECK(machine.scheduler.unfinished() == 0);
}

TEST_CASE("a task that has not ended is let go once it has, at a later release") {
  Machine machine(1000);
  const std::vector<TaskId> block = a_block();
  machine.submit(std::vector<std::vector<std::int64_t>>(n(block.back()) + 1), cores(1000));
  machine.scheduler.release(block);
  CHECK(machine.scheduler.state(block.front()) == State::ready);
  for (std::vector<Start> started; !(started = machine.take(64)).empty();) {
    for (const Start& start : started) machine.finish(start);
  }
  CHECK(machine.scheduler.attempt(block.front()) == 1);
  machine.scheduler.release({});
  CHECK(machine.scheduler.attempt(block.front()) == 0);
  CHECK(machine.scheduler.state(block.front()) == State::succeeded);
  CHECK(machine.scheduler.open_tasks(std::array{State::waiting, State::ready, State::running}).empty());
}

TEST_CASE("a task that has ended stays while something it waited for has not: that one will still look at it") {
  Machine machine(2000);
  const std::vector<TaskId> block = a_block();
  const std::size_t count = n(block.back()) + 1;
  std::vector<std::vector<std::int64_t>> rows(count + 1);  // the last waits for one of the block, and one of the block for it
  rows[n(block[1])].push_back(~static_cast<std::int64_t>(count));
  machine.submit(rows, cores(1000));
  machine.cancel(block[1]);
  Start late{};
  for (std::vector<Start> started; !(started = machine.take()).empty();) {
    if (n(started.front().task) == count) {
      late = started.front();
    } else {
      machine.finish(started.front());
    }
  }
  machine.scheduler.release(block);
  CHECK(machine.scheduler.attempt(block.front()) == 1);  // the block is whole
  machine.fail(late);  // would end what waits for it, if that had not ended
  CHECK(machine.scheduler.unfinished() == 0);
  machine.scheduler.release({});
  CHECK(machine.scheduler.state(block[1]) == State::cancelled);
  CHECK(machine.scheduler.state(id(count)) == State::failed);
  machine.scheduler.check();
}

TEST_CASE("verbs leave a retired task alone") {
  Machine machine(1000);
  run_a_block(machine);
  const std::vector<TaskId> block = a_block();
  machine.scheduler.release(block);
  const std::size_t events = machine.scheduler.log().size();
  const double priority = -5;
  const Instant expected = 7;
  CHECK(machine.cancel(block.front()).empty());
  machine.scheduler.rerank(block, {&priority, 1}, machine.now);
  machine.scheduler.expect(block, {&expected, 1}, machine.now);
  machine.scheduler.set_policy(by_priority(), machine.now);
  CHECK(machine.scheduler.log().size() == events + 1);  // of the policy
  CHECK(machine.scheduler.demand(block.front()) == Demand{});
  CHECK(machine.scheduler.state(block.front()) == State::succeeded);
  CHECK(machine.scheduler.unfinished() == 0);
  machine.scheduler.check();
}

TEST_CASE("a late report about a retired task is counted, and changes nothing") {
  Machine machine(1000);
  const std::vector<TaskId> block = a_block();
  machine.submit(std::vector<std::vector<std::int64_t>>(n(block.back()) + 1), cores(1000));
  std::vector<Start> hanging;
  for (std::vector<Start> started; !(started = machine.take()).empty();) {
    if (started.front().task == block.front()) {  // its time is over, and its thread goes on
      hanging = started;
      machine.scheduler.fail({started.front().task, 1, kNoLease, 0, 0}, Cause::timeout, kNever, machine.now, machine.settled);
      machine.scheduler.set_capacity(kCpu, 2000, machine.now);
    } else {
      machine.finish(started.front());
    }
  }
  machine.scheduler.release(block);
  CHECK(machine.scheduler.ledger().held(kCpu) == 1000);
  CHECK(machine.finish(hanging.front()) == 0);
  CHECK(machine.scheduler.ledger().held(kCpu) == 0);
  const Start again{block.front(), 1, kNoLease, 0};
  const ShapeId elsewhere = machine.scheduler.shape(cores(1), Lane::commands);
  CHECK_FALSE(machine.scheduler.fail({again.task, 1, kNoLease, 0, 0}, Cause::oom, machine.now, machine.now, machine.settled, elsewhere));
  CHECK(machine.scheduler.late_reports() == 2);
  CHECK(machine.scheduler.state(block.front()) == State::failed);
  CHECK(machine.scheduler.unfinished() == 0);
  machine.scheduler.check();
}

TEST_CASE("an edge from a retired task counts as met, or lost, as that task ended") {
  Machine machine(1000);
  const std::vector<TaskId> block = a_block();
  run_a_block(machine);
  machine.scheduler.release(block);
  const TaskId after = machine.submit(std::vector<std::vector<std::int64_t>>{{static_cast<std::int64_t>(n(block[2]))}}, cores(1000));
  CHECK(machine.scheduler.state(after) == State::ready);
  machine.finish(machine.take().front());
  CHECK(machine.scheduler.unfinished() == 0);
}

TEST_CASE("links and special entries of released tasks are used again") {
  Machine machine(1000);
  // Each depends on the one before, which has not ended when it comes, and has a run time of its own.
  const auto a_step = [&](TaskId before, Instant expected) {
    machine.extra.expected = {&expected, 1};
    return machine.submit(std::vector<std::vector<std::int64_t>>{{static_cast<std::int64_t>(n(before))}}, cores(1000));
  };
  TaskId last = machine.submit(cores(1000));
  for (std::size_t k = 0; k < 3 * blocks::kTasks; ++k) {
    const TaskId next = a_step(last, 1 + static_cast<Instant>(k));
    machine.finish(machine.take().front());
    machine.scheduler.release({&last, 1});
    last = next;
    REQUIRE(machine.scheduler.state(last) == State::ready);
  }
  machine.finish(machine.take().front());
  CHECK(machine.scheduler.readiness().edges() == 3 * blocks::kTasks);
  CHECK(machine.scheduler.readiness().links() < 4);
  CHECK(machine.scheduler.unfinished() == 0);
  machine.scheduler.check();
}

#if !defined(PENSTOCK_FORGET_ZEROES)  // those zeros are plain writes, which other threads must not meet
TEST_CASE("tasks are submitted, finished, cancelled and released at once by several threads, and all their memory goes") {
  constexpr std::size_t kBatches = 400, kWidth = 64;  // some six blocks
  constexpr std::size_t kLeaves = 16;                 // of a batch; nothing waits for them, and many are cancelled
  Machine machine(kUnlimited);
  Scheduler& scheduler = machine.scheduler;
  const ShapeId shape = scheduler.shape(cores(0), Lane::threads);
  std::vector<std::atomic<std::uint32_t>> runs(kBatches * kWidth);
  std::atomic<bool> over{false};
  std::vector<std::thread> workers;
  for (std::uint32_t w = 0; w < 2; ++w) {
    workers.emplace_back([&, w] {
      std::array<Start, 8> started{};
      std::vector<Report> reports;
      while (!over.load() || scheduler.unfinished() > 0) {
        const std::size_t got = scheduler.take(Lane::threads, w, started, 0);
        if (got == 0) std::this_thread::yield();
        reports.clear();
        for (const Start& start : std::span(started).first(got)) {
          runs[n(start.task)].fetch_add(1);
          reports.push_back({start.task, start.attempt, start.lease, 0, 0});
        }
        scheduler.finish(reports, 0);
      }
    });
  }
  // Each batch waits for the one before, task by task. That one is released at once, whatever has become of it.
  std::vector<TaskId> before;
  for (std::size_t batch = 0; batch < kBatches; ++batch) {
    std::vector<std::int64_t> indptr{0}, indices;
    for (std::size_t k = 0; k < kWidth; ++k) {
      if (!before.empty()) indices.push_back(static_cast<std::int64_t>(n(before[(k * 7 + batch) % (kWidth - kLeaves)])));
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
    Submission given;
    given.count = kWidth;
    given.indptr = indptr;
    given.indices = indices;
    given.shape = {&shape, 1};
    const TaskId first = scheduler.submit(given, 0, machine.settled);
    before.resize(kWidth);
    for (std::size_t k = 0; k < kWidth; ++k) before[k] = id(n(first) + k);
    std::vector<Start> running;
    scheduler.cancel(std::span(before).last(kLeaves), Cause::cancelled, 0, running, machine.settled);
    if (batch > 0) {
      std::vector<TaskId> gone;
      for (std::size_t k = 0; k < kWidth; ++k) gone.push_back(id(n(first) - kWidth + k));
      scheduler.release(gone);
    }
  }
  over = true;
  for (std::thread& worker : workers) worker.join();
  while (!machine.take().empty()) FAIL("something is left to run");
  for (std::size_t k = 0; k <= runs.size() / blocks::kTasks; ++k) scheduler.release({});  // each looks at some of those kept back
  std::size_t cancelled = 0;
  for (std::size_t t = 0; t < runs.size(); ++t) {
    const bool leaf = t % kWidth >= kWidth - kLeaves;
    const State state = scheduler.state(id(t));
    REQUIRE(runs[t].load() <= 1);
    REQUIRE((state == State::succeeded ? runs[t].load() == 1 : leaf && state == State::cancelled));
    cancelled += state == State::cancelled ? 1 : 0;
  }
  CHECK(cancelled == machine.settled.size());
  for (std::size_t block = 1; block < blocks::of(id(runs.size() - kWidth)); ++block) {
    CHECK(scheduler.attempt(blocks::first(block)) == 0);  // it is gone
  }
  CHECK(scheduler.queued(Lane::threads) == 0);
  scheduler.check();
}
#endif

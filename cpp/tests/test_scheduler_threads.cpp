// The scheduler from several threads at once: nothing lost, nothing twice, nothing over capacity.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

struct Draw {
  std::uint64_t state;
  std::uint64_t operator()(std::uint64_t below) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (state >> 33) % below;
  }
};

/// A batch of `count` tasks, each waiting for up to three earlier ones.
std::vector<std::vector<std::int64_t>> random_rows(std::size_t count, std::size_t known, Draw& draw) {
  std::vector<std::vector<std::int64_t>> rows(count);
  for (std::size_t k = 0; k < count; ++k) {
    for (std::uint64_t e = known + k == 0 ? 0 : draw(4); e-- > 0;) {
      const std::uint64_t before = draw(known + k);
      rows[k].push_back(before < known ? static_cast<std::int64_t>(before) : ~static_cast<std::int64_t>(before - known));
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("workers, a submitter and a meddler together run every task exactly once, in order, within capacity") {
  constexpr std::size_t kBatches = 60, kBatch = 100;
  Machine m(3000);
  m.scheduler.set_policy(by_priority(), 0);
  std::vector<std::atomic<int>> runs(kBatches * kBatch);
  std::vector<std::vector<std::size_t>> needs(kBatches * kBatch);
  std::atomic<Amount> in_use{0};
  std::atomic<bool> over{false}, early{false}, submitted{false};
  std::atomic<std::size_t> done{0};

  const auto worker = [&](std::uint32_t number) {
    std::vector<Start> hand(4);
    std::vector<TaskId> settled;
    Draw draw{number};
    while (!submitted.load() || m.scheduler.unfinished() > 0) {
      const std::size_t got = m.scheduler.take(Lane::threads, number, hand, 0);
      if (got == 0) {
        std::this_thread::yield();
        continue;
      }
      over = over || in_use.fetch_add(1000) + 1000 > 3000;
      for (std::size_t k = 0; k < got; ++k) {
        for (const std::size_t before : needs[n(hand[k].task)]) {
          early = early || m.scheduler.state(id(before)) != State::succeeded;
        }
      }
      in_use.fetch_sub(1000);
      for (std::size_t k = 0; k < got; ++k) {
        const Report report{hand[k].task, hand[k].attempt, hand[k].lease, 0, 0};
        if (draw(10) == 0 && hand[k].attempt < 3) {
          m.scheduler.fail(report, Cause::exception, 0, 0, settled);
        } else {
          runs[n(hand[k].task)].fetch_add(1);
          m.scheduler.finish({&report, 1}, 0);
          done.fetch_add(1);
        }
      }
    }
  };
  const auto meddler = [&] {
    Draw draw{99};
    while (!submitted.load() || m.scheduler.unfinished() > 0) {
      const std::size_t known = m.scheduler.size();
      if (known == 0) continue;
      const TaskId task = id(draw(known));
      const double priority = static_cast<double>(draw(100));
      m.scheduler.rerank({&task, 1}, {&priority, 1}, 0);
      m.scheduler.explain(task, 0);
      if (draw(50) == 0) m.scheduler.set_policy(by_priority(), 0);
      std::this_thread::yield();
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(worker, 0);
  threads.emplace_back(worker, 1);
  threads.emplace_back(meddler);
  Draw draw{7};
  for (std::size_t b = 0; b < kBatches; ++b) {
    const auto rows = random_rows(kBatch, b * kBatch, draw);
    for (std::size_t k = 0; k < kBatch; ++k) {
      for (const std::int64_t before : rows[k]) {
        needs[b * kBatch + k].push_back(before >= 0 ? static_cast<std::size_t>(before)
                                                    : b * kBatch + static_cast<std::size_t>(~before));
      }
    }
    m.submit(rows, cores(1000), static_cast<double>(draw(10)));
  }
  submitted = true;
  for (std::thread& thread : threads) thread.join();

  CHECK(done.load() == kBatches * kBatch);
  bool once = true;
  for (const auto& count : runs) once = once && count.load() == 1;
  CHECK(once);
  CHECK_FALSE(over.load());
  CHECK_FALSE(early.load());
  CHECK(m.scheduler.late_reports() == 0);
  CHECK(m.take().empty());
  m.scheduler.check();
}

TEST_CASE("a cancel and a finish that race for one task have one winner") {
  constexpr std::size_t kTasks = 2000;
  Machine m(kUnlimited);
  m.submit(std::vector<std::vector<std::int64_t>>(kTasks), cores(1000));
  std::vector<Start> hand(kTasks);
  hand.resize(m.scheduler.take(Lane::threads, 0, hand, 0));
  REQUIRE(hand.size() == kTasks);
  std::vector<TaskId> cancelled;
  std::thread canceller([&] {
    std::vector<Start> running;
    for (std::size_t k = 0; k < kTasks; ++k) {
      const TaskId task = id(k);
      m.scheduler.cancel({&task, 1}, Cause::cancelled, 0, running, cancelled);
    }
  });
  for (std::size_t k = kTasks; k-- > 0;) {
    const Report report{hand[k].task, hand[k].attempt, hand[k].lease, 0, 0};
    m.scheduler.finish({&report, 1}, 0);
  }
  canceller.join();
  std::size_t succeeded = 0;
  for (std::size_t k = 0; k < kTasks; ++k) succeeded += m.scheduler.state(id(k)) == State::succeeded ? 1 : 0;
  CHECK(succeeded + cancelled.size() == kTasks);
  CHECK(m.scheduler.late_reports() == cancelled.size());
  CHECK(m.scheduler.unfinished() == 0);
  CHECK(m.scheduler.ledger().held(kCpu) == 0);
  m.scheduler.check();
}

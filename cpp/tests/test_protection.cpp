// What protects the machine and the tasks: the guard, attempts that stand still, another demand for another attempt, and a
// bound on how long a task that can run waits.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

constexpr auto kProcesses = Lane::processes;

std::vector<Start> take(Machine& m) { return m.take(1, kProcesses); }
TaskId submit(Machine& m, const Demand& demand, double priority = 0) { return m.submit(demand, priority, kProcesses); }
Amount held(const Machine& m, int resource) { return m.scheduler.ledger().held(resource); }

}  // namespace

TEST_CASE("with the guard closed a task starts only when none runs, on whatever lane") {
  Machine m(8000);
  const TaskId first = submit(m, cores(1000));
  submit(m, cores(1000));
  m.submit(cores(1000));
  const Start running = take(m)[0];
  m.scheduler.guard(true, 7, m.now);
  CHECK(take(m).empty());
  CHECK(m.take().empty());
  CHECK_FALSE(m.scheduler.startable(Lane::threads));
  CHECK(m.scheduler.explain(id(1), m.now).guarded);
  m.finish(running);
  CHECK(m.scheduler.startable(Lane::threads));
  CHECK_FALSE(m.scheduler.explain(id(1), m.now).guarded);
  CHECK(m.take(8).size() == 1);  // it is of another shape, and no batch leaves either
  CHECK(take(m).empty());
  m.scheduler.guard(true, 7, m.now);
  m.scheduler.guard(false, 3, m.now);
  CHECK(take(m).size() == 1);
  CHECK(m.events(EventKind::guard_closed) == 1);
  CHECK(m.events(EventKind::guard_opened) == 1);
  CHECK(m.scheduler.state(first) == State::succeeded);
  m.scheduler.check();
}

TEST_CASE("a guarded run of batches hands out one task at a time") {
  Machine m(8000);
  for (int k = 0; k < 5; ++k) m.submit(cores(100));
  m.scheduler.guard(true, 0, m.now);
  std::size_t ended = 0;
  for (auto got = m.take(5); !got.empty(); got = m.take(5)) {
    CHECK(got.size() == 1);
    m.finish(got[0]);
    ++ended;
  }
  CHECK(ended == 5);
  CHECK(m.scheduler.unfinished() == 0);
}

TEST_CASE("another attempt may ask for more, keeps its timeout, and leaves its family") {
  Machine m(8000, 100);
  const ShapeId small = m.scheduler.shape(cores(1000, 10), kProcesses, 7);
  const Instant limit = 5 * kSecond;
  m.extra.count = 1;
  m.extra.shape = {&small, 1};
  m.extra.timeout = {&limit, 1};
  const TaskId task = m.scheduler.submit(m.extra, m.now, m.settled);
  m.extra = {};
  const Start first = take(m)[0];
  const ShapeId large = m.scheduler.shape(cores(1000, 60), kProcesses);
  const auto fail = [&](const Start& s, ShapeId shape) {
    return m.scheduler.fail({s.task, s.attempt, s.lease, m.now, m.now}, Cause::oom, m.now, m.now, m.settled, shape);
  };
  CHECK_THROWS_AS(fail(first, ShapeId{99}), std::out_of_range);
  CHECK_THROWS_AS(fail(first, m.scheduler.shape(cores(1000, 60), Lane::threads)), std::invalid_argument);
  CHECK(fail(first, large));
  CHECK(held(m, kMemory) == 0);
  m.scheduler.set_demand(7, cores(1000, 99), m.now);  // no longer about it
  CHECK(m.scheduler.demand(task) == cores(1000, 60));
  const Start second = take(m)[0];
  CHECK(second.attempt == 2);
  CHECK(held(m, kMemory) == 60);
  m.now += limit;
  std::vector<Overdue> overdue;
  m.scheduler.expire(m.now, overdue);
  CHECK(overdue.size() == 1);
  // A late report of the first changes nothing.
  CHECK_FALSE(m.scheduler.fail({task, first.attempt, kNoLease, m.now, m.now}, Cause::oom, m.now, m.now, m.settled, small));
  CHECK(m.scheduler.demand(task) == cores(1000, 60));
  m.finish(second);
  CHECK(held(m, kMemory) == 0);
  m.scheduler.check();
}

TEST_CASE("a suspended attempt keeps its memory, gives its cores back, and its clock stands still") {
  Machine m(2000, 100);
  const ShapeId shape = m.scheduler.shape(cores(2000, 60), kProcesses);
  const Instant limit = 10 * kSecond;
  m.extra.count = 1;
  m.extra.shape = {&shape, 1};
  m.extra.timeout = {&limit, 1};
  m.scheduler.submit(m.extra, m.now, m.settled);
  m.extra = {};
  const Start wide = take(m)[0];
  const TaskId urgent = submit(m, cores(1000, 10), -5);
  m.scheduler.set_policy(by_priority(), m.now);
  CHECK(m.scheduler.blocked(m.now) == std::vector<TaskId>{urgent});
  m.now += 4 * kSecond;
  CHECK(m.scheduler.suspend(wide, m.now));
  CHECK_FALSE(m.scheduler.suspend(wide, m.now));
  CHECK(held(m, kCpu) == 0);
  CHECK(held(m, kMemory) == 60);
  CHECK(m.scheduler.explain(wide.task, m.now).suspended);
  m.scheduler.check();
  CHECK_FALSE(m.scheduler.proceed(wide, m.now));  // the urgent one is before it
  const Start quick = take(m)[0];
  CHECK(quick.task == urgent);
  CHECK_FALSE(m.scheduler.proceed(wide, m.now));  // half of its cores are taken
  m.now += 100 * kSecond;
  std::vector<Overdue> overdue;
  m.scheduler.expire(m.now, overdue);
  CHECK(overdue.empty());
  m.finish(quick);
  CHECK(m.scheduler.proceed(wide, m.now));
  CHECK_FALSE(m.scheduler.proceed(wide, m.now));
  CHECK(held(m, kCpu) == 2000);
  m.now += 6 * kSecond;
  m.scheduler.expire(m.now, overdue);
  CHECK(overdue.size() == 1);
  m.finish(wide);
  CHECK(held(m, kCpu) == 0);
  CHECK(held(m, kMemory) == 0);
  CHECK(m.events(EventKind::suspended) == 1);
  CHECK(m.events(EventKind::proceeded) == 1);
  m.scheduler.check();
}

TEST_CASE("what ranks behind a suspended attempt does not take its cores away") {
  Machine m(2000);
  m.scheduler.set_policy(by_priority(), m.now);
  const TaskId first = submit(m, cores(2000), 1);
  const Start wide = take(m)[0];
  CHECK(m.scheduler.suspend(wide, m.now));
  submit(m, cores(1000), 2);
  submit(m, cores(0), 2);
  CHECK(n(take(m)[0].task) == 2);  // it wants none of the cores
  CHECK(take(m).empty());
  submit(m, cores(1000), 0);
  const Start before = take(m)[0];  // it ranks before
  CHECK(n(before.task) == 3);
  m.finish(before);
  CHECK(m.scheduler.proceed(wide, m.now));
  CHECK(take(m).empty());
  CHECK(m.scheduler.state(first) == State::running);
  m.scheduler.check();
}

TEST_CASE("a suspended attempt that is cancelled or reported gives the rest back, once") {
  Machine m(2000, 100);
  m.scheduler.set_policy(by_priority(), m.now);
  submit(m, cores(2000, 50));
  submit(m, cores(2000, 50), -1);
  m.scheduler.rerank(std::vector<TaskId>{id(0)}, std::vector<double>{-2}, m.now);
  const Start one = take(m)[0];
  CHECK(m.scheduler.suspend(one, m.now));
  m.scheduler.rerank(std::vector<TaskId>{id(0)}, std::vector<double>{0}, m.now);
  const Start two = take(m)[0];
  CHECK(m.scheduler.suspend(two, m.now));
  CHECK(m.cancel(one.task).size() == 1);
  CHECK_FALSE(m.scheduler.proceed(one, m.now));
  CHECK(held(m, kMemory) == 100);  // until its executor reports it
  m.finish(one);
  CHECK(held(m, kMemory) == 50);
  CHECK(m.scheduler.state(one.task) == State::cancelled);
  m.finish(two);
  CHECK(m.scheduler.state(two.task) == State::succeeded);
  CHECK_FALSE(m.scheduler.proceed(two, m.now));
  CHECK_FALSE(m.scheduler.suspend(two, m.now));
  CHECK(held(m, kMemory) == 0);
  CHECK(held(m, kCpu) == 0);
  m.scheduler.check();
}

TEST_CASE("every task that can run starts within a bound, whatever stream of others comes") {
  // The bound of docs/protection.md: with no more urgent task to come, a task with n unfinished ones before it in the order
  // starts at the latest (n + 1) x (reserve_after + the longest run time) after its submission.
  constexpr Instant kAfter = kSecond, kLongest = 3 * kSecond, kStep = kSecond / 4;
  Amount worst = 0;
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    Machine m(4000, 40);
    Policy policy = by_priority();
    policy.reserve_after = kAfter;
    m.scheduler.set_policy(policy, m.now);
    struct Run { Start start; Instant until; };
    struct Wait { Instant since; Instant bound; };
    std::vector<Run> running;
    std::vector<Wait> waits;
    const auto arrive = [&](const Demand& demand) {
      const auto before = static_cast<Instant>(m.scheduler.unfinished());
      submit(m, demand);
      waits.push_back({m.now, (before + 1) * (kAfter + kLongest + kStep)});
    };
    const auto turn = [&](bool more) {
      if (more) {
        for (int k = 0; k < 3; ++k) arrive(cores(1000 + 1000 * (random() % 2), random() % 20));
        if (random() % 8 == 0) arrive(cores(4000, 40));  // all of the machine
      }
      std::erase_if(running, [&](const Run& r) { return r.until <= m.now && (m.finish(r.start), true); });
      for (auto got = take(m); !got.empty(); got = take(m)) {
        const Wait& wait = waits[n(got[0].task)];
        CAPTURE(seed);
        CHECK(m.now - wait.since <= wait.bound);
        if (m.scheduler.demand(got[0].task)[kCpu] == 4000) worst = std::max(worst, m.now - wait.since);
        running.push_back({got[0], m.now + kStep * static_cast<Instant>(1 + random() % (kLongest / kStep))});
      }
      m.now += kStep;
    };
    for (int k = 0; k < 40; ++k) turn(true);
    for (int k = 0; k < 4000 && m.scheduler.unfinished() > 0; ++k) turn(false);
    CHECK(m.scheduler.unfinished() == 0);
    m.scheduler.check();
  }
  CHECK(worst > kAfter);  // the wide ones did have to wait, or this says nothing
}

TEST_CASE("without the reservation a stream of small tasks starves a wide one, so the bound is the reservation's doing") {
  Machine m(2000);
  const auto starved = [&](Instant after) {
    Policy policy = by_priority();
    policy.reserve_after = after;
    m.scheduler.set_policy(policy, m.now);
    std::vector<Start> running;
    submit(m, cores(1000));
    running.push_back(take(m)[0]);
    const TaskId wide = submit(m, cores(2000));
    for (int k = 0; k < 40; ++k) {  // always one small task that overlaps the next
      submit(m, cores(1000));
      for (auto got = take(m); !got.empty(); got = take(m)) running.push_back(got[0]);
      m.now += kSecond;
      if (!running.empty()) {
        m.finish(running.front());
        running.erase(running.begin());
      }
      if (m.scheduler.state(wide) != State::ready) break;
    }
    const bool result = m.scheduler.state(wide) == State::ready;
    for (bool more = true; more;) {
      for (const Start& start : std::exchange(running, {})) m.finish(start);
      for (auto got = take(m); !got.empty(); got = take(m)) running.push_back(got[0]);
      more = !running.empty();
    }
    return result;
  };
  CHECK(starved(-1));
  CHECK_FALSE(starved(kSecond));
  CHECK(m.scheduler.unfinished() == 0);
}

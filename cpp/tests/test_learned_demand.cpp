// Families: tasks whose demand is learned while others of them wait and run.
#include <doctest/doctest.h>

#include <stdexcept>

#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

constexpr std::uint32_t kFamily = 7;

TaskId submit(Machine& m, const Demand& demand, std::uint32_t family, Instant timeout = 0) {
  const ShapeId shape = m.scheduler.shape(demand, Lane::processes, family);
  m.extra.count = 1;
  m.extra.shape = {&shape, 1};
  if (timeout > 0) m.extra.timeout = {&timeout, 1};
  const TaskId task = m.scheduler.submit(m.extra, m.now, m.settled);
  m.extra = {};
  return task;
}

std::vector<Start> take(Machine& m) { return m.take(1, Lane::processes); }

}  // namespace

TEST_CASE("a learned demand holds for what starts later and leaves what runs as it is") {
  Machine m(8000, 100);
  for (int k = 0; k < 4; ++k) submit(m, cores(1000), kFamily);
  const Start before = take(m)[0];
  CHECK(m.scheduler.ledger().held(kMemory) == 0);
  m.scheduler.set_demand(kFamily, cores(1000, 60), m.now);
  const Start after = take(m)[0];
  CHECK(m.scheduler.ledger().held(kMemory) == 60);
  CHECK(take(m).empty());  // 40 are left
  const Explanation why = m.scheduler.explain(id(2), m.now);
  CHECK(why.lacking == kMemory);
  CHECK(why.demanded == 60);
  m.finish(before);  // gives back what it took, which was nothing
  CHECK(m.scheduler.ledger().held(kMemory) == 60);
  CHECK(take(m).empty());
  m.scheduler.set_demand(kFamily, cores(1000, 40), m.now);
  CHECK(n(take(m)[0].task) == 2);
  CHECK(m.scheduler.ledger().free(kMemory) == 0);
  m.finish(after);  // 60, though its family asks for 40 by now
  CHECK(m.scheduler.ledger().held(kMemory) == 40);
  m.scheduler.check();
}

TEST_CASE("families of one demand are told apart from each other and from tasks of none") {
  Machine m(8000, 100);
  submit(m, cores(1000), 0);
  submit(m, cores(1000), kFamily);
  submit(m, cores(1000), kFamily + 1);
  m.scheduler.set_demand(kFamily, cores(1000, 101), m.now);
  CHECK(n(take(m)[0].task) == 0);
  CHECK(n(take(m)[0].task) == 2);  // the one between them does not fit, and blocks nobody
  CHECK(take(m).empty());
  CHECK(m.scheduler.state(id(1)) == State::ready);
  CHECK_THROWS_AS(m.scheduler.set_demand(0, cores(1), m.now), std::out_of_range);
  m.scheduler.check();
}

TEST_CASE("a task with a timeout is of its family's learned demand, also when it comes later") {
  Machine m(8000, 100);
  submit(m, cores(1000), kFamily);
  m.scheduler.set_demand(kFamily, cores(1000, 60), m.now);
  submit(m, cores(1000), kFamily, kSecond);
  CHECK(take(m).size() == 1);
  CHECK(take(m).empty());
  CHECK(m.scheduler.explain(id(1), m.now).demanded == 60);
}

TEST_CASE("the peak of what was held is told once, and begins again from what is held") {
  Machine m(4000, 100);
  for (int k = 0; k < 3; ++k) m.submit(cores(1000, 20));
  const Start first = m.take()[0], second = m.take()[0];
  m.finish(first);
  m.finish(second);
  CHECK(m.scheduler.take_peak_held(kCpu) == 2000);
  CHECK(m.scheduler.take_peak_held(kMemory) == 40);
  CHECK(m.scheduler.take_peak_held(kCpu) == 0);
  CHECK(m.take().size() == 1);
  CHECK(m.scheduler.take_peak_held(kCpu) == 1000);
  CHECK(m.scheduler.take_peak_held(kCpu) == 1000);  // still held
  CHECK(m.scheduler.take_peak_held(kDisk) == 0);
  CHECK_THROWS_AS(m.scheduler.take_peak_held(kGpu), std::out_of_range);
  CHECK_THROWS_AS(m.scheduler.take_peak_held(-1), std::out_of_range);
}

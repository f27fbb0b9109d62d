// Expectations that change while a run goes: ranks, reservations and what is refused.
#include <doctest/doctest.h>

#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

Policy by_path() {
  Policy policy;
  policy.weights.critical_path = 1;
  return policy;
}

void expect(Machine& m, std::size_t task, Instant ns) {
  const TaskId which = id(task);
  m.scheduler.expect({&which, 1}, {&ns, 1}, m.now);
}

}  // namespace

TEST_CASE("a task that turns out to be longer overtakes those that wait beside it") {
  Machine m(1000);
  m.scheduler.set_policy(by_path(), 0);
  m.submit({{}, {}, {}}, cores(1000));
  expect(m, 1, 5 * kSecond);
  expect(m, 2, 9 * kSecond);
  std::vector<std::size_t> order;
  for (auto got = m.take(); !got.empty(); got = m.take()) {
    order.push_back(n(got[0].task));
    m.finish(got[0]);
  }
  CHECK(order == std::vector<std::size_t>{2, 1, 0});
  m.scheduler.check();
}

TEST_CASE("what is expected of a task counts for all that it waits for") {
  Machine m(1000);
  m.scheduler.set_policy(by_path(), 0);
  m.submit({{}, {}, {~0}, {~1}}, cores(1000));
  expect(m, 3, 9 * kSecond);
  CHECK(n(m.take()[0].task) == 1);
}

TEST_CASE("a new expectation decides what fits beside a reservation") {
  Machine m(4000);
  Policy policy;
  policy.reserve_after = 0;
  m.scheduler.set_policy(policy, 0);
  const Instant ten = 10 * kSecond;
  m.extra.expected = {&ten, 1};
  m.submit(cores(3000));
  const Start busy = m.take()[0];
  m.submit(cores(4000));
  m.submit(cores(1000));
  CHECK(m.take().empty());  // nobody knows how long the third runs
  expect(m, 2, 10 * kSecond);
  const std::vector<Start> third = m.take();
  REQUIRE(third.size() == 1);
  CHECK(n(third[0].task) == 2);
  m.now = ten;
  m.finish(busy);
  m.finish(third[0]);
  CHECK(n(m.take()[0].task) == 1);
  m.scheduler.check();
}

TEST_CASE("expect refuses lengths that differ, negative times and unknown tasks, and changes nothing") {
  Machine m(1000);
  m.scheduler.set_policy(by_path(), 0);
  m.submit({{}, {}}, cores(1000));
  const std::vector<TaskId> both{id(0), id(1)}, unknown{id(1), id(2)};
  const std::vector<Instant> three{1, 2, 3}, negative{5, -1}, fine{5, 6};
  CHECK_THROWS_AS(m.scheduler.expect(both, three, 0), std::invalid_argument);
  CHECK_THROWS_AS(m.scheduler.expect(both, negative, 0), std::invalid_argument);
  CHECK_THROWS_AS(m.scheduler.expect(unknown, fine, 0), std::out_of_range);
  CHECK(n(m.take()[0].task) == 0);
  CHECK(m.events(EventKind::rank_changed) == 0);
}

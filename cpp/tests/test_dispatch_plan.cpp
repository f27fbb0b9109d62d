// Tasks that start in the order of a plan: nothing overtakes, and nothing waits for ever.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

Policy in_order() {
  Policy policy;
  policy.form = Form::plan;
  return policy;
}

/// Submits one task for each entry with these places.
void submit(Machine& m, const std::vector<std::vector<std::int64_t>>& predecessors, const std::vector<std::uint32_t>& places,
            const Demand& demand) {
  m.extra.place = places;
  m.submit(predecessors, demand);
}

std::string refusal(const std::vector<std::vector<std::int64_t>>& predecessors, const std::vector<std::uint32_t>& places) {
  Machine m(1000);
  try {
    submit(m, predecessors, places, cores(1000));
  } catch (const std::invalid_argument& error) {
    CHECK(m.scheduler.size() == 0);
    return error.what();
  }
  return "not refused";
}

}  // namespace

TEST_CASE("in a plan's order a ready task waits for one before it that is not ready") {
  Machine m(4000);
  m.scheduler.set_policy(in_order(), 0);
  submit(m, {{}, {~0}, {}}, {0, 1, 2}, cores(1000));
  const Start first = m.take()[0];
  CHECK(n(first.task) == 0);
  CHECK(m.take().empty());  // 2 is ready and fits, but 1 comes before it
  CHECK_FALSE(m.scheduler.startable(Lane::threads));
  const Explanation why = m.scheduler.explain(id(2), 0);
  CHECK(n(why.after) == 1);
  CHECK(m.scheduler.explain(id(1), 0).after == kNoTask);  // it waits for a task, not for the plan
  m.finish(first);
  CHECK(m.scheduler.startable(Lane::threads));
  CHECK(n(m.take(3)[0].task) == 1);  // one at a time, though two may start
  CHECK(n(m.take()[0].task) == 2);
  CHECK(m.take().empty());
}

TEST_CASE("in a plan's order a task that does not fit holds up a smaller one behind it") {
  Machine m(2000);
  m.scheduler.set_policy(in_order(), 0);
  const std::vector<ShapeId> shapes = {m.scheduler.shape(cores(1000), Lane::threads), m.scheduler.shape(cores(2000), Lane::threads),
                                       m.scheduler.shape(cores(1000), Lane::threads)};
  const std::vector<std::uint32_t> places = {0, 1, 2};
  Submission batch;
  batch.count = 3;
  batch.shape = shapes;
  batch.place = places;
  m.scheduler.submit(batch, 0, m.settled);
  const Start first = m.take()[0];
  CHECK(m.take().empty());
  m.finish(first);
  const Start wide = m.take()[0];
  CHECK(n(wide.task) == 1);
  m.finish(wide);
  CHECK(n(m.take()[0].task) == 2);
}

TEST_CASE("a further attempt, a cancelled task and what is not planned hold nobody up and wait for nobody") {
  Machine m(4000);
  m.scheduler.set_policy(in_order(), 0);
  submit(m, {{}, {}, {}, {}}, {3, 2, 1, 0}, cores(1000));
  const Start first = m.take()[0];
  CHECK(n(first.task) == 3);
  m.fail(first, kSecond);
  CHECK(n(m.take()[0].task) == 2);  // though 3 is tried again later
  m.cancel(id(1));
  const TaskId other = m.submit(cores(500));
  m.now = kSecond;
  std::vector<std::size_t> started;
  for (auto got = m.take(); !got.empty(); got = m.take()) started.push_back(n(got[0].task));
  std::sort(started.begin(), started.end());
  CHECK(started == std::vector<std::size_t>{0, 3, n(other)});
}

TEST_CASE("a task that comes later is not hidden behind one that waits for its turn in the plan") {
  for (const bool late_policy : {false, true}) {
    Machine m(4000);
    if (!late_policy) m.scheduler.set_policy(in_order(), 0);
    const Instant expected = 100 * kSecond;
    m.extra.expected = {&expected, 1};
    submit(m, {{}, {~0}, {}}, {0, 1, 2}, cores(1000));
    m.scheduler.set_policy(in_order(), 0);
    const Start first = m.take()[0];
    const TaskId child = m.submit(cores(1000));
    REQUIRE(m.scheduler.defer({first.task, first.attempt, first.lease, 0, 0}, {&child, 1}, 0, m.settled));
    const Start made = m.take()[0];  // 2 is ready, of the same demand, and comes after 1, which waits for 0
    CHECK(made.task == child);
    CHECK(m.take().empty());
    m.finish(made);
    m.finish(m.take()[0]);
    CHECK(n(m.take()[0].task) == 1);
    CHECK(n(m.take()[0].task) == 2);
  }
}

TEST_CASE("under another policy the plan gives the ranks, and what is ready and fits starts") {
  Machine m(2000);
  Policy policy;
  policy.weights.critical_path = 1;
  m.scheduler.set_policy(policy, 0);
  submit(m, {{}, {}, {~0}, {}}, {1, 0, 2, 3}, cores(1000));
  CHECK(n(m.take()[0].task) == 1);  // though 0 has the longer chain
  const Start zero = m.take()[0];
  CHECK(n(zero.task) == 0);
  m.scheduler.set_policy(in_order(), 0);
  m.scheduler.set_policy(policy, 0);
  m.scheduler.set_capacity(kCpu, 3000, 0);
  CHECK(n(m.take()[0].task) == 3);  // 2 is before it, and not ready
  m.finish(zero);
  CHECK(n(m.take()[0].task) == 2);
}

TEST_CASE("every planned task starts in order, whatever fails, comes later or changes its policy, and all end") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const std::size_t count = 1 + random() % 40;
    Machine m(static_cast<Amount>(2000 + 1000 * (random() % 3)));
    if (seed % 2 == 0) m.scheduler.set_policy(in_order(), 0);
    std::vector<std::uint32_t> places(count);
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), random);  // a task may wait for what comes before it here
    for (std::size_t at = 0; at < count; ++at) places[order[at]] = static_cast<std::uint32_t>(at);
    std::vector<std::int64_t> indptr{0}, indices;
    std::vector<ShapeId> shapes;
    std::vector<Instant> expected;
    for (std::size_t k = 0; k < count; ++k) {
      for (std::size_t e = places[k] == 0 ? 0 : random() % 3; e > 0; --e) {
        indices.push_back(~static_cast<std::int64_t>(order[random() % places[k]]));
      }
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
      const Lane lane = random() % 4 == 0 ? Lane::processes : Lane::threads;
      shapes.push_back(m.scheduler.shape(cores(static_cast<Amount>(1000 * (1 + random() % 2))), lane));
      expected.push_back(static_cast<Instant>(random() % 1'000'000'000'000));
    }
    Submission batch;
    batch.count = count;
    batch.indptr = indptr;
    batch.indices = indices;
    batch.shape = shapes;
    batch.expected = expected;
    batch.place = places;
    m.scheduler.submit(batch, 0, m.settled);
    if (seed % 2 == 1) m.scheduler.set_policy(in_order(), 0);

    std::vector<Start> running;
    std::uint32_t reached = 0;
    for (int step = 0; m.scheduler.unfinished() > 0; ++step) {
      REQUIRE(step < 10'000);  // else something waits for ever
      m.now += kSecond;
      const Lane lane = random() % 2 == 0 ? Lane::processes : Lane::threads;
      for (const Start& start : m.take(1 + random() % 3, lane)) {
        running.push_back(start);
        if (n(start.task) >= count || start.attempt > 1) continue;
        REQUIRE(places[n(start.task)] >= reached);
        reached = places[n(start.task)];
      }
      if (random() % 10 == 0 && m.scheduler.size() < 60) {
        const Instant later_run = 1'000'000'000'000'000;  // rescales the levels of all that comes after
        m.extra.expected = {&later_run, 1};
        m.submit(cores(1000));
      }
      if (running.empty() || random() % 2 == 0) continue;
      std::swap(running[random() % running.size()], running.back());
      const Start done = running.back();
      running.pop_back();
      const auto fate = random() % 10;
      if (fate == 0) {
        m.fail(done, m.now + 3 * kSecond);
      } else if (fate == 1) {
        m.fail(done);
      } else {
        m.finish(done);
      }
    }
    m.scheduler.check();
  }
}

TEST_CASE("without its plan a scheduler goes by longest paths as they are expected now") {
  Machine m(1000);
  Policy by_levels;
  by_levels.weights.critical_path = 1.0;
  m.scheduler.set_policy(by_levels, 0);
  const std::vector<Instant> expected{kSecond, kSecond, kSecond, kSecond};
  m.extra.expected = expected;
  submit(m, {{}, {}, {}, {}}, {0, 1, 2, 3}, cores(1000));
  const Start first = m.take()[0];
  CHECK(n(first.task) == 0);
  const std::vector<TaskId> told{id(1), id(2), id(3)};
  const std::vector<Instant> now_expected{kSecond, 3 * kSecond, 9 * kSecond};
  m.scheduler.expect(told, now_expected, m.now);
  m.finish(first);
  const Start second = m.take()[0];
  CHECK(n(second.task) == 1);  // the plan stands in for paths, whatever is expected
  CHECK(m.scheduler.forget_plan());
  CHECK_FALSE(m.scheduler.forget_plan());
  m.finish(second);
  const Start third = m.take()[0];
  CHECK(n(third.task) == 3);
  m.finish(third);
  CHECK(n(m.take()[0].task) == 2);
  m.scheduler.check();
}

TEST_CASE("a policy that keeps to the plan does not forget it") {
  Machine m(1000);
  m.scheduler.set_policy(in_order(), 0);
  submit(m, {{}, {}}, {1, 0}, cores(1000));
  CHECK_FALSE(m.scheduler.forget_plan());
  CHECK(n(m.take()[0].task) == 1);
}

TEST_CASE("a plan may come after one that was forgotten") {
  Machine m(1000);
  submit(m, {{}}, {0}, cores(1000));
  CHECK(m.scheduler.forget_plan());
  submit(m, {{}, {}}, {1, 0}, cores(1000));
  m.scheduler.set_policy(in_order(), 0);
  CHECK(n(m.take()[0].task) == 0);  // in no plan any more
  CHECK(m.scheduler.size() == 3);
}

TEST_CASE("places that are no order to start in are refused, and so is a second plan") {
  CHECK(refusal({{}, {}}, {0}) == "place has 1 entries for a batch of 2 tasks; give one for each, or none");
  CHECK(refusal({{}, {}}, {0, 2}) == "node 1 has place 2; places are 0 .. 1, each once");
  CHECK(refusal({{}, {}}, {1, 1}) == "node 1 has place 1; places are 0 .. 1, each once");
  CHECK(refusal({{~1}, {}}, {0, 1}) == "node 0 has place 0, before node 1, which it waits for");
  CHECK(refusal({{~1}, {}}, {1, 0}) == "not refused");
  Machine m(1000);
  submit(m, {{}}, {0}, cores(1000));
  CHECK_THROWS_AS(submit(m, {{}}, {0}, cores(1000)), std::invalid_argument);
  CHECK(m.scheduler.size() == 1);
}

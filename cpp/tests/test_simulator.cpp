// The simulator: the same scheduler in virtual time.
#include <doctest/doctest.h>

#include "penstock/simulator.hpp"
#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

struct Tasks {
  std::vector<std::int64_t> indptr{0}, indices;
  std::vector<ShapeId> shape;
  std::vector<Instant> duration;

  void add(Machine& m, const Demand& demand, Instant lasts, std::initializer_list<std::int64_t> after = {}) {
    indices.insert(indices.end(), after);
    indptr.push_back(static_cast<std::int64_t>(indices.size()));
    shape.push_back(m.scheduler.shape(demand, Lane::threads));
    duration.push_back(lasts);
  }
  [[nodiscard]] Submission batch() const {
    Submission out;
    out.count = duration.size();
    out.indptr = indptr;
    out.indices = indices;
    out.shape = shape;
    return out;
  }
  [[nodiscard]] World world() const {
    World out;
    out.duration = duration;
    return out;
  }
};

}  // namespace

TEST_CASE("tasks start when what they wait for has ended and a core is free") {
  Machine m(2000);
  Tasks t;
  t.add(m, cores(1000), 3);
  t.add(m, cores(1000), 5);
  t.add(m, cores(1000), 2);
  t.add(m, cores(2000), 1, {0, 2});
  const Outcome out = simulate(m.scheduler, t.batch(), t.world());
  CHECK(out.started == std::vector<Instant>{0, 0, 3, 5});
  CHECK(out.finished == std::vector<Instant>{3, 5, 5, 6});
  CHECK(out.makespan == 6);
  CHECK(out.stuck == 0);
  m.scheduler.check();
  CHECK(m.events(EventKind::succeeded) == 4);
  CHECK(m.events(EventKind::late_report) == 0);
}

TEST_CASE("attempts fail as often as the world says, wait, and end the task when no retry is left") {
  Machine m(1000);
  Tasks t;
  t.add(m, cores(1000), 10);
  t.add(m, cores(1000), 10);
  t.add(m, cores(1000), 10, {1});
  World world = t.world();
  const std::vector<std::uint32_t> failures{2, 2, 0}, retries{2, 1, 0};
  world.failures = failures;
  world.retries = retries;
  world.failed_share = 0.5;
  world.retry_wait = 100;
  const Outcome out = simulate(m.scheduler, t.batch(), world);
  CHECK(out.attempts == std::vector<Attempt>{3, 2, 0});
  CHECK(out.started == std::vector<Instant>{210, 110, -1});  // 0..5, 105..110, 210..220 and 5..10, 110..115
  CHECK(out.finished == std::vector<Instant>{220, 115, -1});
  CHECK(m.scheduler.state(id(0)) == State::succeeded);
  CHECK(m.scheduler.state(id(1)) == State::failed);
  CHECK(m.scheduler.state(id(2)) == State::upstream_failed);
  CHECK(out.stuck == 0);
}

TEST_CASE("capacity that outside load takes holds back what starts, until it comes back") {
  Machine m(2000);
  Tasks t;
  for (int k = 0; k < 4; ++k) t.add(m, cores(1000), 10);
  World world = t.world();
  const std::vector<CapacityChange> load{{5, kCpu, 1000}, {25, kCpu, 2000}};
  world.capacity = load;
  const Outcome out = simulate(m.scheduler, t.batch(), world);
  CHECK(out.started == std::vector<Instant>{0, 0, 10, 20});
  CHECK(out.makespan == 30);
}

TEST_CASE("a task that comes later is submitted then, and may wait for one that came before") {
  Machine m(1000);
  m.scheduler.set_policy(by_priority(), 0);
  Tasks t;
  t.add(m, cores(1000), 10);
  t.add(m, cores(1000), 10);
  t.add(m, cores(1000), 10, {0});
  Submission batch = t.batch();
  const std::vector<double> priority{0, 0, -1};
  batch.priority = priority;
  World world = t.world();
  const std::vector<Instant> arrival{0, 0, 4};
  world.arrival = arrival;
  const Outcome out = simulate(m.scheduler, batch, world);
  CHECK(out.started == std::vector<Instant>{0, 20, 10});
  CHECK(m.events(EventKind::submitted) == 2);
}

TEST_CASE("a reader is told at every instant before anything starts") {
  Machine m(1000);
  Tasks t;
  t.add(m, cores(1000), 7);
  t.add(m, cores(1000), 0);
  std::vector<std::pair<Instant, std::size_t>> seen;
  simulate(m.scheduler, t.batch(), t.world(), [&](Instant now) { seen.emplace_back(now, m.events(EventKind::started)); });
  CHECK(seen == std::vector<std::pair<Instant, std::size_t>>{{0, 0}, {7, 1}, {7, 2}});
}

TEST_CASE("what can never start is counted and ends the simulation") {
  Machine m(1000);
  Tasks t;
  t.add(m, cores(2000), 1);
  t.add(m, cores(1000), 1);
  const Outcome out = simulate(m.scheduler, t.batch(), t.world());
  CHECK(out.stuck == 1);
  CHECK(out.started == std::vector<Instant>{-1, 0});
}

TEST_CASE("a world that makes no sense is refused before anything is submitted") {
  Machine m(1000);
  Tasks t;
  t.add(m, cores(1000), 1);
  t.add(m, cores(1000), 1, {0});
  const std::vector<Instant> negative{1, -1}, short_of{1, 2, 3}, backwards{5, 4};
  const std::vector<CapacityChange> unordered{{5, kCpu, 1}, {4, kCpu, 2}};
  World world = t.world();
  world.duration = negative;
  CHECK_THROWS_AS(simulate(m.scheduler, t.batch(), world), std::invalid_argument);
  world.duration = short_of;
  CHECK_THROWS_AS(simulate(m.scheduler, t.batch(), world), std::invalid_argument);
  world = t.world();
  world.arrival = backwards;
  CHECK_THROWS_AS(simulate(m.scheduler, t.batch(), world), std::invalid_argument);
  world = t.world();
  world.capacity = unordered;
  CHECK_THROWS_AS(simulate(m.scheduler, t.batch(), world), std::invalid_argument);
  world = t.world();
  world.failed_share = 2;
  CHECK_THROWS_AS(simulate(m.scheduler, t.batch(), world), std::invalid_argument);
  CHECK(m.scheduler.size() == 0);
}

TEST_CASE("attempts that overlap have different workers, the first idle one each") {
  Machine m(2000);
  Tasks t;
  t.add(m, cores(1000), 5);
  t.add(m, cores(1000), 3);
  t.add(m, cores(1000), 3);
  t.add(m, cores(1000), 3);
  simulate(m.scheduler, t.batch(), t.world());
  std::vector<Event> all(m.scheduler.log().size());
  m.scheduler.log().read(0, all);
  std::vector<std::uint32_t> workers;
  for (const Event& event : all) {
    if (event.kind == EventKind::started) workers.push_back(event.worker);
  }
  CHECK(workers == std::vector<std::uint32_t>{0, 1, 1, 0});
}

TEST_CASE("a plan's places order what is there at the start") {
  Machine m(1000);
  Policy policy;
  policy.form = Form::plan;
  m.scheduler.set_policy(policy, 0);
  Tasks t;
  for (int k = 0; k < 3; ++k) t.add(m, cores(1000), 5);
  Submission batch = t.batch();
  const std::vector<std::uint32_t> place{2, 0, 1};
  batch.place = place;
  const Outcome out = simulate(m.scheduler, batch, t.world());
  CHECK(out.started == std::vector<Instant>{10, 0, 5});
}

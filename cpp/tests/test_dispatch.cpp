// What starts next: fitting, backfill and reservation, lanes, policies and changes while tasks wait.
#include <doctest/doctest.h>

#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

TEST_CASE("a task waiting on memory does not block a smaller one behind it") {
  Machine m(4000, 100);
  m.submit(cores(1000, 60));
  m.submit(cores(1000, 60));
  m.submit(cores(1000, 30));
  const Start first = m.take()[0];
  CHECK(n(m.take()[0].task) == 2);
  CHECK(m.take().empty());
  m.finish(first);
  CHECK(n(m.take()[0].task) == 1);
  CHECK(m.take().empty());
}

TEST_CASE("a wide task that keeps being passed over gets a reservation and is not starved") {
  Machine m(4000);
  Policy policy;
  policy.reserve_after = kSecond;
  m.scheduler.set_policy(policy, 0);
  std::vector<Start> running;
  for (int k = 0; k < 3; ++k) {
    m.submit(cores(1000));
    running.push_back(m.take()[0]);
  }
  const TaskId wide = m.submit(cores(4000));
  bool started = false;
  for (int k = 0; k < 50 && !started; ++k) {  // a narrow task comes whenever one ends
    m.now += kSecond / 4;
    m.submit(cores(1000));
    for (auto got = m.take(); !got.empty(); got = m.take()) {
      started |= got[0].task == wide;
      running.push_back(got[0]);
    }
    if (!started && !running.empty()) {
      m.finish(running.front());
      running.erase(running.begin());
    }
  }
  CHECK(started);
  CHECK(m.events(EventKind::reserved) == 1);
}

TEST_CASE("a reservation lets through what ends in time or fits beside it") {
  Machine m(4000);
  Policy policy;
  policy.reserve_after = 0;
  m.scheduler.set_policy(policy, 0);
  const Instant long_run = 10 * kSecond, short_run = 5 * kSecond, too_long = 20 * kSecond;
  m.extra.expected = {&long_run, 1};
  m.submit(cores(3000));
  const Start busy = m.take()[0];
  m.submit(cores(3000));  // can start when `busy` ends, and leaves one core beside it
  m.extra.expected = {&too_long, 1};
  m.submit(cores(500));  // fits beside the wide one for as long as it likes
  m.extra.expected = {&too_long, 1};
  m.submit(cores(1000));  // would be in its way at 10 s
  m.extra.expected = {&short_run, 1};
  m.submit(cores(500));  // is gone by then
  CHECK(n(m.take()[0].task) == 2);
  CHECK(n(m.take()[0].task) == 4);
  CHECK(m.take().empty());
  CHECK(m.scheduler.explain(id(3), m.now).lacking == kCpu);
  m.now = 10 * kSecond;
  m.finish(busy);
  CHECK(n(m.take()[0].task) == 1);
}

TEST_CASE("a demand above what outside load has left holds nobody back") {
  Machine m(4000);
  Policy policy;
  policy.reserve_after = 0;
  m.scheduler.set_policy(policy, 0);
  m.submit(cores(4000));
  m.submit(cores(1000));
  m.scheduler.set_capacity(kCpu, 2000, 0);
  CHECK(n(m.take()[0].task) == 1);
  CHECK(m.events(EventKind::reserved) == 0);
}

TEST_CASE("capacity that falls below what is held lets nothing start until enough has ended") {
  Machine m(2000);
  m.submit({{}, {}, {}}, cores(1000));
  const Start a = m.take()[0], b = m.take()[0];
  m.scheduler.set_capacity(kCpu, 1000, 0);
  m.finish(a);
  CHECK(m.take().empty());
  m.finish(b);
  CHECK(m.take().size() == 1);
  m.scheduler.check();
}

TEST_CASE("a lane takes only its own tasks, and leaves room for a more urgent one of another lane") {
  Machine m(1000);
  m.scheduler.set_policy(by_priority(), 0);
  m.submit(cores(1000), 0, Lane::processes);
  m.submit(cores(1000), 5, Lane::threads);
  CHECK(m.take(1, Lane::threads).empty());
  const Start process = m.take(1, Lane::processes)[0];
  CHECK(n(process.task) == 0);
  m.finish(process);
  CHECK(n(m.take(1, Lane::threads)[0].task) == 1);
  CHECK(m.take(1, Lane::processes).empty());
}

TEST_CASE("a queued task's priority and the policy can change while it waits") {
  Machine m(1000);
  m.scheduler.set_policy(by_priority(), 0);
  for (const double priority : {1.0, 2.0, 3.0, 4.0}) m.submit(cores(1000), priority);
  const TaskId third = id(2);
  const double urgent = -1;
  m.scheduler.rerank({&third, 1}, {&urgent, 1}, 0);
  const Start first = m.take()[0];
  CHECK(first.task == third);
  m.finish(first);
  Policy last_first = by_priority();
  last_first.weights.priority = -1;
  m.scheduler.set_policy(last_first, 0);
  const Start second = m.take()[0];
  CHECK(n(second.task) == 3);
  CHECK(m.events(EventKind::rank_changed) == 1);
}

TEST_CASE("a priority given before a task is ready counts when it becomes ready") {
  Machine m(1000);
  m.scheduler.set_policy(by_priority(), 0);
  m.submit({{}, {~0}, {~0}}, cores(1000), 1);
  const TaskId last = id(2);
  const double urgent = 0;
  m.scheduler.rerank({&last, 1}, {&urgent, 1}, 0);
  m.finish(m.take()[0]);
  CHECK(m.take()[0].task == last);
}

TEST_CASE("utilisation starts what uses the free resources best, never over the limit") {
  Machine m(4000, 1000);
  Policy policy;
  policy.weights.fit = 1;
  m.scheduler.set_policy(policy, 0);
  m.submit(cores(1000, 100));
  m.submit(cores(3000, 700));
  m.submit(cores(5000, 100));
  CHECK(n(m.take()[0].task) == 1);
  CHECK(n(m.take()[0].task) == 0);
  CHECK(m.take().empty());
}

TEST_CASE("the critical path comes first where it weighs, also for a policy that is set later") {
  for (const bool late : {false, true}) {
    Machine m(1000);
    Policy policy;
    policy.weights.critical_path = 1;
    if (!late) m.scheduler.set_policy(policy, 0);
    m.submit({{}, {}, {~1}, {~2}}, cores(1000));
    if (late) m.scheduler.set_policy(policy, 0);
    CHECK(n(m.take()[0].task) == 1);
  }
}

TEST_CASE("a task with a nearer deadline comes first, and overtakes older work as its slack shrinks") {
  Machine m(1000);
  Policy policy;
  policy.weights.deadline = 1;
  m.scheduler.set_policy(policy, 0);
  const Instant far = 100 * kSecond, near = 10 * kSecond;
  m.extra.deadline = {&far, 1};
  m.submit(cores(1000));
  m.extra.deadline = {&near, 1};
  m.submit(cores(1000));
  m.submit(cores(1000));  // no deadline: rank 0
  m.now = 5 * kSecond;
  CHECK(n(m.take()[0].task) == 2);  // the slack of the others is still above zero
  m.cancel(id(2));
  Machine late(1000);
  late.scheduler.set_policy(policy, 0);
  late.extra.deadline = {&near, 1};
  late.submit(cores(1000));
  late.submit(cores(1000));
  late.now = 20 * kSecond;
  CHECK(n(late.take()[0].task) == 0);  // overdue: slack -10 s
}

TEST_CASE("older tasks win against newer ones of a slightly smaller priority, where age weighs") {
  Machine m(1000);
  Policy policy = by_priority();
  policy.weights.age = 1;
  m.scheduler.set_policy(policy, 0);
  m.submit(cores(1000), 5);
  m.now = 4 * kSecond;
  m.submit(cores(1000), 2);
  m.now = 9 * kSecond;
  m.submit(cores(1000), 2);
  std::vector<std::size_t> order;
  for (auto got = m.take(); !got.empty(); got = m.take()) {
    order.push_back(n(got[0].task));
    m.finish(got[0]);
  }
  CHECK(order == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("the product form weighs urgency against the CPU that would be in use") {
  Machine m(4000);
  Policy policy;
  policy.form = Form::product;
  m.scheduler.set_policy(policy, 0);
  m.submit(cores(3900), 0);  // urgency 100 x (100 - 97.5)
  m.submit(cores(500), 1);   // urgency 41 x (100 - 12.5)
  CHECK(n(m.take()[0].task) == 1);
}

TEST_CASE("thread tasks wait for a free worker slot and say so") {
  Machine m(8000);
  m.scheduler.set_capacity(kThreadSlots, 1, 0);
  Demand demand = cores(1000);
  demand.amounts[kThreadSlots] = 1;
  m.submit({{}, {}}, demand);
  const Start first = m.take()[0];
  CHECK(m.take().empty());
  CHECK(m.scheduler.explain(id(1), 0).lacking == kThreadSlots);
  m.finish(first);
  CHECK(m.take().size() == 1);
}

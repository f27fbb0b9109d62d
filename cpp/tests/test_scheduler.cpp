// The scheduler's verbs: what starts, what ends, what is refused.
#include <doctest/doctest.h>

#include "scheduler_fixture.hpp"

using namespace penstock;
using namespace penstock::test;

TEST_CASE("equal tasks start in submission order, smaller priorities first") {
  Machine m(1000);
  m.scheduler.set_policy(by_priority(), 0);
  for (const double priority : {5.0, 1.0, 5.0, -2.5, 1.0}) m.submit(cores(1000), priority);
  std::vector<std::size_t> order;
  for (auto got = m.take(); !got.empty(); got = m.take()) {
    order.push_back(n(got[0].task));
    m.finish(got[0]);
  }
  CHECK(order == std::vector<std::size_t>{3, 1, 4, 0, 2});
  CHECK(m.scheduler.unfinished() == 0);
  m.scheduler.check();
}

TEST_CASE("a task starts only after all of its predecessors, across batches too") {
  Machine m(8000);
  const TaskId first = m.submit({{}, {~0}, {~0, ~1}}, cores(1000));
  const Start root = m.take()[0];
  CHECK(root.task == first);
  CHECK(m.take().empty());
  m.submit({{0, 2}}, cores(1000));
  CHECK(m.finish(root) == 1);
  const Start second = m.take()[0];
  CHECK(m.take().empty());
  CHECK(m.finish(second) == 1);
  const Start third = m.take()[0];
  CHECK(m.finish(third) == 1);
  const Start last = m.take()[0];
  CHECK(n(last.task) == 3);
  m.finish(last);
  m.submit({{3, 0}}, cores(1000));  // predecessors that have succeeded are met
  CHECK(m.take().size() == 1);
}

TEST_CASE("a refused batch changes nothing") {
  Machine m(1000);
  m.submit(cores(1000));
  const std::size_t events = m.scheduler.log().size();
  CHECK_THROWS_AS(m.submit({{~1}, {~0}}, cores(1000)), CycleError);
  m.extra = {};
  CHECK_THROWS_AS(m.submit({{7}}, cores(1000)), std::out_of_range);
  m.extra = {};
  CHECK(m.scheduler.size() == 1);
  CHECK(m.scheduler.unfinished() == 1);
  CHECK(m.scheduler.log().size() == events);
}

TEST_CASE("a batch is taken under one lease, which ends with its last report") {
  Machine m(1000);
  m.submit({{}, {}, {}}, cores(1000));
  const std::vector<Start> hand = m.take(8);
  REQUIRE(hand.size() == 3);
  CHECK(m.scheduler.ledger().held(kCpu) == 1000);
  m.finish(hand[0]);
  m.finish(hand[2]);
  CHECK(m.scheduler.ledger().held(kCpu) == 1000);
  m.finish(hand[1]);
  CHECK(m.scheduler.ledger().held(kCpu) == 0);
  m.scheduler.check();
}

TEST_CASE("a task of a hand that was split off holds a lease of its own") {
  Machine m(2000);
  m.submit({{}, {}}, cores(1000));
  const std::vector<Start> hand = m.take(2);
  const auto moved = m.scheduler.split(hand[1], 1, 0);
  REQUIRE(moved);
  CHECK(m.scheduler.ledger().held(kCpu) == 2000);
  CHECK(!m.scheduler.split(hand[0], 1, 0));  // no third core
  m.finish(*moved);
  m.finish(hand[0]);
  CHECK(m.scheduler.ledger().held(kCpu) == 0);
  m.scheduler.check();
}

TEST_CASE("a failed task ends what depends on it, and nothing else") {
  Machine m(4000);
  m.submit({{}, {~0}, {~1}, {}}, cores(1000));
  const Start first = m.take()[0];
  const Start other = m.take()[0];
  CHECK(m.fail(first));
  CHECK(m.settled == std::vector<TaskId>{id(0), id(1), id(2)});
  CHECK(m.scheduler.state(id(0)) == State::failed);
  CHECK(m.scheduler.state(id(2)) == State::upstream_failed);
  CHECK(m.scheduler.cause(id(2)) == Cause::upstream);
  m.finish(other);
  CHECK(m.scheduler.unfinished() == 0);
  m.settled.clear();
  m.submit({{1}}, cores(1000));  // a predecessor that has ended without a result
  CHECK(m.settled == std::vector<TaskId>{id(4)});
  CHECK(m.take().empty());
  m.scheduler.check();
}

TEST_CASE("a retry waits as a timer and holds nothing") {
  Machine m(1000);
  m.submit(cores(1000));
  const Start first = m.take()[0];
  CHECK(m.fail(first, 5 * kSecond));
  CHECK(m.settled.empty());
  CHECK(m.scheduler.state(id(0)) == State::backoff);
  CHECK(m.scheduler.ledger().held(kCpu) == 0);
  CHECK(m.scheduler.next_wakeup() == 5 * kSecond);
  m.now = 5 * kSecond - 1;
  CHECK(m.take().empty());
  m.now = 5 * kSecond;
  const Start second = m.take()[0];
  CHECK(second.attempt == 2);
  CHECK(m.scheduler.next_wakeup() == kNever);
  m.finish(second);
  CHECK(m.scheduler.state(id(0)) == State::succeeded);
}

TEST_CASE("a late report of an older attempt is dropped and counted, but its lease ends") {
  Machine m(2000);
  const Instant timeout = kSecond;
  m.extra.timeout = {&timeout, 1};
  m.submit(cores(1000));
  const Start first = m.take()[0];
  m.now = kSecond;
  std::vector<Overdue> overdue;
  m.scheduler.expire(m.now, overdue);
  REQUIRE(overdue.size() == 1);
  CHECK(overdue[0].attempt == 1);
  CHECK(m.fail({first.task, first.attempt, kNoLease, 0}, m.now, Cause::timeout));
  CHECK(m.scheduler.ledger().held(kCpu) == 1000);  // the thread is still at it
  const Start second = m.take()[0];
  CHECK(second.attempt == 2);
  CHECK(m.scheduler.ledger().held(kCpu) == 2000);
  m.finish(first);
  CHECK(m.scheduler.late_reports() == 1);
  CHECK(m.scheduler.state(id(0)) == State::running);
  CHECK(m.scheduler.ledger().held(kCpu) == 1000);
  m.finish(second);
  CHECK(m.scheduler.state(id(0)) == State::succeeded);
  m.scheduler.expire(m.now + 9 * kSecond, overdue);
  CHECK(overdue.size() == 1);
  m.scheduler.check();
}

TEST_CASE("cancelling ends a task in any state, once") {
  Machine m(1000);
  m.submit({{}, {}, {~1}}, cores(1000));
  const Start running = m.take()[0];
  const std::vector<Start> to_kill = m.cancel(running.task);
  REQUIRE(to_kill.size() == 1);
  CHECK(to_kill[0].attempt == 1);
  CHECK(m.scheduler.ledger().held(kCpu) == 1000);
  CHECK(m.cancel(id(1)).empty());
  CHECK(m.settled == std::vector<TaskId>{id(0), id(1), id(2)});
  CHECK(m.scheduler.state(id(2)) == State::upstream_failed);
  m.cancel(id(1));
  CHECK(m.settled.size() == 3);
  m.finish(running);
  CHECK(m.scheduler.late_reports() == 1);
  CHECK(m.take().empty());
  CHECK(m.scheduler.unfinished() == 0);
  m.scheduler.check();
}

TEST_CASE("what depends on a skipped task is skipped too") {
  Machine m(1000);
  m.submit({{}, {~0}, {~1}}, cores(1000));
  m.cancel(id(1), Cause::skipped);
  CHECK(m.scheduler.state(id(2)) == State::cancelled);
  CHECK(m.scheduler.cause(id(2)) == Cause::skipped);
  CHECK(m.scheduler.state(id(0)) == State::ready);
}

TEST_CASE("a tolerant task runs when one predecessor succeeded, and ends when none did") {
  for (const bool one_succeeds : {true, false}) {
    Machine m(4000);
    m.submit({{}, {}}, cores(1000));
    const std::uint8_t tolerant = 1;
    m.extra.tolerant = {&tolerant, 1};
    m.submit({{0, 1}}, cores(1000));
    m.submit({{2}}, cores(1000));
    const Start a = m.take()[0], b = m.take()[0];
    m.fail(a);
    CHECK(m.scheduler.state(id(2)) == State::waiting);
    one_succeeds ? static_cast<void>(m.finish(b)) : static_cast<void>(m.fail(b));
    CHECK(m.scheduler.state(id(2)) == (one_succeeds ? State::ready : State::upstream_failed));
    CHECK(m.scheduler.state(id(3)) == (one_succeeds ? State::waiting : State::upstream_failed));
    m.scheduler.check();
  }
}

TEST_CASE("a tolerant task ends when its predecessors had ended before it was submitted or end with its submission") {
  Machine m(1000);
  m.submit(cores(1000));
  m.cancel(id(0));
  const std::vector<std::uint8_t> tolerant{0, 1};
  m.extra.tolerant = tolerant;
  m.submit({{0}, {~0, 0}}, cores(1000));  // the first ends at once, and is the last that the second waits for
  CHECK(m.scheduler.state(id(1)) == State::upstream_failed);
  CHECK(m.scheduler.state(id(2)) == State::upstream_failed);
  CHECK(m.scheduler.unfinished() == 0);
}

TEST_CASE("what depends on a forgiven task runs though that failed, or never ran, but not when it was cancelled") {
  Machine m(4000);
  const std::uint8_t forgiven[] = {0, 1, 0, 0};
  m.extra.forgiven = forgiven;
  m.submit({{}, {~0}, {~1}, {~1, ~0}}, cores(1000));
  m.fail(m.take()[0]);
  CHECK(m.scheduler.state(id(1)) == State::upstream_failed);
  CHECK(m.scheduler.state(id(2)) == State::ready);
  CHECK(m.scheduler.state(id(3)) == State::upstream_failed);  // it also needs the one that is not forgiven
  const std::uint8_t all = 1;
  m.extra.forgiven = {&all, 1};
  m.submit({{1}, {~0}}, cores(1000));  // after the end as well
  CHECK(m.scheduler.state(id(4)) == State::ready);
  m.cancel(id(4));
  CHECK(m.scheduler.state(id(5)) == State::upstream_failed);
  m.finish(m.take()[0]);
  CHECK(m.scheduler.unfinished() == 0);
  m.scheduler.check();
}

TEST_CASE("a forgiven task that ends with its submission does not start one that has lost something else") {
  Machine m(4000);
  m.submit(cores(1000));
  m.fail(m.take()[0]);
  const std::uint8_t forgiven[] = {1, 0};
  m.extra.forgiven = forgiven;
  m.submit({{0}, {~0, 0}}, cores(1000));
  CHECK(m.scheduler.state(id(1)) == State::upstream_failed);
  CHECK(m.scheduler.state(id(2)) == State::upstream_failed);
  CHECK(m.take().empty());
}

TEST_CASE("a tolerant task is content with a predecessor that is forgiven") {
  Machine m(4000);
  const std::uint8_t forgiven[] = {1, 0}, tolerant = 1;
  m.extra.forgiven = forgiven;
  m.submit({{}, {}}, cores(1000));
  m.extra.tolerant = {&tolerant, 1};
  m.submit({{0, 1}}, cores(1000));
  m.fail(m.take()[0]);
  CHECK(m.scheduler.state(id(2)) == State::waiting);
  m.fail(m.take()[0]);
  CHECK(m.scheduler.state(id(2)) == State::ready);
}

TEST_CASE("a task that defers goes on though a forgiven child has failed") {
  Machine m(4000);
  m.submit(cores(1000));
  const Start parent = m.take()[0];
  const std::uint8_t forgiven[] = {1, 1};
  m.extra.forgiven = forgiven;
  const TaskId children = m.submit({{}, {}}, cores(1000));
  m.fail(m.take()[0]);
  const std::vector<TaskId> waits_for{children, id(index(children) + 1)};
  CHECK(m.scheduler.defer({parent.task, parent.attempt, parent.lease, 0, 0}, waits_for, 0, m.settled));
  CHECK(m.scheduler.state(parent.task) == State::waiting);
  m.fail(m.take()[0]);
  CHECK(m.scheduler.state(parent.task) == State::ready);
}

TEST_CASE("a task whose time is over has failed, whether it waits, is ready, backs off or runs") {
  Machine m(2000);
  m.submit({{}, {}, {}, {~0}}, cores(1000));
  const Start running = m.take()[0], failing = m.take()[0];
  m.fail(failing, 5 * kSecond);
  CHECK(m.scheduler.next_wakeup() == 5 * kSecond);
  CHECK(m.cancel(id(0), Cause::timeout).size() == 1);
  CHECK(m.cancel(id(1), Cause::timeout).empty());
  CHECK(m.cancel(id(2), Cause::timeout).empty());
  for (const std::size_t task : {0, 1, 2}) {
    CHECK(m.scheduler.state(id(task)) == State::failed);
    CHECK(m.scheduler.cause(id(task)) == Cause::timeout);
  }
  CHECK(m.scheduler.state(id(3)) == State::upstream_failed);
  CHECK(m.events(EventKind::failed) == 3);
  CHECK(m.scheduler.unfinished() == 0);
  CHECK(!m.fail(running));  // late
  m.now = 6 * kSecond;
  CHECK(m.take().empty());
  m.scheduler.check();
}

TEST_CASE("a task that defers gives its resources back and starts again after its children") {
  Machine m(1000);
  m.submit(cores(1000));
  m.submit({{0}}, cores(1000));
  const Start parent = m.take()[0];
  const TaskId children = m.submit({{}, {~0}}, cores(1000));
  const std::vector<TaskId> waits_for{children, id(index(children) + 1)};
  CHECK(m.scheduler.defer({parent.task, parent.attempt, parent.lease, 0, 0}, waits_for, 0, m.settled));
  CHECK(m.scheduler.ledger().held(kCpu) == 0);
  CHECK(m.scheduler.state(id(0)) == State::waiting);
  m.finish(m.take()[0]);
  m.finish(m.take()[0]);
  const Start again = m.take()[0];
  CHECK(again.task == parent.task);
  CHECK(again.attempt == 2);
  CHECK(m.scheduler.state(id(1)) == State::waiting);
  m.finish(again);
  CHECK(n(m.take()[0].task) == 1);
}

TEST_CASE("a task that would wait for itself through its children is told the cycle") {
  Machine m(1000);
  m.submit({{}, {~0}, {~1}}, cores(1000));
  const Start parent = m.take()[0];
  const std::vector<TaskId> children{id(2)};
  const Report report{parent.task, parent.attempt, parent.lease, 0, 0};
  try {
    m.scheduler.defer(report, children, 0, m.settled);
    FAIL("the cycle was accepted");
  } catch (const CycleError& error) {
    CHECK(error.cycle() == std::vector<TaskId>{id(0), id(1), id(2)});
  }
  CHECK(m.scheduler.state(id(0)) == State::running);
  CHECK(m.finish(parent) == 1);
}

TEST_CASE("a task that did not need all of its predecessors needs all that it defers to") {
  Machine m(4000);
  const std::uint8_t tolerant[] = {0, 1, 0, 0};
  m.extra.tolerant = tolerant;
  const TaskId first = m.submit({{}, {~0}, {}, {}}, cores(1000));
  const TaskId parent = id(n(first) + 1), failing = id(n(first) + 2), open = id(n(first) + 3);
  std::vector<Start> started{m.take()[0], m.take()[0], m.take()[0]};
  m.finish(started[0]);
  m.fail(started[1]);
  const Start deferring = m.take()[0];
  REQUIRE(deferring.task == parent);
  const std::vector<TaskId> children{failing, open};
  CHECK(m.scheduler.defer({parent, deferring.attempt, deferring.lease, 0, 0}, children, 0, m.settled));
  CHECK(m.scheduler.state(parent) == State::upstream_failed);  // and it does not wait for ever
  m.finish(started[2]);
  CHECK(m.scheduler.unfinished() == 0);
  m.scheduler.check();
}

TEST_CASE("a batch that needs more shapes than there may be is refused as a whole") {
  Machine m(4000);
  std::vector<ShapeId> shapes;
  for (Amount memory = 0; memory < 4000; ++memory) shapes.push_back(m.scheduler.shape(cores(1, memory), Lane::threads));
  const std::vector<Instant> timeout(shapes.size(), kSecond);
  Submission batch;
  batch.count = shapes.size();
  batch.shape = shapes;
  batch.timeout = timeout;
  CHECK_THROWS_AS(m.scheduler.submit(batch, 0, m.settled), std::length_error);
  CHECK(m.scheduler.size() == 0);
  CHECK(m.scheduler.unfinished() == 0);
  CHECK(n(m.submit(cores(1))) == 0);  // the next batch begins where this one would have
  CHECK(m.take().size() == 1);
  m.scheduler.check();
}

TEST_CASE("a deferred task whose child has failed ends") {
  Machine m(2000);
  m.submit(cores(1000));
  const Start parent = m.take()[0];
  const TaskId child = m.submit(cores(1000));
  m.fail(m.take()[0]);
  m.settled.clear();
  m.scheduler.defer({parent.task, parent.attempt, parent.lease, 0, 0}, std::vector<TaskId>{child}, 0, m.settled);
  CHECK(m.scheduler.state(parent.task) == State::upstream_failed);
  CHECK(m.settled == std::vector<TaskId>{parent.task});
  CHECK(m.take().empty());
  m.scheduler.check();
}

TEST_CASE("explain says what a task lacks") {
  Machine m(2000, 100);
  m.submit({{}, {~0}}, cores(1000, 80));
  m.submit(cores(1000, 50));
  const Start first = m.take()[0];
  CHECK(m.scheduler.explain(id(0), 0).state == State::running);
  CHECK(m.scheduler.explain(id(1), 0).unmet == 1);
  const Explanation why = m.scheduler.explain(id(2), 0);
  CHECK(why.lacking == kMemory);
  CHECK(why.demanded == 50);
  CHECK(why.free == 20);
  m.scheduler.pause(0);
  CHECK(m.scheduler.explain(id(2), 0).paused);
  m.fail(first, 7 * kSecond);
  CHECK(m.scheduler.explain(id(0), 0).retry_at == 7 * kSecond);
  CHECK(m.take().empty());
  m.scheduler.resume(0);
  CHECK(m.take().size() == 1);
}

TEST_CASE("the same calls in the same order leave the same log") {
  const auto play = [] {
    Machine m(3000, 10);
    std::uint64_t random = 42;
    const auto draw = [&](std::uint64_t below) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      return (random >> 33) % below;
    };
    std::vector<Start> running;
    for (int k = 0; k < 2000; ++k) {
      ++m.now;
      const auto what = draw(10);
      if (what < 4) {
        std::vector<std::int64_t> row;
        for (std::uint64_t e = draw(3); e-- > 0 && m.scheduler.size() > 0;) {
          row.push_back(static_cast<std::int64_t>(draw(m.scheduler.size())));
        }
        m.submit({row}, cores(static_cast<Amount>(500 * (1 + draw(4))), static_cast<Amount>(draw(6))),
                 static_cast<double>(draw(5)));
      } else if (what < 7) {
        for (const Start& start : m.take(2)) running.push_back(start);
      } else if (!running.empty()) {
        const Start start = running.back();
        running.pop_back();
        what == 9 ? static_cast<void>(m.fail(start, draw(2) ? kNever : m.now + 3)) : static_cast<void>(m.finish(start));
      }
    }
    m.scheduler.check();
    std::vector<Event> log(m.scheduler.log().size());
    log.resize(m.scheduler.log().read(0, log));
    return log;
  };
  const std::vector<Event> once = play(), again = play();
  REQUIRE(once.size() == again.size());
  CHECK(once.size() > 2000);
  bool same = true;
  for (std::size_t k = 0; k < once.size(); ++k) {
    same &= once[k].task == again[k].task && once[k].kind == again[k].kind && once[k].time == again[k].time &&
            once[k].value == again[k].value && once[k].attempt == again[k].attempt;
  }
  CHECK(same);
}

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/readiness.hpp"

using namespace penstock;

namespace {

using Numbers = std::vector<std::uint32_t>;

// A readiness with batches written as rows, answers as plain numbers.
struct Graph {
  Readiness readiness;

  Numbers grow(const std::vector<std::vector<std::int64_t>>& rows) {
    std::vector<std::int64_t> indptr{0}, indices;
    for (const auto& row : rows) {
      indices.insert(indices.end(), row.begin(), row.end());
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
    std::vector<TaskId> ready;
    const std::size_t first = readiness.size();
    const TaskId grown = readiness.grow(rows.size(), indptr, indices, ready);
    CHECK(index(grown) == first);
    return numbers(ready);
  }
  Numbers complete(std::uint32_t task) {
    std::vector<TaskId> freed;
    readiness.complete(TaskId{task}, [&](TaskId t) { freed.push_back(t); });
    return numbers(freed);
  }
  Numbers successors(std::uint32_t task) const {
    std::vector<TaskId> found;
    readiness.successors(TaskId{task}, [&](TaskId t) { found.push_back(t); });
    return numbers(found);
  }
  std::uint32_t unmet(std::uint32_t task) const { return readiness.unmet(TaskId{task}); }

  static Numbers numbers(const std::vector<TaskId>& tasks) {
    Numbers out;
    for (const TaskId task : tasks) out.push_back(index(task));
    return out;
  }
};

Numbers sorted(Numbers values) {
  std::sort(values.begin(), values.end());
  return values;
}

std::vector<std::int64_t> levels(const std::vector<std::int64_t>& indptr, const std::vector<std::int64_t>& indices,
                                 const std::vector<std::int64_t>& weights = {}) {
  std::vector<std::int64_t> out(indptr.size() - 1, -1);
  Readiness::bottom_levels(out.size(), indptr, indices, weights, out);
  return out;
}

}  // namespace

TEST_CASE("nodes without predecessors are ready at once, in order") {
  Graph g;
  CHECK(g.grow({{}, {}, {}}) == Numbers{0, 1, 2});
  std::vector<TaskId> ready{TaskId{99}};
  g.readiness.grow(2, {}, {}, ready);  // no rows at all: no edges
  CHECK(Graph::numbers(ready) == Numbers{99, 3, 4});
  CHECK(g.readiness.size() == 5);
  CHECK(g.readiness.edges() == 0);
}

TEST_CASE("the last predecessor to complete frees the node, and only that one") {
  Graph g;
  CHECK(g.grow({{}, {~0}, {~0}, {~1, ~2}}) == Numbers{0});
  CHECK(g.readiness.edges() == 4);
  CHECK(g.unmet(3) == 2);
  CHECK(g.complete(0) == Numbers{1, 2});
  CHECK(g.complete(2).empty());
  CHECK(g.unmet(3) == 1);
  CHECK(g.complete(1) == Numbers{3});
  CHECK(g.unmet(3) == 0);
  CHECK(g.complete(3).empty());
}

TEST_CASE("a node may wait for tasks of earlier batches") {
  Graph g;
  g.grow({{}, {}});
  CHECK(g.grow({{0}, {0, 1, ~0}}).empty());
  CHECK(g.readiness.edges() == 4);
  CHECK(g.unmet(3) == 3);
  CHECK(g.complete(0) == Numbers{2});
  CHECK(g.complete(1).empty());
  CHECK(g.complete(2) == Numbers{3});
}

TEST_CASE("a predecessor that has completed counts as met") {
  Graph g;
  g.grow({{}, {}});
  g.complete(0);
  CHECK(g.grow({{0}, {0, 1}, {0, 0}}) == Numbers{2, 4});
  CHECK(g.unmet(3) == 1);
  CHECK(g.readiness.edges() == 1);
  CHECK(g.complete(1) == Numbers{3});
  CHECK(g.readiness.completed(TaskId{0}));
  CHECK_FALSE(g.readiness.completed(TaskId{3}));
}

TEST_CASE("ready nodes come in order, whichever way they became so") {
  Graph g;
  g.grow({{}, {}});
  g.complete(1);
  CHECK(g.grow({{1}, {}, {0}, {1, 1}, {}}) == Numbers{2, 3, 5, 6});
}

TEST_CASE("a predecessor that is named twice is waited for twice and met twice") {
  Graph g;
  g.grow({{}, {~0, ~0}});
  CHECK(g.unmet(1) == 2);
  g.grow({{0, 0}});
  CHECK(g.unmet(2) == 2);
  CHECK(sorted(g.complete(0)) == Numbers{1, 2});
}

TEST_CASE("nodes may be numbered in any order") {
  Graph g;
  CHECK(g.grow({{~2}, {~0}, {}}) == Numbers{2});
  CHECK(g.complete(2) == Numbers{0});
  CHECK(g.complete(0) == Numbers{1});
}

TEST_CASE("a refused batch leaves no trace") {
  Graph g;
  g.grow({{}, {~0}});
  const std::vector<std::int64_t> indptr{0, 2, 3}, cycle{~1, 0, ~0}, unknown{~1, 0, 2}, rows{0, 2, 2};
  std::vector<TaskId> ready;
  const auto prepare = [](TaskId) { FAIL("a bad batch was announced"); };
  CHECK_THROWS_AS(g.readiness.grow(2, indptr, cycle, ready, prepare), CycleError);
  CHECK_THROWS_AS(g.readiness.grow(2, indptr, unknown, ready, prepare), std::out_of_range);
  CHECK_THROWS_AS(g.readiness.grow(2, rows, cycle, ready, prepare), std::invalid_argument);
  CHECK_THROWS_AS(g.readiness.check(2, indptr, cycle), CycleError);
  CHECK_THROWS_AS(g.readiness.check(2, indptr, unknown), std::out_of_range);
  CHECK_THROWS_AS(g.readiness.check(2, rows, cycle), std::invalid_argument);
  CHECK(ready.empty());
  CHECK(g.readiness.size() == 2);
  CHECK(g.readiness.edges() == 1);
  CHECK(g.successors(0) == Numbers{1});
  CHECK(g.grow({{0}}).empty());
  CHECK(sorted(g.complete(0)) == Numbers{1, 2});
}

TEST_CASE("a cycle is named by the positions of its nodes in the batch") {
  Graph g;
  g.grow({{}, {}, {}});
  try {
    g.grow({{0}, {~3}, {~1}, {~2, 1}});
    FAIL("not refused");
  } catch (const CycleError& error) {
    CHECK(Graph::numbers(error.cycle()) == Numbers{1, 2, 3});
  }
}

TEST_CASE("more tasks or edges than ids can count are refused") {
  Readiness readiness;
  std::vector<TaskId> ready;
  CHECK_THROWS_AS(readiness.grow(Readiness::kMaxNodes + 1, {}, {}, ready), std::length_error);
  CHECK(readiness.size() == 0);
}

TEST_CASE("prepare is told the first id before anything can be freed") {
  Graph g;
  g.grow({{}, {}});
  std::vector<TaskId> ready;
  std::uint32_t told = 0;
  g.readiness.grow(1, std::vector<std::int64_t>{0, 1}, std::vector<std::int64_t>{0}, ready, [&](TaskId first) {
    told = index(first);
    CHECK(g.readiness.size() == 2);
    CHECK(g.complete(0).empty());  // not linked yet
  });
  CHECK(told == 2);
  CHECK(Graph::numbers(ready) == Numbers{2});
}

TEST_CASE("what prepare throws is passed on, with nothing changed") {
  Graph g;
  std::vector<TaskId> ready;
  const auto prepare = [](TaskId) { throw std::runtime_error("no"); };
  const std::vector<std::int64_t> indptr{0, 0, 1, 2}, indices{~0, ~1};
  CHECK_THROWS_AS(g.readiness.grow(3, indptr, indices, ready, prepare), std::runtime_error);
  CHECK(g.readiness.size() == 0);
  CHECK(g.readiness.edges() == 0);
  CHECK(ready.empty());
  g.readiness.grow(3, {}, {}, ready);
  CHECK(Graph::numbers(ready) == Numbers{0, 1, 2});
  CHECK(g.unmet(2) == 0);
  CHECK(g.grow({{~1}, {}}) == Numbers{4});
}

TEST_CASE("a second completion does nothing") {
  Graph g;
  g.grow({{}, {~0}, {~0, ~1}});
  CHECK(g.complete(0) == Numbers{1});
  CHECK(g.complete(0).empty());
  CHECK(g.unmet(2) == 1);
  g.readiness.close(TaskId{0}, [](TaskId) { FAIL("visited again"); });
}

TEST_CASE("close visits each edge without counting; satisfy counts") {
  Graph g;
  g.grow({{}, {~0}, {}});
  g.grow({{0, 2}});
  std::vector<TaskId> seen;
  g.readiness.close(TaskId{0}, [&](TaskId t) { seen.push_back(t); });
  CHECK(sorted(Graph::numbers(seen)) == Numbers{1, 3});
  CHECK(g.unmet(1) == 1);
  CHECK(g.readiness.satisfy(TaskId{1}));
  CHECK_FALSE(g.readiness.satisfy(TaskId{3}));
  CHECK(g.complete(2) == Numbers{3});
  CHECK(g.grow({{0}}) == Numbers{4});  // closed is completed, for who comes later
}

TEST_CASE("successors can be visited before and after completion") {
  Graph g;
  g.grow({{}, {~0}, {~0}});
  g.grow({{0}, {0}});
  CHECK(sorted(g.successors(0)) == Numbers{1, 2, 3, 4});
  g.complete(0);
  CHECK(sorted(g.successors(0)) == Numbers{1, 2, 3, 4});
  CHECK(g.successors(4).empty());
}

TEST_CASE("a task that defers waits for what it is linked to, and then is freed again") {
  Graph g;
  g.grow({{}, {~0}});
  g.grow({{}, {}, {}});
  g.complete(3);
  // Task 0 runs and wants to wait for 2, 3 (completed) and 4: one more unmet holds it while edges are added.
  g.readiness.rearm(TaskId{0}, 4);
  CHECK(g.readiness.add_edge(TaskId{2}, TaskId{0}));
  CHECK(g.complete(2).empty());  // at once: still held
  CHECK_FALSE(g.readiness.add_edge(TaskId{3}, TaskId{0}));
  CHECK_FALSE(g.readiness.satisfy(TaskId{0}));
  CHECK(g.readiness.add_edge(TaskId{4}, TaskId{0}));
  CHECK_FALSE(g.readiness.satisfy(TaskId{0}));  // the hold
  CHECK(g.unmet(0) == 1);
  CHECK(g.unmet(1) == 1);
  CHECK(g.complete(4) == Numbers{0});
  CHECK(g.complete(0) == Numbers{1});
}

TEST_CASE("a path is a shortest one, both ends included") {
  Graph g;
  g.grow({{}, {~0}, {~1}, {~2, ~0}, {}});
  g.grow({{3}, {4}});
  const auto path = [&](std::uint32_t from, std::uint32_t to) {
    return Graph::numbers(g.readiness.path(TaskId{from}, TaskId{to}));
  };
  CHECK(path(0, 3) == Numbers{0, 3});
  CHECK(path(0, 2) == Numbers{0, 1, 2});
  CHECK(path(1, 5) == Numbers{1, 2, 3, 5});
  CHECK(path(2, 2) == Numbers{2});
  CHECK(path(3, 0).empty());
  CHECK(path(0, 6).empty());
  g.readiness.rearm(TaskId{0}, 1);
  REQUIRE(g.readiness.add_edge(TaskId{6}, TaskId{0}));
  CHECK(path(4, 5) == Numbers{4, 6, 0, 3, 5});
}

TEST_CASE("completing many at once is completing them one by one") {
  std::mt19937_64 random(3);
  Graph one, many;
  std::vector<std::vector<std::int64_t>> rows;
  for (std::size_t k = 0; k < 3000; ++k) {
    rows.emplace_back();
    for (std::size_t e = k == 0 ? 0 : random() % 4; e > 0; --e) {
      rows.back().push_back(~static_cast<std::int64_t>(random() % k));
    }
  }
  Numbers queue = one.grow(rows);
  REQUIRE(queue == many.grow(rows));
  for (std::size_t at = 0; at < queue.size();) {
    std::vector<TaskId> batch, freed;
    for (std::size_t wish = random() % 50; wish > 0 && at < queue.size(); --wish) batch.push_back(TaskId{queue[at++]});
    Numbers expected;
    for (const TaskId task : batch) {
      for (const std::uint32_t t : one.complete(index(task))) expected.push_back(t);
    }
    many.readiness.complete(batch, [&](TaskId t) { freed.push_back(t); });
    REQUIRE(Graph::numbers(freed) == expected);
    queue.insert(queue.end(), expected.begin(), expected.end());
  }
  CHECK(queue.size() == rows.size());
}

TEST_CASE("random growth and completion agree with sets of predecessors") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    Graph g;
    std::map<std::uint32_t, std::multiset<std::uint32_t>> waits_for;  // of tasks that are not free
    std::set<std::uint32_t> free, done;
    for (int step = 0; step < 120; ++step) {
      if (random() % 3 == 0) {
        const std::size_t n = random() % 9;
        const auto first = static_cast<std::uint32_t>(g.readiness.size());
        std::vector<std::vector<std::int64_t>> rows(n);
        std::vector<std::size_t> order(n);  // local edges go along a random order, so not always from lower to higher
        for (std::size_t k = 0; k < n; ++k) order[k] = k;
        std::shuffle(order.begin(), order.end(), random);
        Numbers expected;
        for (std::size_t at = 0; at < n; ++at) {
          const std::size_t k = order[at];
          const auto task = first + static_cast<std::uint32_t>(k);
          for (std::size_t e = random() % 5; e > 0; --e) {
            if (at > 0 && random() % 2 == 0) {
              const std::size_t before = order[random() % at];
              rows[k].push_back(~static_cast<std::int64_t>(before));
              waits_for[task].insert(first + static_cast<std::uint32_t>(before));
            } else if (first > 0) {
              const auto before = static_cast<std::uint32_t>(random() % first);
              rows[k].push_back(before);
              if (!done.contains(before)) waits_for[task].insert(before);
            }
          }
          if (waits_for[task].empty()) expected.push_back(task);
        }
        REQUIRE(g.grow(rows) == sorted(expected));
        for (const std::uint32_t task : expected) {
          waits_for.erase(task);
          free.insert(task);
        }
      } else if (!free.empty()) {
        const std::uint32_t task = *std::next(free.begin(), static_cast<std::ptrdiff_t>(random() % free.size()));
        free.erase(task);
        done.insert(task);
        Numbers expected;
        for (auto& [waiter, predecessors] : waits_for) {
          if (predecessors.erase(task) > 0 && predecessors.empty()) expected.push_back(waiter);
        }
        REQUIRE(sorted(g.complete(task)) == expected);
        for (const std::uint32_t freed : expected) {
          waits_for.erase(freed);
          free.insert(freed);
        }
      }
      for (const auto& [waiter, predecessors] : waits_for) REQUIRE(g.unmet(waiter) == predecessors.size());
      for (const std::uint32_t task : free) REQUIRE(g.unmet(task) == 0);
    }
  }
}

TEST_CASE("bottom levels are the longest way to a sink, the ends included") {
  // 0 -> 1 -> 3, 0 -> 2 -> 3, 4 alone
  const std::vector<std::int64_t> indptr{0, 0, 1, 2, 4, 4}, indices{~0, ~0, ~1, ~2};
  CHECK(levels(indptr, indices) == std::vector<std::int64_t>{3, 2, 2, 1, 1});
  CHECK(levels(indptr, indices, {1, 10, 20, 100, 7}) == std::vector<std::int64_t>{121, 110, 120, 100, 7});
  CHECK(levels({0, 0, 1}, {5}) == std::vector<std::int64_t>{1, 1});  // an edge from an earlier task plays no part
  CHECK(levels({0}, {}).empty());
  std::vector<std::int64_t> out(2, -1);
  Readiness::bottom_levels(2, {}, {}, {}, out);
  CHECK(out == std::vector<std::int64_t>{1, 1});
}

TEST_CASE("bottom levels do not depend on how nodes are numbered") {
  // 3 -> 1 -> 0 -> 2
  CHECK(levels({0, 1, 2, 3, 3}, {~1, ~3, ~0}, {1, 2, 4, 8}) == std::vector<std::int64_t>{5, 7, 4, 15});
}

TEST_CASE("bottom levels stop at the largest number instead of wrapping") {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  CHECK(levels({0, 0, 1}, {~0}, {5, kMost - 3}) == std::vector<std::int64_t>{kMost, kMost - 3});
}

TEST_CASE("bottom levels refuse a cycle and arrays of other lengths") {
  CHECK_THROWS_AS(levels({0, 1, 2}, {~1, ~0}), CycleError);
  std::vector<std::int64_t> out(1);
  CHECK_THROWS_AS(Readiness::bottom_levels(2, {}, {}, {}, out), std::invalid_argument);
  CHECK_THROWS_AS(Readiness::bottom_levels(1, {}, {}, std::vector<std::int64_t>{1, 2}, out), std::invalid_argument);
}

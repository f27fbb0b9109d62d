#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/batch_graph.hpp"

using namespace penstock;
using batch_graph::Summary;

namespace {

struct Rows {
  std::vector<std::int64_t> indptr{0}, indices;

  void add(std::initializer_list<std::int64_t> predecessors) { add(std::vector<std::int64_t>(predecessors)); }
  void add(const std::vector<std::int64_t>& predecessors) {
    indices.insert(indices.end(), predecessors.begin(), predecessors.end());
    indptr.push_back(static_cast<std::int64_t>(indices.size()));
  }
  [[nodiscard]] std::size_t n() const { return indptr.size() - 1; }
};

std::vector<std::uint32_t> numbers(const std::vector<TaskId>& tasks) {
  std::vector<std::uint32_t> out;
  for (const TaskId task : tasks) out.push_back(index(task));
  return out;
}

struct Sorted {
  std::vector<std::uint32_t> end;
  std::vector<TaskId> successors;
};

Sorted sorted(const Rows& rows, std::uint32_t first_id = 0) {
  Sorted out;
  out.end.resize(rows.n());
  const Summary found = batch_graph::summarise(rows.n(), 1000, rows.indptr, rows.indices, out.end);
  out.successors.resize(found.local_edges);
  batch_graph::successor_rows(rows.n(), rows.indptr, rows.indices, out.end, first_id, out.successors);
  return out;
}

// The cycle that a batch is refused for, or nothing.
std::vector<std::uint32_t> cycle_of(const Rows& rows) {
  const Sorted s = sorted(rows);
  try {
    batch_graph::refuse_cycle(rows.n(), rows.indptr, rows.indices, s.end, 0, s.successors);
  } catch (const CycleError& error) {
    return numbers(error.cycle());
  }
  return {};
}

template <class Error>
std::string refusal(std::size_t n, std::size_t known, const std::vector<std::int64_t>& indptr,
                    const std::vector<std::int64_t>& indices) {
  try {
    batch_graph::summarise(n, known, indptr, indices, {});
  } catch (const Error& error) {
    return error.what();
  }
  return "not refused";
}

}  // namespace

TEST_CASE("the summary counts edges by where they come from, and sees whether nodes are in order") {
  Rows rows;
  rows.add({5, 7});
  rows.add({~0, 5});
  rows.add({~0, ~1, ~1});
  std::vector<std::uint32_t> successors(3);
  Summary found = batch_graph::summarise(3, 8, rows.indptr, rows.indices, successors);
  CHECK(found.local_edges == 4);
  CHECK(found.earlier_edges == 3);
  CHECK(found.in_order);
  CHECK(successors == std::vector<std::uint32_t>{2, 2, 0});
  rows.add({~3});
  successors.assign(4, 0);
  found = batch_graph::summarise(4, 8, rows.indptr, rows.indices, successors);
  CHECK_FALSE(found.in_order);
}

TEST_CASE("successors are sorted by predecessor, each row in order of node") {
  Rows rows;
  rows.add({~3});
  rows.add({~0, 17, ~3});
  rows.add({});
  rows.add({~2});
  const Sorted s = sorted(rows, 40);
  const auto row = [&](std::size_t k) {
    const auto r = batch_graph::row(s.end, s.successors, k);
    return numbers({r.begin(), r.end()});
  };
  CHECK(row(0) == std::vector<std::uint32_t>{41});
  CHECK(row(1).empty());
  CHECK(row(2) == std::vector<std::uint32_t>{43});
  CHECK(row(3) == std::vector<std::uint32_t>{40, 41});
}

TEST_CASE("a graph without a cycle is accepted however its nodes are numbered") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    const std::size_t n = 1 + random() % 60;
    std::vector<std::int64_t> name(n);
    for (std::size_t k = 0; k < n; ++k) name[k] = static_cast<std::int64_t>(k);
    std::shuffle(name.begin(), name.end(), random);
    std::vector<std::vector<std::int64_t>> predecessors(n);
    for (std::size_t k = 1; k < n; ++k) {
      auto& row = predecessors[static_cast<std::size_t>(name[k])];
      for (std::size_t e = random() % 4; e > 0; --e) row.push_back(~name[random() % k]);
    }
    Rows rows;
    for (const auto& p : predecessors) rows.add(p);
    CHECK(cycle_of(rows).empty());

    // Every node is ordered, after all that it waits for.
    const Sorted s = sorted(rows);
    std::vector<std::uint32_t> left(n);
    const auto order = batch_graph::order(n, rows.indptr, rows.indices, s.end, 0, s.successors, left);
    REQUIRE(order.size() == n);
    std::vector<std::size_t> place(n, n);
    for (std::size_t at = 0; at < n; ++at) place[order[at]] = at;
    for (std::size_t k = 0; k < n; ++k) {
      for (const std::int64_t p : predecessors[k]) CHECK(place[batch_graph::local(p)] < place[k]);
    }
  }
}

TEST_CASE("a node that waits for itself is a cycle of one") {
  Rows rows;
  rows.add({});
  rows.add({~0, ~1});
  CHECK(cycle_of(rows) == std::vector<std::uint32_t>{1});
}

TEST_CASE("a cycle is named in order, from its smallest node, without what hangs on it") {
  Rows rows;  // 0 -> 4 -> 2 -> 3 -> 4, and 2 -> 1, 1 -> 5
  rows.add({});
  rows.add({~2});
  rows.add({~4});
  rows.add({~2});
  rows.add({~0, ~3});
  rows.add({~1});
  CHECK(cycle_of(rows) == std::vector<std::uint32_t>{2, 3, 4});
}

TEST_CASE("the cycle that is named is one: simple, and every step an edge") {
  int cyclic = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    const std::size_t n = 2 + random() % 30;
    Rows rows;
    for (std::size_t k = 0; k < n; ++k) {
      std::vector<std::int64_t> p;
      for (std::size_t e = random() % 3; e > 0; --e) {
        p.push_back(random() % 5 == 0 ? 3 : ~static_cast<std::int64_t>(random() % n));
      }
      rows.add(p);
    }
    const std::vector<std::uint32_t> cycle = cycle_of(rows);
    if (cycle.empty()) continue;
    ++cyclic;
    std::vector<std::uint32_t> unique = cycle;
    std::sort(unique.begin(), unique.end());
    REQUIRE(std::adjacent_find(unique.begin(), unique.end()) == unique.end());
    REQUIRE(cycle.front() == unique.front());
    for (std::size_t at = 0; at < cycle.size(); ++at) {
      const std::uint32_t before = cycle[at], after = cycle[(at + 1) % cycle.size()];
      const auto begin = rows.indices.begin() + rows.indptr[after], end = rows.indices.begin() + rows.indptr[after + 1];
      REQUIRE(std::find(begin, end, ~std::int64_t{before}) != end);
    }
  }
  CHECK(cyclic > 100);
}

TEST_CASE("a cycle error says the cycle, and shortens a long one") {
  CHECK(std::string(CycleError({TaskId{3}, TaskId{7}}).what()) == "3 -> 7 -> 3 is a cycle; remove one of these edges");
  std::vector<TaskId> many;
  for (std::uint32_t k = 0; k < 20; ++k) many.push_back(TaskId{k});
  CHECK(std::string(CycleError(many).what()) ==
        "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> 7 -> 8 -> 9 -> 10 -> 11 -> 12 -> 13 -> 14 -> 15 -> 4 more -> 0 is a cycle; "
        "remove one of these edges");
  CHECK(CycleError(many).cycle().size() == 20);
}

TEST_CASE("an index that names no task is refused with its place, its value and what is allowed") {
  CHECK(refusal<std::out_of_range>(2, 10, {0, 1, 2}, {9, 10}) ==
        "indices[1] of node 1 is 10; earlier tasks are 0 .. 9; write ~k for node k of the same batch");
  CHECK(refusal<std::out_of_range>(2, 0, {0, 1, 2}, {~0, 0}) ==
        "indices[1] of node 1 is 0; there are no earlier tasks; write ~k for node k of the same batch");
  CHECK(refusal<std::out_of_range>(2, 10, {0, 0, 1}, {~2}) ==
        "indices[0] of node 1 is -3; it stands for node 2 of a batch of 2, allowed are -2 .. -1");
  CHECK(refusal<std::out_of_range>(1, 10, {0, 1}, {INT64_MIN}) ==
        "indices[0] of node 0 is -9223372036854775808; it stands for node 9223372036854775807 of a batch of 1, allowed "
        "are -1 .. -1");
  CHECK(refusal<std::out_of_range>(1, 10, {0, 1}, {9}) == "not refused");
}

TEST_CASE("rows that are none are refused") {
  CHECK(refusal<std::invalid_argument>(2, 10, {0, 1}, {3}) ==
        "indptr has 2 entries for 2 nodes; it needs one more than there are nodes");
  CHECK(refusal<std::invalid_argument>(2, 10, {1, 1, 1}, {3}) == "indptr[0] is 1; it must be 0");
  CHECK(refusal<std::invalid_argument>(2, 10, {0, 2, 1}, {3}) ==
        "indptr[2] is 1, less than indptr[1] = 2; row starts never fall");
  CHECK(refusal<std::invalid_argument>(2, 10, {0, 1, 1}, {3, 4}) ==
        "indptr ends at 1, but there are 2 indices; the last entry is their number");
  CHECK(refusal<std::invalid_argument>(2, 10, {}, {3}) ==
        "indptr has 0 entries for 2 nodes; it needs one more than there are nodes");
  CHECK(refusal<std::invalid_argument>(2, 10, {}, {}) == "not refused");
  CHECK(refusal<std::invalid_argument>(0, 0, {0}, {}) == "not refused");
}

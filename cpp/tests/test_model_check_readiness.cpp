// Readiness under every schedule with a bounded number of preemptions: growth, completion and deferral side by side. A
// node is freed exactly once, by whoever meets its last predecessor, and sees what all of them did.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "freed_memory.hpp"
#include "model_check.hpp"
#include "penstock/readiness.hpp"
#include "penstock/tickets.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

using ExploredReadiness = BasicReadiness<ExploredAtom>;

TaskId id(std::size_t task) { return TaskId{static_cast<std::uint32_t>(task)}; }

// A graph whose tasks are completed by who frees them, as far as `runs` says.
class Graph {
 public:
  static constexpr std::size_t kMost = 6;

  std::array<std::vector<std::size_t>, kMost> predecessors;
  std::array<bool, kMost> runs{};  // completed at once by who frees it

  void grow(const std::vector<std::vector<std::size_t>>& rows) {
    const std::size_t first = readiness_.size();
    std::vector<std::int64_t> indptr{0}, indices;
    for (std::size_t k = 0; k < rows.size(); ++k) {
      predecessors[first + k] = rows[k];
      for (const std::size_t before : rows[k]) {
        indices.push_back(before < first ? static_cast<std::int64_t>(before) : ~static_cast<std::int64_t>(before - first));
      }
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
    std::vector<TaskId> ready;
    readiness_.grow(rows.size(), indptr, indices, ready);
    for (const TaskId task : ready) freed(task);
  }
  void complete(std::size_t task) {
    result_[task] = 1;
    readiness_.complete(id(task), [&](TaskId successor) { freed(successor); });
  }
  // A running task waits for others, as Scheduler::defer() does it.
  void defer(std::size_t task, const std::vector<std::size_t>& children) {
    predecessors[task] = children;
    readiness_.rearm(id(task), static_cast<std::uint32_t>(children.size()) + 1);
    for (const std::size_t child : children) {
      if (!readiness_.add_edge(id(child), id(task))) readiness_.satisfy(id(task));
    }
    if (readiness_.satisfy(id(task))) freed(id(task));
  }
  void check(const std::vector<int>& times) const {
    for (std::size_t k = 0; k < times.size(); ++k) {
      Explorer::require(freed_[k] == times[k], "node " + std::to_string(k) + " was freed " + std::to_string(freed_[k]) + " times");
      Explorer::require(readiness_.unmet(id(k)) == 0, "something is unmet at rest");
    }
  }

 private:
  void freed(TaskId task) {
    const std::size_t k = index(task);
    ++freed_[k];  // plain, as result_: ThreadSanitizer reports a free that is not ordered after the predecessors' ends
    for (const std::size_t before : predecessors[k]) {
      Explorer::require(result_[before] == 1, "node " + std::to_string(k) + " was freed before the end of " + std::to_string(before));
    }
    if (runs[k]) complete(k);
  }

  ExploredReadiness readiness_;
  std::array<int, kMost> freed_{}, result_{};
};

}  // namespace

TEST_CASE("two predecessors that complete at once free their successor once") {
  check_all("two completions", kThorough, [] {
    Graph graph;
    graph.grow({{}, {}, {0, 1}, {2, 0}});
    graph.runs[2] = true;
    Explorer::together({[&] { graph.complete(0); }, [&] { graph.complete(1); }});
    graph.check({1, 1, 1, 1});
  });
  check_all("three completions", kUsual, [] {
    Graph graph;
    graph.grow({{}, {}, {}, {0, 1, 2}, {1, 2}});
    Explorer::together({[&] { graph.complete(0); }, [&] { graph.complete(1); }, [&] { graph.complete(2); }});
    graph.check({1, 1, 1, 1, 1});
  });
}

TEST_CASE("a batch that is added while its predecessors complete is freed once, by them or by the grower") {
  check_all("growth beside a completion", kThorough, [] {
    Graph graph;
    graph.grow({{}});
    graph.runs[1] = graph.runs[2] = true;
    Explorer::together({[&] { graph.complete(0); }, [&] { graph.grow({{0}, {0, 1}, {2}}); }});
    graph.check({1, 1, 1, 1});
  });
  check_all("growth beside two completions", kUsual, [] {
    Graph graph;
    graph.grow({{}, {}});
    graph.runs[2] = true;
    Explorer::together({[&] { graph.complete(0); }, [&] { graph.complete(1); }, [&] { graph.grow({{0, 1}, {1, 2}}); }});
    graph.check({1, 1, 1, 1});
  });
  check_all("growth twice beside two completions", kUsual, [] {
    Graph graph;
    graph.grow({{}, {}});
    Explorer::together({[&] { graph.complete(0); }, [&] { graph.complete(1); },
                        [&] {
                          graph.grow({{0, 0}});
                          graph.grow({{1, 0}});
                        }});
    graph.check({1, 1, 1, 1});
  });
}

TEST_CASE("a task that defers while its children complete is freed once more") {
  check_all("deferral", kUsual, [] {
    Graph graph;
    graph.grow({{}, {}, {}});
    Explorer::together({[&] { graph.complete(0); }, [&] { graph.complete(1); }, [&] { graph.defer(2, {0, 1}); }});
    graph.check({1, 1, 2});
  });
}

TEST_CASE("a second completion does nothing, whichever comes first") {
  check_all("the same completion twice", kThorough, [] {
    ExploredReadiness readiness;
    std::vector<TaskId> ready;
    const std::vector<std::int64_t> indptr{0, 0, 1}, indices{~0};
    readiness.grow(2, indptr, indices, ready);
    std::array<int, 2> frees{};
    Explorer::together({[&] { readiness.complete(id(0), [&](TaskId) { ++frees[0]; }); },
                        [&] { readiness.complete(id(0), [&](TaskId) { ++frees[1]; }); }});
    Explorer::require(frees[0] + frees[1] == 1, "freed twice or never");
  });
}

TEST_CASE("a ticket table that several threads grow at once has one word for each task, zero at first") {
  check_all("tickets", kThorough, [] {
    BasicTickets<ExploredAtom> tickets;
    std::array<BasicTickets<ExploredAtom>::Word*, 3> words{};
    const auto grow = [&](std::size_t k) {
      words[k] = &tickets.grow(TaskId{70});
      (void)words[k]->fetch_add(std::uint64_t{1} << (8 * k));
    };
    Explorer::together({[&] { grow(0); }, [&] { grow(1); }, [&] {
                          words[2] = tickets.find(TaskId{70});
                          if (words[2] == nullptr) grow(2);
                          else (void)words[2]->fetch_add(std::uint64_t{1} << 16);
                        }});
    Explorer::require(words[0] == words[1] && words[1] == words[2], "two words for one task");
    Explorer::require(words[0]->load() == 0x010101, "an addition was lost, or the word was not zero");
  });
}

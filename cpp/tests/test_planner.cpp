// The planner against what is independent of it: a verifier that looks at every instant, and the true optimum of small
// problems, found by trying every order.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "effort.hpp"
#include "penstock/batch_graph.hpp"
#include "penstock/planner.hpp"
#include "penstock/planner/schemes.hpp"

using namespace penstock;
using namespace penstock::planner;

namespace {

const ShouldStop kNever_ = [] { return false; };

struct Instance {
  std::vector<Instant> durations, release;
  std::vector<Amount> demands, capacity;
  std::vector<std::int64_t> indptr{0}, indices;
  [[nodiscard]] Problem problem() const { return {durations, demands, capacity, indptr, indices, release}; }
};

/// Tasks are numbered at random, so that predecessors also come after their task.
Instance random_instance(std::uint64_t seed, std::size_t n, std::size_t resources, Amount capacity, bool releases = false) {
  std::mt19937_64 random(seed);
  Instance in;
  std::vector<std::size_t> name(n);
  std::iota(name.begin(), name.end(), std::size_t{0});
  std::shuffle(name.begin(), name.end(), random);
  std::vector<std::vector<std::int64_t>> before(n);
  for (std::size_t k = 1; k < n; ++k) {
    for (std::size_t e = random() % 3; e > 0; --e) before[name[k]].push_back(static_cast<std::int64_t>(name[random() % k]));
  }
  for (std::size_t r = 0; r < resources; ++r) in.capacity.push_back(capacity);
  for (std::size_t k = 0; k < n; ++k) {
    in.durations.push_back(static_cast<Instant>(random() % 8));  // none at all among them
    for (std::size_t r = 0; r < resources; ++r) {
      in.demands.push_back(random() % 3 == 0 ? 0 : static_cast<Amount>(random() % static_cast<std::uint64_t>(capacity + 1)));
    }
    if (releases) in.release.push_back(static_cast<Instant>(random() % 6));
    in.indices.insert(in.indices.end(), before[k].begin(), before[k].end());
    in.indptr.push_back(static_cast<std::int64_t>(in.indices.size()));
  }
  return in;
}

/// Empty, or what is wrong with the schedule. Looks at the sum of demands at every start.
std::string fault(const Instance& in, const std::vector<Instant>& start, Instant makespan) {
  const std::size_t n = in.durations.size(), resources = in.capacity.size();
  if (start.size() != n) return "it has " + std::to_string(start.size()) + " starts";
  Instant end = 0;
  for (std::size_t k = 0; k < n; ++k) {
    end = std::max(end, start[k] + in.durations[k]);
    if (start[k] < (in.release.empty() ? 0 : in.release[k])) return std::to_string(k) + " starts before its release";
    for (auto e = in.indptr[k]; e < in.indptr[k + 1]; ++e) {
      const auto p = static_cast<std::size_t>(in.indices[static_cast<std::size_t>(e)]);
      if (start[p] + in.durations[p] > start[k]) return std::to_string(k) + " starts before " + std::to_string(p) + " ends";
    }
    for (std::size_t r = 0; r < resources; ++r) {
      Amount held = 0;
      for (std::size_t j = 0; j < n; ++j) {
        if (start[j] <= start[k] && start[k] < start[j] + in.durations[j]) held += in.demands[j * resources + r];
      }
      if (held > in.capacity[r]) return "at the start of " + std::to_string(k) + " resource " + std::to_string(r) + " is overdrawn";
    }
  }
  return end == makespan ? "" : "its end is " + std::to_string(end) + ", not " + std::to_string(makespan);
}

/// The least makespan of all serial schedules, one of which is optimal (Kolisch 1996), by plain counting of whole ns.
Instant optimum(const Instance& in) {
  const std::size_t n = in.durations.size(), resources = in.capacity.size();
  Instant best = std::numeric_limits<Instant>::max();
  std::vector<Instant> start(n, -1);
  const auto fits = [&](std::size_t k, Instant at) {
    for (Instant t = at; t < at + in.durations[k]; ++t) {
      for (std::size_t r = 0; r < resources; ++r) {
        Amount held = in.demands[k * resources + r];
        for (std::size_t j = 0; j < n; ++j) {
          if (j != k && start[j] >= 0 && start[j] <= t && t < start[j] + in.durations[j]) held += in.demands[j * resources + r];
        }
        if (held > in.capacity[r]) return false;
      }
    }
    return true;
  };
  const auto go = [&](auto&& self, std::size_t placed, Instant end) -> void {
    if (end >= best) return;
    if (placed == n) {
      best = end;
      return;
    }
    for (std::size_t k = 0; k < n; ++k) {
      if (start[k] >= 0) continue;
      Instant from = in.release.empty() ? 0 : in.release[k];
      bool ready = true;
      for (auto e = in.indptr[k]; e < in.indptr[k + 1]; ++e) {
        const auto p = static_cast<std::size_t>(in.indices[static_cast<std::size_t>(e)]);
        ready = ready && start[p] >= 0;
        from = std::max(from, start[p] + in.durations[p]);
      }
      if (!ready) continue;
      while (!fits(k, from)) ++from;
      start[k] = from;
      self(self, placed + 1, std::max(end, from + in.durations[k]));
      start[k] = -1;
    }
  };
  go(go, 0, 0);
  return best;
}

std::string refusal(const Problem& problem) {
  try {
    (void)plan(problem, {0, 10}, kNever_);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "not refused";
}

}  // namespace

TEST_CASE("small problems are solved to the optimum, and no lower bound is above it") {
  for (std::uint64_t seed = 0; seed < test::effort(60); ++seed) {
    const Instance in = random_instance(seed, 2 + seed % 6, 1 + seed % 3, 4 + static_cast<Amount>(seed % 3), seed % 4 == 0);
    const Plan made = plan(in.problem(), {seed, 600}, kNever_);
    CAPTURE(seed);
    REQUIRE(made.complete);
    CHECK(fault(in, made.start, made.makespan) == "");
    const Instant best = optimum(in);
    CHECK(made.makespan == best);
    CHECK(made.lower_bound <= best);
  }
}

TEST_CASE("every schedule keeps to precedence, capacity and releases, and its order is one to start in") {
  for (std::uint64_t seed = 0; seed < test::effort(40); ++seed) {
    const std::size_t resources = seed % 5 == 4 ? 9 : 1 + seed % 3;
    const Amount capacity = seed % 2 == 0 ? 10 : Amount{1} << (20 + seed % 42);  // more words than one, too
    const Instance in = random_instance(seed, 20 + 7 * (seed % 9), resources, capacity, seed % 3 == 0);
    CAPTURE(seed);
    const Plan made = plan(in.problem(), {seed, 300}, kNever_);
    REQUIRE(made.complete);
    CHECK(fault(in, made.start, made.makespan) == "");
    CHECK(made.lower_bound <= made.makespan);
    std::vector<bool> seen(in.durations.size());
    for (std::size_t at = 0; at < made.order.size(); ++at) {
      const std::uint32_t k = made.order[at];
      REQUIRE(!seen[k]);
      seen[k] = true;
      if (at > 0) REQUIRE(made.start[made.order[at - 1]] <= made.start[k]);
      for (auto e = in.indptr[k]; e < in.indptr[k + 1]; ++e) REQUIRE(seen[static_cast<std::size_t>(in.indices[static_cast<std::size_t>(e)])]);
    }
    CHECK(made.order.size() == in.durations.size());

    std::vector<double> ranks(in.durations.size());
    std::mt19937_64 random(seed);
    for (double& rank : ranks) rank = static_cast<double>(random() % 10);
    for (const Scheme scheme : {Scheme::parallel, Scheme::serial}) {
      const Plan once = dispatch(in.problem(), ranks, scheme, kNever_);
      CHECK(fault(in, once.start, once.makespan) == "");
      CHECK(once.schedules == 1);
    }
  }
}

TEST_CASE("a justified schedule is never longer than it was") {
  for (std::uint64_t seed = 0; seed < test::effort(200); ++seed) {
    const Instance in = random_instance(seed, 40, 2, 6, seed % 2 == 0);
    Project project;
    REQUIRE(prepare(in.problem(), project, kNever_));
    REQUIRE(project.words == 1);
    Justifier<1> pass(project);
    std::vector<double> ranks(project.n);
    std::mt19937_64 random(seed);
    for (double& rank : ranks) rank = static_cast<double>(random());
    std::vector<Instant> start(project.n);
    std::vector<std::uint32_t> list;
    const Instant before = pass.forward().parallel<double>(ranks, start, kNever_);
    const Instant after = pass.improve(start, list, kNever_);
    CHECK(after <= before);
    CHECK(fault(in, start, after) == "");
  }
}

TEST_CASE("dispatch starts what is ready and fits, the smaller rank first, and never waits for a better one") {
  Instance in;  // capacity 2: 0 is wide and late in rank, 1 and 2 are narrow
  in.capacity = {2};
  in.durations = {3, 2, 4};
  in.demands = {2, 1, 1};
  in.indptr = {0, 0, 0, 0};
  const Plan made = dispatch(in.problem(), std::vector<double>{2, 1, 0}, Scheme::parallel, kNever_);
  CHECK(made.start == std::vector<Instant>{4, 0, 0});
  CHECK(made.order == std::vector<std::uint32_t>{1, 2, 0});
  CHECK(made.makespan == 7);
}

TEST_CASE("a greedy plan is what dispatch makes of its order") {
  for (std::uint64_t seed = 0; seed < test::effort(60); ++seed) {
    const Instance in = random_instance(seed, 3 + seed, 1 + seed % 2, 6, seed % 3 == 0);
    CAPTURE(seed);
    const Plan made = plan(in.problem(), {seed, 500, true}, kNever_);
    REQUIRE(made.complete);
    CHECK(fault(in, made.start, made.makespan) == "");
    std::vector<double> ranks(in.durations.size());
    for (std::size_t at = 0; at < ranks.size(); ++at) ranks[made.order[at]] = static_cast<double>(at);
    CHECK(dispatch(in.problem(), ranks, Scheme::parallel, kNever_).makespan == made.makespan);
    CHECK(plan(in.problem(), {seed, 500}, kNever_).lower_bound <= made.makespan);
  }
}

TEST_CASE("the same seed and number of schedules give the same plan; another seed need not") {
  const Instance in = random_instance(5, 60, 2, 6);
  const Plan a = plan(in.problem(), {1, 2000}, kNever_), b = plan(in.problem(), {1, 2000}, kNever_);
  CHECK(a.start == b.start);
  CHECK(a.schedules == b.schedules);
  bool differs = false;
  for (std::uint64_t seed = 2; seed < 6; ++seed) differs = differs || plan(in.problem(), {seed, 2000}, kNever_).start != a.start;
  CHECK(differs);
}

TEST_CASE("more schedules are never a longer plan, and no more are made than allowed, but for the last pass") {
  const Instance in = random_instance(8, 50, 3, 5);
  Instant last = std::numeric_limits<Instant>::max();
  for (const std::uint64_t iterations : {1, 3, 50, 1000, 5000}) {
    const Plan made = plan(in.problem(), {3, iterations}, kNever_);
    CHECK(made.makespan <= last);
    CHECK(made.schedules <= iterations + 1);
    last = made.makespan;
  }
}

TEST_CASE("it stops when it is told to, at any question, with a whole schedule or none") {
  const Instance in = random_instance(11, 300, 2, 5);
  bool with = false, without = false;
  for (int most = 0; most < 6000; most += 1 + most / 8) {
    int asked = 0, after = 0;
    const Plan made = plan(in.problem(), {0, 0}, [&] {
      if (asked < most) {
        ++asked;
        return false;
      }
      ++after;
      return true;
    });
    CHECK(after >= 1);
    CHECK(after < 10);  // it asks again on its way out, and goes
    if (made.complete) CHECK(fault(in, made.start, made.makespan) == "");
    (made.complete ? with : without) = true;
  }
  CHECK(with);
  CHECK(without);
}

TEST_CASE("bottom levels are the longest chains, whatever the numbering") {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Instance in = random_instance(seed, 50, 1, 5);
    std::vector<Instant> levels(in.durations.size());
    REQUIRE(bottom_levels(in.durations, in.indptr, in.indices, levels, kNever_));
    Project project;
    REQUIRE(prepare(in.problem(), project, kNever_));
    for (std::size_t k = 0; k < levels.size(); ++k) CHECK(levels[k] == in.durations[k] + project.tail[k]);
  }
}

TEST_CASE("nothing to plan, and too much to plan") {
  Instance in;
  const Plan none = plan(in.problem(), {0, 10}, kNever_);
  CHECK(none.complete);
  CHECK(none.makespan == 0);
  in.durations.assign(50'001, 1);
  in.indptr.clear();
  CHECK_FALSE(plan(in.problem(), {0, 10}, kNever_).complete);
}

TEST_CASE("what cannot be planned is refused by task and number") {
  Instance in;
  in.capacity = {4};
  in.durations = {1, 2};
  in.demands = {1, 5};
  in.indptr = {0, 0, 1};
  in.indices = {0};
  CHECK(refusal(in.problem()) == "task 1 asks for 5 of resource 0; allowed is 0 .. 4, its capacity");
  in.demands = {1, 4};
  in.durations = {1, -2};
  CHECK(refusal(in.problem()) == "task 1 has duration -2 ns; allowed is 0 or more");
  in.durations = {Instant{1} << 61, (Instant{1} << 61) + 1};
  CHECK(refusal(in.problem()) == "the durations add up to more than 2^62 ns (146 years) at task 1");
  in.durations = {1, 2};
  in.indices = {2};
  CHECK(refusal(in.problem()) == "task 1 waits for task 2; there are tasks 0 .. 1");
  in.indices = {0};
  in.demands = {1};
  CHECK(refusal(in.problem()) == "demands has 1 entries, not 2; give one for each task and resource");
  in.demands = {1, 4};
  in.capacity = {-1};
  CHECK(refusal(in.problem()) == "capacity of resource 0 is -1; allowed is 0 or more");
  in.capacity = {4};
  in.release = {0};
  CHECK(refusal(in.problem()) == "release has 1 entries, not 2; give one for each task, or none");
  in.release = {0, -1};
  CHECK(refusal(in.problem()) == "task 1 has release -1 ns; allowed is 0 .. 2^61");
  in.release.clear();
  in.indptr = {0, 1, 2};
  in.indices = {1, 0};
  CHECK_THROWS_AS((void)plan(in.problem(), {0, 10}, kNever_), CycleError);
  in.indptr = {0, 0, 1};
  in.indices = {0};
  CHECK_THROWS_AS((void)dispatch(in.problem(), std::vector<double>{0}, Scheme::serial, kNever_), std::invalid_argument);
  CHECK(refusal(in.problem()) == "not refused");
}

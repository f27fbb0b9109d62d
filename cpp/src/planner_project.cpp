// Checks and prepares what a planner is given.
#include "penstock/planner/project.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "penstock/batch_graph.hpp"

namespace penstock::planner {
namespace {

constexpr std::size_t kPause = 8192;  // tasks between two questions whether to stop
constexpr Instant kMost = Instant{1} << 62;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

void check_length(std::size_t got, std::size_t wanted, const char* name, const char* of) {
  if (got == wanted) return;
  refuse(std::string(name) + " has " + std::to_string(got) + " entries, not " + std::to_string(wanted) + "; give one for " +
         of);
}

void check_rows(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices) {
  if (n >= std::numeric_limits<std::uint32_t>::max() || indices.size() >= std::numeric_limits<std::uint32_t>::max()) {
    refuse("a plan of " + std::to_string(n) + " tasks and " + std::to_string(indices.size()) +
           " dependencies; at most 2^32 - 2 of each");
  }
  batch_graph::detail::check_rows(n, indptr, indices.size());
}

void check_predecessor(std::size_t task, std::int64_t p, std::size_t n) {
  if (p >= 0 && static_cast<std::size_t>(p) < n) return;
  refuse("task " + std::to_string(task) + " waits for task " + std::to_string(p) + "; there are tasks 0 .. " +
         std::to_string(n - 1));
}

[[noreturn]] void refuse_cycle(std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
                               std::span<const std::uint32_t> left) {
  std::vector<std::int64_t> local(indices.size());
  std::transform(indices.begin(), indices.end(), local.begin(), [](std::int64_t p) { return ~p; });
  throw CycleError(batch_graph::cycle(indptr, local, left));
}

/// Successor rows by counting sort; `unmet`: predecessors of each task. False: told to stop.
bool successors(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices, Rows& after,
                const ShouldStop& should_stop) {
  after.begin.assign(n + 1, 0);
  after.items.resize(indices.size());
  for (const std::int64_t p : indices) ++after.begin[static_cast<std::size_t>(p) + 1];
  std::partial_sum(after.begin.begin(), after.begin.end(), after.begin.begin());
  std::vector<std::uint32_t> at(after.begin.begin(), after.begin.end() - 1);
  for (std::size_t k = 0; k < n && !indptr.empty(); ++k) {
    if (k % kPause == 0 && should_stop()) return false;
    for (auto e = static_cast<std::size_t>(indptr[k]); e < static_cast<std::size_t>(indptr[k + 1]); ++e) {
      after.items[at[static_cast<std::size_t>(indices[e])]++] = static_cast<std::uint32_t>(k);
    }
  }
  return true;
}

/// Tasks so that each comes after its predecessors. False: told to stop.
bool topological(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
                 const Rows& after, std::vector<std::uint32_t>& order, const ShouldStop& should_stop) {
  std::vector<std::uint32_t> left(n, 0);
  order.clear();
  order.reserve(n);
  for (std::size_t k = 0; k < n; ++k) {
    if (!indptr.empty()) left[k] = static_cast<std::uint32_t>(indptr[k + 1] - indptr[k]);
    if (left[k] == 0) order.push_back(static_cast<std::uint32_t>(k));
  }
  for (std::size_t at = 0; at < order.size(); ++at) {
    if (at % kPause == 0 && should_stop()) return false;
    for (const std::uint32_t s : after[order[at]]) {
      if (--left[s] == 0) order.push_back(s);
    }
  }
  if (order.size() != n) refuse_cycle(indptr, indices, left);
  return true;
}

/// Checks durations and edges; `in_order`: every predecessor comes before its task. False: told to stop.
bool check(std::span<const Instant> durations, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
           bool& in_order, const ShouldStop& should_stop) {
  const std::size_t n = durations.size();
  check_rows(n, indptr, indices);
  in_order = true;
  Instant sum = 0;
  for (std::size_t k = 0; k < n; ++k) {
    if (k % kPause == 0 && should_stop()) return false;
    if (durations[k] < 0) refuse("task " + std::to_string(k) + " has duration " + std::to_string(durations[k]) + " ns; allowed is 0 or more");
    if (durations[k] > kMost - sum) refuse("the durations add up to more than 2^62 ns (146 years) at task " + std::to_string(k));
    sum += durations[k];
    if (indptr.empty()) continue;
    for (auto e = static_cast<std::size_t>(indptr[k]); e < static_cast<std::size_t>(indptr[k + 1]); ++e) {
      check_predecessor(k, indices[e], n);
      in_order &= static_cast<std::size_t>(indices[e]) < k;
    }
  }
  return true;
}

void pack_demands(const Problem& problem, Project& p) {
  const std::size_t resources = problem.capacity.size();
  check_length(problem.demands.size(), p.n * resources, "demands", "each task and resource");
  std::vector<Amount> total(resources, 0), unit(resources, 0);
  for (std::size_t r = 0; r < resources; ++r) {
    if (problem.capacity[r] < 0) refuse("capacity of resource " + std::to_string(r) + " is " + std::to_string(problem.capacity[r]) + "; allowed is 0 or more");
  }
  for (std::size_t k = 0; k < p.n; ++k) {
    for (std::size_t r = 0; r < resources; ++r) {
      const Amount amount = problem.demands[k * resources + r];
      if (amount < 0 || amount > problem.capacity[r]) {
        refuse("task " + std::to_string(k) + " asks for " + std::to_string(amount) + " of resource " + std::to_string(r) +
               "; allowed is 0 .. " + std::to_string(problem.capacity[r]) + ", its capacity");
      }
      unit[r] = std::gcd(unit[r], amount);
      total[r] = amount > kUnlimited - total[r] ? kUnlimited : total[r] + amount;
    }
  }
  unsigned used = 64;
  for (std::size_t r = 0; r < resources; ++r) {
    // All tasks at once fit: the resource can never make one wait.
    if (total[r] == 0 || (total[r] <= problem.capacity[r] && total[r] != kUnlimited) || problem.capacity[r] == kUnlimited) continue;
    const auto most = static_cast<std::uint64_t>(problem.capacity[r] / unit[r]);
    const auto bits = static_cast<unsigned>(std::bit_width(most));
    if (used + bits + 1 > 64) {
      ++p.words;
      used = 0;
    }
    p.fields.push_back({r, unit[r], static_cast<unsigned>(p.words - 1), used, bits});
    used += bits + 1;
  }
  if (p.words == 0) p.words = 1;
  p.demand.assign(p.n * p.words, 0);
  p.capacity.assign(p.words, 0);
  p.guard.assign(p.words, 0);
  p.share.assign(p.n * p.fields.size(), 0.0);
  for (const Field& f : p.fields) {
    p.capacity[f.word] |= static_cast<std::uint64_t>(problem.capacity[f.resource] / f.unit) << f.shift;
    p.guard[f.word] |= std::uint64_t{1} << (f.shift + f.bits);
  }
  for (std::size_t k = 0; k < p.n; ++k) {
    // What takes no time holds nothing. (Else time reversed would ask for the room before its instant, not after it.)
    if (p.duration[k] == 0) continue;
    for (std::size_t i = 0; i < p.fields.size(); ++i) {
      const Field& f = p.fields[i];
      const Amount amount = problem.demands[k * resources + f.resource];
      p.demand[k * p.words + f.word] |= static_cast<std::uint64_t>(amount / f.unit) << f.shift;
      p.share[k * p.fields.size() + i] = static_cast<double>(amount) / static_cast<double>(problem.capacity[f.resource]);
    }
  }
}

/// Numbers equal demands alike.
void number_shapes(Project& p) {
  std::unordered_map<std::string, std::uint32_t> seen;
  p.shape.resize(p.n);
  for (std::size_t k = 0; k < p.n; ++k) {
    const std::string key(reinterpret_cast<const char*>(p.demand_of(k)), p.words * sizeof(std::uint64_t));
    p.shape[k] = seen.try_emplace(key, static_cast<std::uint32_t>(seen.size())).first->second;
  }
  p.shapes = std::max<std::size_t>(seen.size(), 1);
}

void heads_and_tails(Project& p) {
  p.head.assign(p.n, 0);
  p.tail.assign(p.n, 0);
  for (const std::uint32_t k : p.order) {
    Instant head = p.release.empty() ? 0 : p.release[k];
    for (const std::uint32_t b : p.before[k]) head = std::max(head, p.head[b] + p.duration[b]);
    p.head[k] = head;
    p.critical_path = std::max(p.critical_path, head + p.duration[k]);
  }
  for (auto k = p.order.rbegin(); k != p.order.rend(); ++k) {
    for (const std::uint32_t s : p.after[*k]) p.tail[*k] = std::max(p.tail[*k], p.duration[s] + p.tail[s]);
  }
}

void invert(const std::vector<std::uint32_t>& order, std::vector<std::uint32_t>& place) {
  place.resize(order.size());
  for (std::size_t at = 0; at < order.size(); ++at) place[order[at]] = static_cast<std::uint32_t>(at);
}

}  // namespace

bool prepare(const Problem& problem, Project& p, const ShouldStop& should_stop) {
  p = Project{};
  p.n = problem.durations.size();
  bool in_order = true;
  if (!check(problem.durations, problem.indptr, problem.indices, in_order, should_stop)) return false;
  p.duration.assign(problem.durations.begin(), problem.durations.end());
  if (!problem.release.empty()) {
    check_length(problem.release.size(), p.n, "release", "each task, or none");
    for (std::size_t k = 0; k < p.n; ++k) {
      if (problem.release[k] < 0 || problem.release[k] > kMost / 2) {
        refuse("task " + std::to_string(k) + " has release " + std::to_string(problem.release[k]) + " ns; allowed is 0 .. 2^61");
      }
    }
    p.release.assign(problem.release.begin(), problem.release.end());
  }
  if (!successors(p.n, problem.indptr, problem.indices, p.after, should_stop)) return false;
  if (in_order) {
    p.order.resize(p.n);
    std::iota(p.order.begin(), p.order.end(), 0U);
  } else if (!topological(p.n, problem.indptr, problem.indices, p.after, p.order, should_stop)) {
    return false;
  }
  invert(p.order, p.place);
  p.before.begin.assign(p.n + 1, 0);
  for (std::size_t k = 0; k < problem.indptr.size(); ++k) p.before.begin[k] = static_cast<std::uint32_t>(problem.indptr[k]);
  p.before.items.assign(problem.indices.begin(), problem.indices.end());
  if (should_stop()) return false;
  pack_demands(problem, p);
  if (should_stop()) return false;
  number_shapes(p);
  heads_and_tails(p);
  return !should_stop();
}

bool bottom_levels(std::span<const Instant> durations, std::span<const std::int64_t> indptr,
                   std::span<const std::int64_t> indices, std::span<Instant> levels, const ShouldStop& should_stop) {
  const std::size_t n = durations.size();
  check_length(levels.size(), n, "levels", "each task");
  bool in_order = true;
  if (!check(durations, indptr, indices, in_order, should_stop)) return false;
  std::vector<std::uint32_t> order;
  if (!in_order) {
    Rows after;
    if (!successors(n, indptr, indices, after, should_stop)) return false;
    if (!topological(n, indptr, indices, after, order, should_stop)) return false;
  }
  std::fill(levels.begin(), levels.end(), 0);  // until a task's turn comes: the longest level of its successors
  for (std::size_t at = n; at-- > 0;) {
    if (at % kPause == 0 && should_stop()) return false;
    const std::size_t k = in_order ? at : order[at];
    levels[k] += durations[k];
    if (indptr.empty()) continue;
    for (auto e = static_cast<std::size_t>(indptr[k]); e < static_cast<std::size_t>(indptr[k + 1]); ++e) {
      Instant& below = levels[static_cast<std::size_t>(indices[e])];
      below = std::max(below, levels[k]);
    }
  }
  return true;
}

Project reversed(const Project& project) {
  Project r = project;
  std::swap(r.before, r.after);
  std::swap(r.head, r.tail);
  if (!project.release.empty()) r.release.clear();
  std::reverse(r.order.begin(), r.order.end());
  invert(r.order, r.place);
  if (!project.release.empty()) {  // heads held releases; reversed, they are tails again by dependencies alone
    for (std::size_t at = r.n; at-- > 0;) {
      const std::uint32_t k = r.order[at];
      r.tail[k] = 0;
      for (const std::uint32_t s : r.after[k]) r.tail[k] = std::max(r.tail[k], r.duration[s] + r.tail[s]);
    }
  }
  return r;
}

}  // namespace penstock::planner

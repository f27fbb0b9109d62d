// The search: seeds by rule, then generations of justified children.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "penstock/planner.hpp"
#include "penstock/planner/random.hpp"
#include "penstock/planner/schemes.hpp"

namespace penstock::planner {
namespace {

constexpr std::size_t kMostResourceWords = kMaxResources;
constexpr std::size_t kMostTasks = 50'000;  // beyond, the steps between two questions whether to stop get too long

template <std::size_t W>
class Search {
 public:
  Search(const Project& project, const Options& options, const ShouldStop& should_stop, Plan& best)
      : p_(project),
        options_(options),
        should_stop_(should_stop),
        best_(best),
        random_(options.seed),
        pass_(project),
        key_(project.n),
        child_(project.n),
        taken_(project.n) {}

  void run() {
    seeds();
    while (!done()) {
      if (!populate()) break;
      evolve();
    }
  }

 private:
  struct Member {
    Instant makespan = std::numeric_limits<Instant>::max();
    std::uint64_t print = 0;  // of its start times, so that no two members are the same schedule
    std::vector<std::uint32_t> list;
    std::vector<Instant> start;
  };

  [[nodiscard]] bool done() {
    return (best_.complete && best_.makespan <= best_.lower_bound) ||
           (options_.iterations != 0 && best_.schedules >= options_.iterations) || should_stop_();
  }

  /// Takes note of a schedule; returns false when the search is over.
  bool note(const Member& m) {
    if (!best_.complete || m.makespan < best_.makespan) {
      best_.start = m.start;
      best_.makespan = m.makespan;
      best_.complete = true;
    }
    return !done();
  }

  bool make_parallel(Member& m) {
    const Instant found = pass_.forward().template parallel<double>(key_, m.start, should_stop_);
    if (found < 0) return false;
    ++best_.schedules;
    m.makespan = found;
    return true;
  }

  /// What greedy dispatch makes of the member's list.
  bool dispatched(Member& m) {
    for (std::size_t at = 0; at < p_.n; ++at) key_[m.list[at]] = static_cast<double>(at);
    return make_parallel(m);
  }

  /// Double justification until it no longer shortens, each time followed by dispatch where only that counts.
  bool justify_greedy(Member& m) {
    order_by_start(p_, m.start, m.list);
    for (;;) {
      trial_.start = m.start;
      trial_.list = m.list;
      if (pass_.improve(trial_.start, trial_.list, should_stop_) < 0) return false;
      best_.schedules += 2;
      if (!dispatched(trial_) || !note(trial_)) return false;
      const bool shorter = trial_.makespan < m.makespan;
      if (trial_.makespan <= m.makespan) {
        std::swap(m.start, trial_.start);
        std::swap(m.makespan, trial_.makespan);
        order_by_start(p_, m.start, m.list);
      }
      if (!shorter) break;
    }
    print(m);
    return true;
  }

  /// Double justification until it no longer shortens.
  bool justify(Member& m) {
    if (options_.greedy) return justify_greedy(m);
    for (;;) {
      const Instant before = m.makespan;
      m.makespan = pass_.improve(m.start, m.list, should_stop_);
      if (m.makespan < 0) return false;
      best_.schedules += 2;
      if (!note(m)) return false;
      if (m.makespan >= before) break;
    }
    print(m);
    return true;
  }

  void print(Member& m) const {
    m.print = 0;
    for (std::size_t k = 0; k < p_.n; ++k) {
      m.print = (m.print ^ static_cast<std::uint64_t>(m.start[k])) * 0x9E3779B97F4A7C15U;
      m.print ^= m.print >> 29;
    }
  }

  bool seed() {
    Member m;
    m.start.resize(p_.n);
    m.list.resize(p_.n);
    if (!make_parallel(m) || !note(m) || !justify(m)) return false;
    seeds_.push_back(std::move(m));
    return true;
  }

  /// What plain rules give. The first one, longest tail with half of the task's own duration, is the best of them on
  /// its own; one pass of it, justified once, is what `iterations` = 3 asks for.
  void seeds() {
    if (p_.n == 0) {
      best_.complete = true;
      return;
    }
    const auto with = [&](auto&& key) {
      for (std::size_t k = 0; k < p_.n; ++k) key_[k] = key(k);
      return seed();
    };
    const auto tail = [&](std::size_t k) { return static_cast<double>(p_.tail[k]); };
    const auto length = [&](std::size_t k) { return static_cast<double>(p_.duration[k]); };
    const auto widest = [&](std::size_t k) {
      double share = 0.0;
      for (std::size_t f = 0; f < p_.fields.size(); ++f) share = std::max(share, p_.share[k * p_.fields.size() + f]);
      return share;
    };
    (void)(with([&](std::size_t k) { return -tail(k) - 0.5 * length(k); }) &&
           with([&](std::size_t k) { return -tail(k) - length(k); }) && with([&](std::size_t k) { return -tail(k); }) &&
           with([&](std::size_t k) { return static_cast<double>(k); }) &&
           with([&](std::size_t k) { return -tail(k) - length(k) - widest(k) * length(k); }) &&
           with([&](std::size_t k) { return -static_cast<double>(p_.after[k].size()); }));
  }

  /// Fewer members of large schedules: a generation must fit a budget.
  [[nodiscard]] std::size_t members() const {
    return p_.n <= 200 ? 80 : p_.n <= 1000 ? 20 : 10;
  }

  /// The first time the seeds and noisy variants of their rule; later only new ones, so that a restart is one.
  bool populate() {
    population_ = std::move(seeds_);
    seeds_.clear();
    const double spread = static_cast<double>(std::max<Instant>(p_.critical_path, 1));
    while (population_.size() < members()) {
      Member m;
      m.start.resize(p_.n);
      m.list.resize(p_.n);
      const double noise = spread * (0.05 + 1.45 * random_.unit());
      for (std::size_t k = 0; k < p_.n; ++k) {
        key_[k] = -static_cast<double>(p_.tail[k]) - 0.5 * static_cast<double>(p_.duration[k]) + noise * random_.unit();
      }
      if (!make_parallel(m) || !note(m) || !justify(m)) return false;
      population_.push_back(std::move(m));
    }
    return true;
  }

  const Member& parent() {
    const Member& a = population_[random_.below(population_.size())];
    const Member& b = population_[random_.below(population_.size())];
    return a.makespan <= b.makespan ? a : b;
  }

  void evolve() {
    const std::size_t patience = 10 * members();
    std::size_t idle = 0;
    Instant shortest = std::numeric_limits<Instant>::max();
    Member m;
    m.start.resize(p_.n);
    m.list.resize(p_.n);
    while (idle < patience) {
      const Member &mother = parent(), &father = parent();
      cross(mother, father);
      mutate();
      std::copy(child_.begin(), child_.end(), m.list.begin());
      if (options_.greedy) {
        if (!dispatched(m)) return;
      } else {
        m.makespan = pass_.forward().serial(m.list, m.start, should_stop_);
        if (m.makespan < 0) return;
        ++best_.schedules;
      }
      if (!note(m) || !justify(m)) return;
      auto worst = population_.begin();
      bool twin = false;
      for (auto it = population_.begin(); it != population_.end(); ++it) {
        if (it->makespan > worst->makespan) worst = it;
        twin = twin || (it->makespan == m.makespan && it->print == m.print);
      }
      ++idle;
      if (twin || m.makespan > worst->makespan) continue;
      std::swap(*worst, m);
      if (worst->makespan < shortest) {
        shortest = worst->makespan;
        idle = 0;
      }
    }
  }

  /// Both parents' lists are by start. Two cuts in the father's: what he starts between them keeps his order and stays
  /// together; what he starts before and after goes in the mother's order. Each part is closed under predecessors, so
  /// the child needs no repair.
  void cross(const Member& mother, const Member& father) {
    const std::size_t n = p_.n;
    std::size_t low = 0, high = 0;
    if (random_.below(2) == 0) {
      window(father, low, high);
      for (std::size_t at = 0; at < n; ++at) taken_[father.list[at]] = at < low ? 0 : at < high ? 1 : 2;
      std::size_t first = 0, last = high;
      for (const std::uint32_t k : mother.list) {
        if (taken_[k] == 0) child_[first++] = k;
        if (taken_[k] == 2) child_[last++] = k;
      }
      std::copy(father.list.begin() + static_cast<std::ptrdiff_t>(low), father.list.begin() + static_cast<std::ptrdiff_t>(high),
                child_.begin() + static_cast<std::ptrdiff_t>(low));
      return;
    }
    low = random_.below(n + 1);
    high = random_.below(n + 1);
    if (low > high) std::swap(low, high);
    std::fill(taken_.begin(), taken_.end(), std::uint8_t{0});
    std::size_t at = 0;
    const auto fill = [&](const std::vector<std::uint32_t>& list, std::size_t until) {
      for (std::size_t i = 0; at < until; ++i) {
        if (taken_[list[i]] != 0) continue;
        taken_[list[i]] = 1;
        child_[at++] = list[i];
      }
    };
    fill(mother.list, low);
    fill(father.list, high);
    fill(mother.list, n);
  }

  /// A stretch of the list where the father uses the machine well: a random start, then as long as the load stays high.
  void window(const Member& father, std::size_t& low, std::size_t& high) {
    const std::size_t n = p_.n;
    const std::size_t length = 1 + random_.below(n / 2 + 1);
    double best_load = -1.0;
    for (int tries = 0; tries < 3; ++tries) {
      const std::size_t from = random_.below(n);
      const std::size_t to = std::min(n, from + length);
      double work = 0.0;
      Instant end = 0;
      for (std::size_t at = from; at < to; ++at) {
        const std::uint32_t k = father.list[at];
        double share = 0.0;
        for (std::size_t f = 0; f < p_.fields.size(); ++f) share += p_.share[k * p_.fields.size() + f];
        work += share * static_cast<double>(p_.duration[k]);
        end = std::max(end, father.start[k] + p_.duration[k]);
      }
      const Instant span = end - father.start[father.list[from]];
      const double load = span > 0 ? work / static_cast<double>(span) : 0.0;
      if (load > best_load) {
        best_load = load;
        low = from;
        high = to;
      }
    }
  }

  /// Neighbours that do not depend on each other change places, each with a small probability.
  void mutate() {
    if (p_.n < 2) return;
    const double rate = std::min(0.5, 10.0 / static_cast<double>(p_.n));
    for (std::size_t at = 0; at + 1 < p_.n; ++at) {
      if (random_.unit() >= rate) continue;
      const auto row = p_.before[child_[at + 1]];
      if (std::find(row.begin(), row.end(), child_[at]) == row.end()) std::swap(child_[at], child_[at + 1]);
    }
  }

  const Project& p_;
  const Options& options_;
  const ShouldStop& should_stop_;
  Plan& best_;
  Random random_;
  Justifier<W> pass_;
  std::vector<double> key_;
  std::vector<std::uint32_t> child_;
  std::vector<std::uint8_t> taken_;
  std::vector<Member> seeds_, population_;
  Member trial_;  // scratch of justify_greedy()
};

template <class F>
void with_words(std::size_t words, F&& call) {
  if (words <= 1) return call.template operator()<1>();
  if (words <= 2) return call.template operator()<2>();
  if (words <= 4) return call.template operator()<4>();
  return call.template operator()<kMostResourceWords>();
}

/// The packed words that a template has beyond the project's are empty.
void widen(Project& p) {
  const std::size_t words = p.words <= 2 ? p.words : p.words <= 4 ? 4 : kMostResourceWords;
  if (words == p.words) return;
  std::vector<std::uint64_t> demand(p.n * words, 0);
  for (std::size_t k = 0; k < p.n; ++k) std::copy_n(p.demand_of(k), p.words, &demand[k * words]);
  p.demand = std::move(demand);
  p.capacity.resize(words, 0);
  p.guard.resize(words, 0);
  p.words = words;
}

}  // namespace

Plan plan(const Problem& problem, const Options& options, const ShouldStop& should_stop) {
  Plan best;
  Project project;
  if (problem.durations.size() > kMostTasks) return best;
  if (!prepare(problem, project, should_stop)) return best;
  best.lower_bound = lower_bound(project, should_stop);
  widen(project);
  with_words(project.words, [&]<std::size_t W>() { Search<W>(project, options, should_stop, best).run(); });
  if (best.complete) order_by_start(project, best.start, best.order);
  return best;
}

Plan dispatch(const Problem& problem, std::span<const double> ranks, Scheme scheme, const ShouldStop& should_stop) {
  Plan made;
  Project project;
  if (!prepare(problem, project, should_stop)) return made;
  if (ranks.size() != project.n) {
    throw std::invalid_argument("ranks has " + std::to_string(ranks.size()) + " entries for " + std::to_string(project.n) + " tasks; give one for each");
  }
  for (std::size_t k = 0; k < project.n; ++k) {
    if (!std::isfinite(ranks[k])) throw std::invalid_argument("the rank of task " + std::to_string(k) + " is not finite");
  }
  widen(project);
  made.start.assign(project.n, 0);
  with_words(project.words, [&]<std::size_t W>() {
    Schemes<W> schemes(project);
    if (scheme == Scheme::parallel) {
      made.makespan = schemes.template parallel<double>(ranks, made.start, should_stop);
    } else {
      made.makespan = schemes.serial(schemes.list_of(ranks), made.start, should_stop);
    }
  });
  made.complete = made.makespan >= 0;
  made.schedules = 1;
  if (made.complete) order_by_start(project, made.start, made.order);
  return made;
}

}  // namespace penstock::planner

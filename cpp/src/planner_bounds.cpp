// Lower bounds on the makespan.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "penstock/planner.hpp"

namespace penstock::planner {
namespace {

/// Work over capacity, rounded up to a whole ns but never past the truth for want of digits.
Instant rounded_up(double work) { return static_cast<Instant>(std::ceil(work * (1.0 - 1e-12) - 1e-6)); }

/// For every head h and tail q that occur: h + (work of the tasks with at least that head and that tail) + q.
Instant windows(const Project& p, std::size_t field, const ShouldStop& should_stop) {
  std::vector<std::uint32_t> by_tail(p.n);
  std::iota(by_tail.begin(), by_tail.end(), 0U);
  std::erase_if(by_tail, [&](std::uint32_t k) { return p.duration[k] == 0 || p.share[k * p.fields.size() + field] == 0.0; });
  std::sort(by_tail.begin(), by_tail.end(), [&](std::uint32_t a, std::uint32_t b) { return p.tail[a] > p.tail[b]; });
  std::vector<Instant> heads;
  for (const std::uint32_t k : by_tail) heads.push_back(p.head[k]);
  std::sort(heads.begin(), heads.end());
  heads.erase(std::unique(heads.begin(), heads.end()), heads.end());
  Instant best = 0;
  for (const Instant head : heads) {
    if (should_stop()) break;
    double work = 0.0;
    for (const std::uint32_t k : by_tail) {
      if (p.head[k] < head) continue;
      work += p.share[k * p.fields.size() + field] * static_cast<double>(p.duration[k]);
      best = std::max(best, head + rounded_up(work) + p.tail[k]);
    }
  }
  return best;
}

}  // namespace

Instant lower_bound(const Project& p, const ShouldStop& should_stop) {
  constexpr std::size_t kMostForWindows = 2000;  // tasks; the windows are quadratic
  Instant best = p.critical_path;
  for (std::size_t f = 0; f < p.fields.size(); ++f) {
    double work = 0.0;
    for (std::size_t k = 0; k < p.n; ++k) work += p.share[k * p.fields.size() + f] * static_cast<double>(p.duration[k]);
    best = std::max(best, rounded_up(work));
    if (p.n <= kMostForWindows && !should_stop()) best = std::max(best, windows(p, f, should_stop));
  }
  return best;
}

}  // namespace penstock::planner

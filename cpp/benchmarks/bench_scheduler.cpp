// What one task costs in the scheduler alone: submitted, taken and finished in batches, one thread, no Python.
//
//   bench_scheduler [tasks]      prints ns a task, the median of five runs, for independent tasks and for a layered
//                                random graph of four edges a task
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "penstock/scheduler.hpp"

namespace {

using namespace penstock;

constexpr std::size_t kBatch = 256, kRuns = 5;

double now_ns() {
  return static_cast<double>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

struct Cost {
  double submit, run;
};

Cost once(std::size_t n, bool graph) {
  const auto scheduler = std::make_unique<Scheduler>();
  for (int r = 0; r < kMaxResources; ++r) {
    if (r != kGpu && r != kGpuMemory) scheduler->set_capacity(r, kUnlimited, 0);
  }
  Demand demand;
  demand.amounts[kCpu] = 1000;
  const ShapeId shape = scheduler->shape(demand, Lane::threads);
  std::vector<std::int64_t> indptr, indices;
  if (graph) {
    const std::size_t width = std::max<std::size_t>(n / 100, 1);
    std::uint64_t random = 1;
    indptr.push_back(0);
    for (std::size_t k = 0; k < n; ++k) {
      const std::size_t layer = k / width;
      for (int e = 0; layer > 0 && e < 4; ++e) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        indices.push_back(~static_cast<std::int64_t>((layer - 1) * width + (random >> 33) % width));
      }
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
  }
  Submission batch;
  batch.count = n;
  batch.shape = {&shape, 1};
  batch.indptr = indptr;
  batch.indices = indices;
  std::vector<TaskId> settled;
  const double begun = now_ns();
  scheduler->submit(batch, 1, settled);
  const double submitted = now_ns();
  std::vector<Start> starts(kBatch);
  std::vector<Report> reports(kBatch);
  for (std::size_t got = 1; got > 0;) {
    got = scheduler->take(Lane::threads, 0, starts, 2);
    for (std::size_t k = 0; k < got; ++k) {
      reports[k] = {starts[k].task, starts[k].attempt, starts[k].lease, 2, 3};
    }
    scheduler->finish({reports.data(), got}, 3);
  }
  const double done = now_ns();
  if (scheduler->unfinished() != 0) std::abort();
  return {(submitted - begun) / static_cast<double>(n), (done - submitted) / static_cast<double>(n)};
}

void report(const char* name, std::size_t n, bool graph) {
  std::vector<double> submit, run;
  for (std::size_t k = 0; k < kRuns; ++k) {
    const Cost cost = once(n, graph);
    submit.push_back(cost.submit);
    run.push_back(cost.run);
  }
  std::sort(submit.begin(), submit.end());
  std::sort(run.begin(), run.end());
  std::printf("%-12s %10zu tasks   submit %6.1f ns   take and finish %6.1f ns\n", name, n, submit[kRuns / 2],
              run[kRuns / 2]);
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t n = argc > 1 ? static_cast<std::size_t>(std::atoll(argv[1])) : 400'000;
  report("independent", n, false);
  report("graph", n, true);
}

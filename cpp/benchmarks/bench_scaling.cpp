// How the core scales with threads, without Python: 1, 2, 4, 8, 16 of them, as far as the machine has cores.
//
//   bench_scaling [items, default 1000000] [--json] [--only TEXT of a row's name]
//
// Numbers are million operations a second, medians of 5: of tasks taken, run and finished through the Scheduler, each
// spinning for so many nanoseconds of a thread's time; of pushes, or pops, of one heap; of nodes completed in one graph.
// The work is the same whatever the threads are, so a row that doubles from one column to the next scales perfectly.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "measuring.hpp"
#include "penstock/priority_heap.hpp"
#include "penstock/readiness.hpp"
#include "penstock/scheduler.hpp"

namespace {

using namespace penstock;
using measuring::mops;
using measuring::Random;
using measuring::together;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// Work that the compiler cannot drop, about a nanosecond a step.
std::uint64_t spin(std::uint64_t steps) {
  Random random(steps + 1);
  std::uint64_t sum = 0;
  for (std::uint64_t k = 0; k < steps; ++k) sum ^= random();
  return sum;
}

double steps_per_ns() {
  std::atomic<std::uint64_t> sink{0};
  constexpr std::uint64_t kSteps = 20'000'000;
  const auto start = measuring::CpuClock::now();
  sink = spin(kSteps);
  return static_cast<double>(kSteps) / static_cast<double>((measuring::CpuClock::now() - start).count());
}

struct Graph {
  std::vector<std::int64_t> indptr, indices;
};

// Layers of n / 100 tasks, each waiting for four of the layer before.
Graph layered(std::size_t n) {
  const std::size_t width = std::max<std::size_t>(n / 100, 1);
  Graph graph;
  Random random(1);
  graph.indptr.push_back(0);
  for (std::size_t k = 0; k < n; ++k) {
    for (int e = 0; k >= width && e < 4; ++e) {
      graph.indices.push_back(~static_cast<std::int64_t>((k / width - 1) * width + random() % width));
    }
    graph.indptr.push_back(static_cast<std::int64_t>(graph.indices.size()));
  }
  return graph;
}

double tasks(std::size_t n, std::size_t threads, std::uint64_t steps, const Graph* graph, std::size_t batch) {
  const auto scheduler = std::make_unique<Scheduler>();
  for (int r = 0; r < kMaxResources; ++r) {
    if (r != kGpu && r != kGpuMemory) scheduler->set_capacity(r, kUnlimited, 0);
  }
  Demand demand;
  demand.amounts[kCpu] = 1000;
  const ShapeId shape = scheduler->shape(demand, Lane::threads);
  Submission submission;
  submission.count = n;
  submission.shape = {&shape, 1};
  if (graph != nullptr) {
    submission.indptr = graph->indptr;
    submission.indices = graph->indices;
  }
  std::vector<TaskId> settled;
  scheduler->submit(submission, 1, settled);
  std::atomic<std::uint64_t> sink{0}, ran{0};
  const auto time = together(threads, [&](std::size_t me) {
    std::vector<Start> starts(batch);
    std::vector<penstock::Report> reports(batch);
    std::uint64_t sum = 0, mine = 0;
    while (scheduler->unfinished() != 0) {
      const std::size_t got = scheduler->take(Lane::threads, static_cast<std::uint32_t>(me), starts, 2);
      if (got == 0) {
        std::this_thread::yield();  // others hold what would free more
        continue;
      }
      for (std::size_t k = 0; k < got; ++k) {
        if (steps != 0) sum ^= spin(steps);
        reports[k] = {starts[k].task, starts[k].attempt, starts[k].lease, 2, 3};
      }
      scheduler->finish({reports.data(), got}, 3);
      mine += got;
    }
    sink ^= sum;
    ran += mine;
  });
  require(ran == n, "a task did not run, or ran twice");
  return mops(n, time);
}

struct FilledHeap {
  Tickets tickets;
  PriorityHeap heap{tickets};
};

void fill(PriorityHeap& heap, std::size_t first, std::size_t last) {
  Random random(first + 1);
  for (std::size_t k = first; k < last; ++k) {
    heap.push({TaskId{static_cast<std::uint32_t>(k)}, Rank{static_cast<double>(random() >> 11)}, k});
  }
}

double heap_fill(std::size_t n, std::size_t threads) {
  FilledHeap filled;
  filled.tickets.reserve(static_cast<std::uint32_t>(n));
  const auto time = together(threads, [&](std::size_t me) {
    fill(filled.heap, n * me / threads, n * (me + 1) / threads);
  });
  require(filled.heap.size() == n, "heap fill: an entry is lost");
  return mops(n, time);
}

double heap_drain(std::size_t n, std::size_t threads) {
  FilledHeap filled;
  filled.tickets.reserve(static_cast<std::uint32_t>(n));
  fill(filled.heap, 0, n);
  std::atomic<std::size_t> popped{0};
  const auto time = together(threads, [&](std::size_t) {
    std::size_t mine = 0;
    while (filled.heap.pop()) ++mine;
    popped += mine;
  });
  require(popped == n, "heap drain: an entry is lost");
  return mops(n, time);
}

// Each layer's nodes are shared out among the threads, which meet between layers.
double readiness(const Graph& graph, std::size_t threads) {
  const std::size_t n = graph.indptr.size() - 1, width = std::max<std::size_t>(n / 100, 1);
  Readiness all;
  std::vector<TaskId> ready;
  all.grow(n, graph.indptr, graph.indices, ready);
  std::atomic<std::size_t> freed{ready.size()}, arrived{0};
  const auto time = together(threads, [&](std::size_t me) {
    std::size_t mine = 0;
    std::vector<TaskId> part;
    for (std::size_t layer = 0, meetings = 0; layer < n; layer += width) {
      const std::size_t here = std::min(width, n - layer);
      part.clear();
      for (std::size_t k = here * me / threads; k < here * (me + 1) / threads; ++k) {
        part.push_back(TaskId{static_cast<std::uint32_t>(layer + k)});
      }
      all.complete(std::span<const TaskId>(part), [&](TaskId) { ++mine; });
      arrived.fetch_add(1);
      meetings += threads;
      for (std::size_t looks = 0; arrived.load() < meetings; ++looks) {
        if (looks > 1000) std::this_thread::yield();  // the others may be without a core
      }
    }
    freed += mine;
  });
  require(freed == n, "readiness: a node was not freed");
  return mops(n, time);
}

}  // namespace

int main(int argc, char** argv) {
  const measuring::Options options(argc, argv, 1'000'000);
  const std::size_t n = options.size, cores = std::max(1U, std::thread::hardware_concurrency());
  const double per_ns = steps_per_ns();
  const Graph graph = layered(n), small = layered(n / 10);
  measuring::Report report(options.json, options.only);
  const auto row = [&](const char* work, auto&& measure) {
    for (std::size_t threads = 1; threads <= std::min<std::size_t>(16, cores); threads *= 2) {
      const measuring::Side side{"penstock", [&] { return measure(threads); }};
      report.row(std::string(work) + " @ " + std::to_string(threads), {&side, 1});
    }
  };
  const auto steps = [&](double ns) { return static_cast<std::uint64_t>(ns * per_ns); };
  row("tasks of 10 us, independent", [&](std::size_t t) { return tasks(n / 10, t, steps(10'000), nullptr, 8); });
  row("tasks of 1 us, independent", [&](std::size_t t) { return tasks(n / 2, t, steps(1'000), nullptr, 64); });
  row("tasks of 1 us, graph", [&](std::size_t t) { return tasks(n / 10, t, steps(1'000), &small, 64); });
  row("empty tasks, independent", [&](std::size_t t) { return tasks(n, t, 0, nullptr, 256); });
  row("heap fill", [&](std::size_t t) { return heap_fill(n, t); });
  row("heap drain", [&](std::size_t t) { return heap_drain(n, t); });
  row("readiness, complete", [&](std::size_t t) { return readiness(graph, t); });
}

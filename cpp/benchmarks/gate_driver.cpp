// Runs one core operation many times, always the same way, so that its instructions can be counted under callgrind by
// benchmarks/gates.py, which lets only what `gate_measured` calls be counted.
//
//   gate_driver              prints the names of the operations
//   gate_driver OPERATION    does it and prints how many times
//
// One thread, fixed seeds, no clock: two runs of one build execute the same instructions.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "measuring.hpp"
#include "penstock/event_log.hpp"
#include "penstock/ledger.hpp"
#include "penstock/priority_heap.hpp"
#include "penstock/readiness.hpp"
#include "penstock/scheduler.hpp"

// One function of this very name, not a copy of it for each caller.
#if defined(__clang__)
#define PENSTOCK_ONE_FUNCTION [[gnu::noinline]]
#else
#define PENSTOCK_ONE_FUNCTION [[gnu::noipa]]
#endif
extern "C" PENSTOCK_ONE_FUNCTION void gate_measured(const std::function<void()>& work) { work(); }

namespace {

using namespace penstock;

constexpr std::size_t kBatch = 256;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "gate_driver: %s\n", what);
  std::exit(1);
}

struct FilledHeap {
  explicit FilledHeap(std::size_t n) {
    tickets.reserve(static_cast<std::uint32_t>(n));
    for (std::size_t k = 0; k < n; ++k) heap.push(entry(k));
  }
  HeapEntry entry(std::size_t k) {
    return {TaskId{static_cast<std::uint32_t>(k)}, Rank{static_cast<double>(random() >> 11)}, tie++};
  }
  measuring::Random random{1};
  std::uint64_t tie = 0;
  Tickets tickets;
  PriorityHeap heap{tickets};
};

// A pop and a push with so many resident.
std::size_t hold(std::size_t resident) {
  constexpr std::size_t kRounds = 20'000;
  FilledHeap filled(resident);
  const auto rounds = [&] {
    for (std::size_t k = 0; k < kRounds; ++k) {
      const auto popped = filled.heap.pop();
      filled.heap.push(filled.entry(index(popped->task)));
    }
  };
  rounds();  // the heap takes the shape that it keeps
  gate_measured(rounds);
  require(filled.heap.size() == resident, "the heap lost an entry");
  return kRounds;
}

// An entry of a batch that is pushed, then popped as one, with ten thousand resident.
std::size_t batches() {
  constexpr std::size_t kResident = 10'000, kRounds = 100;
  FilledHeap filled(kResident);
  std::vector<HeapEntry> batch(kBatch);
  gate_measured([&] {
    for (std::size_t round = 0; round < kRounds; ++round) {
      require(filled.heap.pop(std::span<HeapEntry>(batch)) == kBatch, "the heap is short of entries");
      for (HeapEntry& entry : batch) entry = filled.entry(index(entry.task));
      filled.heap.push(std::span<const HeapEntry>(batch));
    }
  });
  require(filled.heap.size() == kResident, "the heap lost an entry");
  return kRounds * kBatch;
}

// A queued entry gets another rank, or is taken out and pushed again, with ten thousand resident.
std::size_t rerank() {
  constexpr std::size_t kResident = 10'000;
  FilledHeap filled(kResident);
  gate_measured([&] {
    for (std::size_t k = 0; k < kResident; ++k) require(filled.heap.rerank(filled.entry(k)), "an entry is not queued");
  });
  return kResident;
}
std::size_t cancel() {
  constexpr std::size_t kResident = 10'000;
  FilledHeap filled(kResident);
  gate_measured([&] {
    for (std::size_t k = 0; k < kResident; ++k) {
      require(filled.heap.cancel(TaskId{static_cast<std::uint32_t>(k)}), "an entry is not queued");
      filled.heap.push(filled.entry(k));
    }
  });
  return kResident;
}

struct Graph {
  static constexpr std::size_t kNodes = 40'000, kWidth = 400;
  std::vector<std::int64_t> indptr{0}, indices;
  Graph() {
    measuring::Random random(1);
    for (std::size_t k = 0; k < kNodes; ++k) {
      for (int e = 0; k >= kWidth && e < 4; ++e) {
        indices.push_back(~static_cast<std::int64_t>((k / kWidth - 1) * kWidth + random() % kWidth));
      }
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
  }
};

std::size_t build() {
  const Graph graph;
  Readiness readiness;
  std::vector<TaskId> ready;
  gate_measured([&] { readiness.grow(Graph::kNodes, graph.indptr, graph.indices, ready); });
  require(ready.size() == Graph::kWidth, "the wrong nodes are ready");
  return Graph::kNodes;
}
std::size_t drain() {
  const Graph graph;
  Readiness readiness;
  std::vector<TaskId> queue;
  queue.reserve(Graph::kNodes);
  readiness.grow(Graph::kNodes, graph.indptr, graph.indices, queue);
  gate_measured([&] {
    for (std::size_t at = 0; at < queue.size();) {
      TaskId taken[64];
      const std::size_t count = std::min<std::size_t>(64, queue.size() - at);
      std::copy_n(queue.begin() + static_cast<std::ptrdiff_t>(at), count, taken);
      at += count;
      readiness.complete({taken, count}, [&](TaskId freed) { queue.push_back(freed); });
    }
  });
  require(queue.size() == Graph::kNodes, "a node was not freed");
  return Graph::kNodes;
}

std::size_t acquire() {
  constexpr std::size_t kRounds = 50'000;
  Ledger ledger(2);
  for (const int resource : {int{kCpu}, int{kMemory}, int{kDisk}}) ledger.set_capacity(resource, 1'000'000);
  for (int device = 0; device < 2; ++device) ledger.set_device_capacity(device, 1000, 1'000'000);
  Demand demand;
  demand[kCpu] = 1000;
  demand[kMemory] = 4096;
  demand[kGpu] = 500;
  gate_measured([&] {
    for (std::size_t k = 0; k < kRounds; ++k) {
      const auto grant = ledger.try_acquire(demand);
      require(grant.has_value(), "what is free was not granted");
      ledger.release(demand, *grant);
    }
  });
  require(ledger.held(kCpu) == 0, "the ledger is not at rest");
  return kRounds;
}

std::size_t append(std::size_t batch) {
  constexpr std::size_t kEvents = 100'096;  // beyond one chunk; a multiple of 64
  EventLog log;
  std::vector<Event> events(batch, Event{1, 2, 3, 4, 5, EventKind::succeeded, Cause::none, State::succeeded, kEventVersion});
  gate_measured([&] {
    for (std::size_t k = 0; k < kEvents; k += batch) log.append(std::span<const Event>(events));
  });
  std::vector<Event> last(1);
  require(log.read(kEvents - 1, last) == 1, "the log lost a record");
  return kEvents;
}

// A batch of tasks submitted; or what was submitted taken and finished, in the claims of a busy worker or one by one.
enum class Part { submit, run };
std::size_t schedule(Part part, bool graph, std::size_t claim) {
  const auto scheduler = std::make_unique<Scheduler>();
  for (int r = 0; r < kMaxResources; ++r) {
    if (r != kGpu && r != kGpuMemory) scheduler->set_capacity(r, kUnlimited, 0);
  }
  Demand demand;
  demand[kCpu] = 1000;
  const ShapeId shape = scheduler->shape(demand, Lane::threads);
  const Graph edges;
  Submission batch;
  batch.count = Graph::kNodes;
  batch.shape = {&shape, 1};
  if (graph) {
    batch.indptr = edges.indptr;
    batch.indices = edges.indices;
  }
  std::vector<TaskId> settled;
  const auto submit = [&] { scheduler->submit(batch, 1, settled); };
  if (part == Part::submit) {
    gate_measured(submit);
    return Graph::kNodes;
  }
  submit();
  std::vector<Start> starts(claim);
  std::vector<Report> reports(claim);
  gate_measured([&] {
    for (std::size_t got = 1; got > 0;) {
      got = scheduler->take(Lane::threads, 0, starts, 2);
      for (std::size_t k = 0; k < got; ++k) {
        reports[k] = {starts[k].task, starts[k].attempt, starts[k].lease, 2, 3};
      }
      scheduler->finish({reports.data(), got}, 3);
    }
  });
  require(scheduler->unfinished() == 0, "a task was not finished");
  return Graph::kNodes;
}

// A task submitted alone, taken and finished, as a program does that waits for each result.
std::size_t one_by_one() {
  constexpr std::size_t kTasks = 10'000;
  const auto scheduler = std::make_unique<Scheduler>();
  for (int r = 0; r < kMaxResources; ++r) {
    if (r != kGpu && r != kGpuMemory) scheduler->set_capacity(r, kUnlimited, 0);
  }
  Demand demand;
  demand[kCpu] = 1000;
  const ShapeId shape = scheduler->shape(demand, Lane::threads);
  Submission one;
  one.count = 1;
  one.shape = {&shape, 1};
  std::vector<TaskId> settled;
  gate_measured([&] {
    for (std::size_t k = 0; k < kTasks; ++k) {
      scheduler->submit(one, 1, settled);
      Start start;
      require(scheduler->take(Lane::threads, 0, {&start, 1}, 2) == 1, "a ready task was not started");
      const Report report{start.task, start.attempt, start.lease, 2, 3};
      scheduler->finish({&report, 1}, 3);
    }
  });
  require(scheduler->unfinished() == 0, "a task was not finished");
  return kTasks;
}

const std::map<std::string, std::function<std::size_t()>> kOperations{
    {"heap: pop and push, 16 resident", [] { return hold(16); }},
    {"heap: pop and push, 10k resident", [] { return hold(10'000); }},
    {"heap: pop and push an entry of a batch", batches},
    {"heap: rerank", rerank},
    {"heap: cancel and push", cancel},
    {"readiness: build a node of 4 edges", build},
    {"readiness: drain a node of 4 edges", drain},
    {"ledger: acquire and release", acquire},
    {"event log: append one", [] { return append(1); }},
    {"event log: append, in batches of 64", [] { return append(64); }},
    {"scheduler: submit, independent", [] { return schedule(Part::submit, false, kBatch); }},
    {"scheduler: submit, graph", [] { return schedule(Part::submit, true, kBatch); }},
    {"scheduler: take and finish, independent", [] { return schedule(Part::run, false, kBatch); }},
    {"scheduler: take and finish, graph", [] { return schedule(Part::run, true, kBatch); }},
    {"scheduler: take and finish one by one", [] { return schedule(Part::run, false, 1); }},
    {"scheduler: submit, take and finish one by one", one_by_one},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    for (const auto& [name, run] : kOperations) std::printf("%s\n", name.c_str());
    return 0;
  }
  const auto found = kOperations.find(argv[1]);
  require(found != kOperations.end(), "there is no operation of that name; without one, their names are printed");
  std::printf("%zu\n", found->second());
}

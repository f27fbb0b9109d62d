// Readiness alone: build a graph from arrays and drain it on one thread; medians of 5, and the best of them, which a
// busy machine disturbs least. The last column is what the built graph adds to the process's memory (Linux only).
//
//   bench_readiness [nodes, default 1000000] [edges a node, default 4]
//
// layered: predecessors in the layer before, layers of 1000; random: predecessors anywhere before; shuffled: as random,
// but nodes are numbered in no order, so that a cycle check is due.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "penstock/readiness.hpp"

namespace {

using penstock::Readiness;
using penstock::TaskId;

struct Graph {
  std::vector<std::int64_t> indptr{0}, indices;
};

template <class Pick>
Graph graph(std::size_t n, std::size_t width, Pick pick) {
  Graph g;
  g.indptr.reserve(n + 1);
  g.indices.reserve(n * width);
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t e = 0; e < width; ++e) {
      const std::int64_t before = pick(k);
      if (before >= 0) g.indices.push_back(~before);
    }
    g.indptr.push_back(static_cast<std::int64_t>(g.indices.size()));
  }
  return g;
}

Graph layered(std::size_t n, std::size_t width) {
  constexpr std::size_t kLayer = 1000;
  std::mt19937_64 random(1);
  return graph(n, width, [&](std::size_t k) {
    return k < kLayer ? std::int64_t{-1} : static_cast<std::int64_t>((k / kLayer - 1) * kLayer + random() % kLayer);
  });
}

Graph anywhere(std::size_t n, std::size_t width) {
  std::mt19937_64 random(2);
  return graph(n, width, [&](std::size_t k) {
    return k < width ? std::int64_t{-1} : static_cast<std::int64_t>(random() % k);
  });
}

Graph shuffled(const Graph& g) {
  const std::size_t n = g.indptr.size() - 1;
  std::vector<std::size_t> name(n), place(n);
  std::iota(name.begin(), name.end(), std::size_t{0});
  std::shuffle(name.begin(), name.end(), std::mt19937_64(3));
  for (std::size_t k = 0; k < n; ++k) place[name[k]] = k;
  Graph out;
  for (std::size_t k = 0; k < n; ++k) {
    for (auto e = g.indptr[place[k]]; e < g.indptr[place[k] + 1]; ++e) {
      const auto before = static_cast<std::size_t>(~g.indices[static_cast<std::size_t>(e)]);
      out.indices.push_back(~static_cast<std::int64_t>(name[before]));
    }
    out.indptr.push_back(static_cast<std::int64_t>(out.indices.size()));
  }
  return out;
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Pages of the process that are in memory, in bytes, freed ones given back first; 0 where that cannot be asked.
double resident_bytes() {
  penstock::detail::keep_pages(penstock::detail::keep_pages(0));
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void measure(const char* name, const Graph& g) {
  const std::size_t n = g.indptr.size() - 1;
  std::vector<double> build, drain, both;
  double bytes = 0;
  for (int round = 0; round < 5; ++round) {
    Readiness readiness;
    std::vector<TaskId> queue;
    const double before = round == 0 ? resident_bytes() : 0, start = now_ms();
    readiness.grow(n, g.indptr, g.indices, queue);
    const double built = now_ms();
    if (round == 0) bytes = resident_bytes() - before;
    const double drained_from = now_ms();
    queue.reserve(n);
    for (std::size_t at = 0; at < queue.size();) {
      TaskId taken[64];
      const std::size_t count = std::min<std::size_t>(64, queue.size() - at);
      std::copy_n(queue.begin() + static_cast<std::ptrdiff_t>(at), count, taken);
      at += count;
      readiness.complete({taken, count}, [&](TaskId freed) { queue.push_back(freed); });
    }
    const double end = now_ms();
    if (queue.size() != n) {
      std::fprintf(stderr, "%s: %zu of %zu nodes were freed\n", name, queue.size(), n);
      std::exit(1);
    }
    build.push_back(built - start);
    drain.push_back(end - drained_from);
    both.push_back(built - start + end - drained_from);
  }
  std::printf("%-9s %9zu %10zu %9.1f %9.1f %9.1f %9.1f %10.1f\n", name, n, g.indices.size(), median(build),
              median(drain), median(both), *std::min_element(both.begin(), both.end()),
              bytes / static_cast<double>(n));
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t n = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  const std::size_t width = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 4;
  std::printf("%-9s %9s %10s %9s %9s %9s %9s %10s\n", "graph", "nodes", "edges", "build ms", "drain ms", "both ms",
              "best ms", "B a node");
  measure("layered", layered(n, width));
  const Graph random = anywhere(n, width);
  measure("random", random);
  measure("shuffled", shuffled(random));
}

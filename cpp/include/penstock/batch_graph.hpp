// Pure functions on the edges of one batch of tasks, as it is submitted: checks, successor rows, order, cycles.
//
// A batch of n nodes comes as compressed rows: node k waits for indices[indptr[k] .. indptr[k+1]). A value >= 0 is
// the id of an earlier task, a negative value ~j is node j of this batch ("local"). Nothing here is shared between
// threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/cache.hpp"
#include "penstock/types.hpp"

namespace penstock {

/// Tasks that wait for each other in a ring: each precedes the next, the last precedes the first.
class CycleError : public std::runtime_error {
 public:
  /// `tasks`: ids, or, when a batch is refused, the positions of the nodes in the batch.
  explicit CycleError(std::vector<TaskId> tasks) : std::runtime_error(text(tasks)), tasks_(std::move(tasks)) {}

  [[nodiscard]] const std::vector<TaskId>& cycle() const noexcept { return tasks_; }

 private:
  static std::string text(const std::vector<TaskId>& tasks) {
    constexpr std::size_t kShown = 16;
    std::string line;
    for (std::size_t k = 0; k < tasks.size() && k < kShown; ++k) {
      line += std::to_string(index(tasks[k]));
      line += " -> ";
    }
    if (tasks.size() > kShown) {
      line += std::to_string(tasks.size() - kShown);
      line += " more -> ";
    }
    if (!tasks.empty()) line += std::to_string(index(tasks.front()));
    line += " is a cycle; remove one of these edges";
    return line;
  }

  std::vector<TaskId> tasks_;
};

namespace batch_graph {

/// What one pass over the indices finds.
struct Summary {
  std::size_t local_edges = 0;
  std::size_t earlier_edges = 0;  // to tasks that were there before the batch
  bool in_order = true;           // every local predecessor comes before its node: there can be no cycle
};

[[nodiscard]] constexpr bool is_local(std::int64_t predecessor) noexcept { return predecessor < 0; }
[[nodiscard]] constexpr std::size_t local(std::int64_t predecessor) noexcept {
  return static_cast<std::size_t>(~predecessor);
}

namespace detail {

[[noreturn]] inline void refuse_predecessor(std::size_t node, std::size_t position, std::int64_t value, std::size_t n,
                                            std::size_t known) {
  const std::string where = "indices[" + std::to_string(position) + "] of node " + std::to_string(node) + " is " +
                            std::to_string(value) + "; ";
  if (is_local(value)) {
    throw std::out_of_range(where + "it stands for node " + std::to_string(local(value)) + " of a batch of " +
                            std::to_string(n) + ", allowed are -" + std::to_string(n) + " .. -1");
  }
  throw std::out_of_range(where + (known == 0 ? std::string("there are no earlier tasks")
                                              : "earlier tasks are 0 .. " + std::to_string(known - 1)) +
                          "; write ~k for node k of the same batch");
}

inline void check_rows(std::size_t n, std::span<const std::int64_t> indptr, std::size_t edges) {
  if (indptr.empty() && edges == 0) return;
  if (indptr.size() != n + 1) {
    throw std::invalid_argument("indptr has " + std::to_string(indptr.size()) + " entries for " + std::to_string(n) +
                                " nodes; it needs one more than there are nodes");
  }
  if (indptr.front() != 0) {
    throw std::invalid_argument("indptr[0] is " + std::to_string(indptr.front()) + "; it must be 0");
  }
  for (std::size_t k = 0; k < n; ++k) {
    if (indptr[k + 1] < indptr[k]) {
      throw std::invalid_argument("indptr[" + std::to_string(k + 1) + "] is " + std::to_string(indptr[k + 1]) +
                                  ", less than indptr[" + std::to_string(k) + "] = " + std::to_string(indptr[k]) +
                                  "; row starts never fall");
    }
  }
  if (static_cast<std::uint64_t>(indptr.back()) != edges) {
    throw std::invalid_argument("indptr ends at " + std::to_string(indptr.back()) + ", but there are " +
                                std::to_string(edges) + " indices; the last entry is their number");
  }
}

}  // namespace detail

/// Checks rows and indices, and counts for each node j how many local nodes wait for it in successors[j].
/// `known`: number of earlier tasks. `successors`: length n, zeros, or empty: not counted.
/// Throws std::invalid_argument for rows that are none, std::out_of_range for an index that names no task.
inline Summary summarise(std::size_t n, std::size_t known, std::span<const std::int64_t> indptr,
                         std::span<const std::int64_t> indices, std::span<std::uint32_t> successors) {
  detail::check_rows(n, indptr, indices.size());
  Summary found;
  if (indptr.empty()) return found;
  const bool count = !successors.empty();
  std::size_t earlier = 0;
  bool in_order = true;
  for (std::size_t k = 0; k < n; ++k) {
    const auto end = static_cast<std::size_t>(indptr[k + 1]);
    for (auto e = static_cast<std::size_t>(indptr[k]); e < end; ++e) {
      const std::int64_t predecessor = indices[e];
      if (is_local(predecessor)) {
        const std::size_t j = local(predecessor);
        if (j >= n) detail::refuse_predecessor(k, e, predecessor, n, known);
        in_order &= j < k;
        if (count) ++successors[j];
      } else {
        if (static_cast<std::size_t>(predecessor) >= known) detail::refuse_predecessor(k, e, predecessor, n, known);
        ++earlier;
      }
    }
  }
  found.earlier_edges = earlier;
  found.local_edges = indices.size() - earlier;
  found.in_order = in_order;
  return found;
}

/// The successor rows of the local edges, by counting sort: node j's are successors[end[j-1] .. end[j]), in order of
/// node (end[-1] = 0). `end`: on entry the counts from summarise(), on return the row ends.
inline void successor_rows(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
                           std::span<std::uint32_t> end, std::uint32_t first_id, std::span<TaskId> successors) {
  std::uint32_t begin = 0;
  for (std::uint32_t& slot : end) begin += std::exchange(slot, begin);
  // In a large graph each edge misses the cache twice, at its row's end and at its place; both are asked for ahead.
  constexpr std::size_t kAhead = 24;
  const std::size_t last = indices.size();
  for (std::size_t k = 0; k < n; ++k) {
    const auto row_end = static_cast<std::size_t>(indptr[k + 1]);
    for (auto e = static_cast<std::size_t>(indptr[k]); e < row_end; ++e) {
      if (e + 2 * kAhead < last) {
        const std::int64_t soon = indices[e + kAhead], later = indices[e + 2 * kAhead];
        if (is_local(later)) prefetch(&end[local(later)]);
        if (is_local(soon)) prefetch(successors.data() + end[local(soon)]);
      }
      if (!is_local(indices[e])) continue;
      successors[end[local(indices[e])]++] = TaskId{first_id + static_cast<std::uint32_t>(k)};
    }
  }
}

[[nodiscard]] inline std::span<const TaskId> row(std::span<const std::uint32_t> end, std::span<const TaskId> successors,
                                                 std::size_t node) noexcept {
  const std::size_t begin = node == 0 ? 0 : end[node - 1];
  return successors.subspan(begin, end[node] - begin);
}

/// Nodes so that each comes after its local predecessors; shorter than n exactly when there is a cycle. `left`, of
/// length n, receives how many predecessors of each node are not in the result.
inline std::vector<std::uint32_t> order(std::size_t n, std::span<const std::int64_t> indptr,
                                        std::span<const std::int64_t> indices, std::span<const std::uint32_t> end,
                                        std::uint32_t first_id, std::span<const TaskId> successors,
                                        std::span<std::uint32_t> left) {
  std::vector<std::uint32_t> done;
  done.reserve(n);
  for (std::size_t k = 0; k < n; ++k) {
    const auto row_of_k = indices.subspan(static_cast<std::size_t>(indptr[k]),
                                          static_cast<std::size_t>(indptr[k + 1] - indptr[k]));
    left[k] = static_cast<std::uint32_t>(std::count_if(row_of_k.begin(), row_of_k.end(), is_local));
    if (left[k] == 0) done.push_back(static_cast<std::uint32_t>(k));
  }
  for (std::size_t at = 0; at < done.size();) {
    // A stretch at a time, so that what its nodes need can be asked for together.
    constexpr std::size_t kStretch = 16;
    const std::size_t stop = std::min(done.size(), at + kStretch);
    for (std::size_t i = at; i < stop; ++i) prefetch(&end[done[i]]);
    for (std::size_t i = at; i < stop; ++i) prefetch(row(end, successors, done[i]).data());
    for (std::size_t i = at; i < stop; ++i) {
      for (const TaskId successor : row(end, successors, done[i])) prefetch(&left[index(successor) - first_id]);
    }
    for (; at < stop; ++at) {
      for (const TaskId successor : row(end, successors, done[at])) {
        const std::uint32_t k = index(successor) - first_id;
        if (--left[k] == 0) done.push_back(k);
      }
    }
  }
  return done;
}

/// One simple cycle among the nodes with `left` > 0, each preceding the next, starting at its smallest node.
/// Precondition: there is such a node, as order() found a cycle.
inline std::vector<TaskId> cycle(std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
                                 std::span<const std::uint32_t> left) {
  // A node that was not ordered has a predecessor that was not ordered: walking back never ends, so it repeats.
  constexpr std::size_t kUnseen = std::numeric_limits<std::size_t>::max();
  std::vector<std::size_t> seen_at(left.size(), kUnseen);
  std::vector<TaskId> walk;
  auto node = static_cast<std::size_t>(std::find_if(left.begin(), left.end(), [](auto l) { return l > 0; }) -
                                       left.begin());
  while (seen_at[node] == kUnseen) {
    seen_at[node] = walk.size();
    walk.push_back(TaskId{static_cast<std::uint32_t>(node)});
    for (auto e = static_cast<std::size_t>(indptr[node]);; ++e) {
      if (!is_local(indices[e]) || left[local(indices[e])] == 0) continue;
      node = local(indices[e]);
      break;
    }
  }
  walk.erase(walk.begin(), walk.begin() + static_cast<std::ptrdiff_t>(seen_at[node]));
  std::reverse(walk.begin(), walk.end());
  std::rotate(walk.begin(), std::min_element(walk.begin(), walk.end()), walk.end());
  return walk;
}

/// Throws CycleError unless the local edges are free of cycles; the other arguments as they left successor_rows().
inline void refuse_cycle(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
                         std::span<const std::uint32_t> end, std::uint32_t first_id,
                         std::span<const TaskId> successors) {
  std::vector<std::uint32_t> left(n);
  if (order(n, indptr, indices, end, first_id, successors, left).size() == n) return;
  throw CycleError(cycle(indptr, indices, left));
}

}  // namespace batch_graph
}  // namespace penstock

// Readiness: who waits for whom, and who has nothing left to wait for.
//
// What it is: a graph of tasks with one atomic count of unmet predecessors a task. It grows, a batch at a time, while
// other threads complete tasks. Edges inside a batch are rows of one array, sorted by predecessor; an edge from an
// earlier task is a link in that task's own list.
//
// When not to use it: as a graph library. It knows successors, not predecessors, and forgets only what it is told to.
//
// Progress: complete, close, satisfy and the readers are lock-free (a completion is one atomic on the task and at
// most one for each successor). Growing (grow, add_edge, rearm) is for one thread at a time, serialised by the caller;
// it waits for no completion, and no completion waits for it. Letting go (release, retire) is the grower's, too.
//
// Order: the completion of a task linearizes where its head word gets the closed bit. An edge that was linked before
// is met by it; one that comes later finds the bit and is met already. The last of a node's predecessors to be met,
// in the order of its count's modifications, frees it: exactly one caller is told.
//
// Visibility: a node with predecessors among earlier tasks can be freed by another thread as soon as grow() has
// linked them all, which may be before grow() returns. So whatever the caller keeps about nodes must be in place
// before: ids are known (they start at size()), check() says beforehand whether the batch is good, or pass `prepare`.
//
// Memory: 16 bytes a node, 4 an edge inside a batch, 8 an edge from an earlier task; while a batch is added, up to
// 12 a node and 4 an edge more, the latter given back as they are copied. Freed by the destructor; the links and edges of
// released nodes, and the nodes of retired blocks, before.
//
// Invariants, checked by test_readiness.cpp and, with threads and ThreadSanitizer, by test_readiness_threads.cpp:
//   R1  a node is freed exactly once, after all of its predecessors completed
//   R2  unmet(k) == predecessors of k not completed + what rearm() added and satisfy() has not taken, at rest
//   R3  a refused batch leaves no trace
//   R4  nobody visits a released node: it is closed, and all edges to it have been met
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <queue>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "penstock/atom.hpp"
#include "penstock/batch_graph.hpp"
#include "penstock/blocks.hpp"
#include "penstock/cache.hpp"
#include "penstock/chunked_table.hpp"
#include "penstock/detail/page_array.hpp"
#include "penstock/types.hpp"

namespace penstock {

template <class Atom = StdAtom>
class BasicReadiness {
  template <class T>
  using atomic = typename Atom::template atomic<T>;

 public:
  /// Ids are 32-bit, and the largest number means "no task".
  static constexpr std::size_t kMaxNodes = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t kMaxEdges = std::numeric_limits<std::uint32_t>::max();

  /// Throws what grow() would throw for the same batch, and changes nothing.
  /// `indptr`: n + 1 row starts into `indices`, or empty: no edges.
  void check(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices) const {
    Batch batch(size(), size(), n, indptr, indices);
    require_room(n, batch.found);
    if (!batch.found.in_order) batch.sort_rows();
  }

  /// Adds n nodes and returns the id of the first. Node k waits for indices[indptr[k] .. indptr[k+1]): a value >= 0 is
  /// an earlier task's id, a negative value ~j is node j of this batch. A predecessor that has completed counts as
  /// met; one that is named twice counts twice. `ready` is appended the nodes with nothing to wait for, in order.
  /// Throws CycleError (positions in the batch), std::invalid_argument (rows), std::out_of_range (an index, with its
  /// position and what is allowed), std::length_error or std::bad_alloc, before anything is changed.
  TaskId grow(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
              std::vector<TaskId>& ready) {
    return grow(n, indptr, indices, ready, [](TaskId) {});
  }

  /// The same; calls prepare(first id) once the batch is known to be good and before any other thread can meet one
  /// of its nodes. What prepare throws is passed on, with nothing changed.
  template <class Prepare>
  TaskId grow(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
              std::vector<TaskId>& ready, Prepare&& prepare) {
    const std::size_t first = size();
    Batch batch(first, first, n, indptr, indices);
    require_room(n, batch.found);
    batch.sort_rows();
    make_room(n, batch, ready);
    prepare(TaskId{static_cast<std::uint32_t>(first)});
    write_nodes(first, n, batch);
    // release. Pairs with the acquire in size(): who sees the new size sees the nodes. Links, below, publish them too.
    count_.store(first + n, std::memory_order_release);
    link_earlier(first, n, batch, ready);
    return TaskId{static_cast<std::uint32_t>(first)};
  }

  /// Completes a task: calls freed(successor) for each successor whose last unmet predecessor this was. Any thread. A
  /// second completion does nothing.
  template <class F>
  void complete(TaskId task, F&& freed) {
    close(task, [&](TaskId successor) {
      if (satisfy(successor)) freed(successor);
    });
  }

  /// Completes several tasks, in order; faster than one by one, as it fetches the later ones' memory ahead.
  template <class F>
  void complete(std::span<const TaskId> tasks, F&& freed) {
    constexpr std::size_t kStretch = 16;
    while (!tasks.empty()) {
      const std::span<const TaskId> stretch = tasks.first(std::min(kStretch, tasks.size()));
      tasks = tasks.subspan(stretch.size());
      if (stretch.size() > 1) prefetch_successors(stretch);
      for (const TaskId task : stretch) complete(task, freed);
    }
  }

  /// Completes a task without counting: calls visit(successor) once for each edge; each is to be followed by one
  /// satisfy(), or never to be freed. Any thread. A second completion does nothing.
  template <class F>
  void close(TaskId task, F&& visit) {
    Node& node = nodes_[index(task)];
    // acq_rel. Acquire pairs with the release that linked an edge in add_edge: its link and its node are written.
    // Release pairs with the acquire of a grower that finds the bit: what this task did is visible to who counts it
    // as met. With relaxed, a late successor could start without its predecessor's result.
    const std::uint32_t head = node.head.fetch_or(kClosed, std::memory_order_acq_rel);
    if ((head & kClosed) != 0) return;
    edges_.for_runs(node.row_begin, node.row_count, [&](const TaskId* successor, std::size_t count) {
      for (std::size_t k = 0; k < count; ++k) visit(successor[k]);
    });
    visit_links(head, visit);
  }

  /// Meets one predecessor of a task; true when it was the last. Any thread.
  bool satisfy(TaskId successor) {
    atomic<std::uint32_t>& unmet = nodes_[index(successor)].unmet;
    // Only what this call stands for is left: nobody else can change the count, so it needs no read-modify-write.
    // acquire: as below, for the one who frees. relaxed store: who reads 0 has the task from its freer, or may err.
    if (unmet.load(std::memory_order_acquire) == 1) {
      unmet.store(0, std::memory_order_relaxed);
      return true;
    }
    // acq_rel. Release publishes what this predecessor did; acquire, on the decrement that reaches zero, receives it
    // from all predecessors (each earlier fetch_sub continues the release sequence). Pairs with itself and with the
    // load above. With relaxed, who starts the successor could miss a result.
    return unmet.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  /// Visits each successor, once for each edge, also of a completed task; misses those that are being added.
  template <class F>
  void successors(TaskId task, F&& visit) const {
    const Node& node = nodes_[index(task)];
    edges_.for_runs(node.row_begin, node.row_count, [&](const TaskId* successor, std::size_t count) {
      for (std::size_t k = 0; k < count; ++k) visit(successor[k]);
    });
    visit_links(node.head.load(std::memory_order_acquire), visit);  // pairs with the release in add_edge
  }

  /// A freed task that has not completed waits again: for `extra` calls of satisfy(), or of completions of what
  /// add_edge() links to it. One more than there are edges keeps it from being freed while they are being added.
  void rearm(TaskId task, std::uint32_t extra) {
    // relaxed: published to completions by the release in add_edge; before it nobody else counts this task down.
    nodes_[index(task)].unmet.fetch_add(extra, std::memory_order_relaxed);
  }

  /// Makes `after` one of the tasks that the completion of `before` meets. Counts nothing: the caller has rearm()ed
  /// `after` for this edge. False: `before` has completed already and the caller meets the edge with satisfy().
  bool add_edge(TaskId before, TaskId after) {
    reserve_links(1);
    return link(before, after);
  }

  /// Lets go of a completed task that no edge will meet any more: its links are used again, and the memory of its row goes
  /// back with that of its neighbours. False, and nothing is changed, while it is not closed or not met by all of its
  /// predecessors. Nobody may name it in add_edge() or grow() again until its block is retired. Grower only.
  /// Precondition: close() of it has returned, and the caller has heard of that.
  bool release(TaskId task) {
    Node& node = nodes_[index(task)];
    // acquire: as in completed(). relaxed: when it is 0 nobody else changes it.
    const std::uint32_t head = node.head.load(std::memory_order_acquire);
    if ((head & kClosed) == 0 || node.unmet.load(std::memory_order_relaxed) != 0) return false;
    for (std::uint32_t at = head & ~kClosed; at != 0;) {
      const std::uint32_t next = std::exchange(links_[at - 1].next, free_link_);
      free_link_ = std::exchange(at, next);
      ++free_links_;
    }
    node.head.store(kClosed, std::memory_order_relaxed);  // the grower's alone by now
    release_row(std::exchange(node.row_begin, 0), std::exchange(node.row_count, 0));
    return true;
  }

  /// Gives back the memory of a block's nodes, all of which have been released. From then on an edge from one of them counts
  /// as met. Grower only. Precondition: block > 0.
  void retire(std::size_t block) {
    if (retired_.size() <= block) retired_.resize(block + 1);
    retired_[block] = true;
    nodes_.forget(index(blocks::first(block)), blocks::kTasks);
  }

  /// A shortest path from one task to another along successors that have not completed, both included; empty when there
  /// is none. For naming a cycle, not for speed: it may visit everything after `from`.
  [[nodiscard]] std::vector<TaskId> path(TaskId from, TaskId to) const {
    std::unordered_map<std::uint32_t, TaskId> reached_from{{index(from), from}};
    std::queue<TaskId> open({from});
    while (!open.empty() && !reached_from.contains(index(to))) {
      const TaskId task = open.front();
      open.pop();
      successors(task, [&](TaskId next) {
        if (!completed(next) && reached_from.emplace(index(next), task).second) open.push(next);
      });
    }
    std::vector<TaskId> found;
    if (!reached_from.contains(index(to))) return found;
    for (TaskId task = to; task != from; task = reached_from.at(index(task))) found.push_back(task);
    found.push_back(from);
    std::reverse(found.begin(), found.end());
    return found;
  }

  /// Predecessors still to be met. A hint while others complete.
  [[nodiscard]] std::uint32_t unmet(TaskId task) const {
    return nodes_[index(task)].unmet.load(std::memory_order_relaxed);  // a number to show, orders nothing
  }

  /// Whether a task has completed. When it says so, what the completing thread did before is visible.
  [[nodiscard]] bool completed(TaskId task) const {
    return (nodes_[index(task)].head.load(std::memory_order_acquire) & kClosed) != 0;  // pairs with close()
  }

  [[nodiscard]] std::size_t size() const noexcept { return count_.load(std::memory_order_acquire); }  // see grow()

  /// Edges so far, those to completed tasks left out. Any thread; a hint while growing.
  [[nodiscard]] std::size_t edges() const noexcept {
    return row_edges_.load(std::memory_order_relaxed) + link_count_.load(std::memory_order_relaxed);  // for show
  }

  /// Links made so far, in use or not. The grower's own number.
  [[nodiscard]] std::size_t links() const noexcept { return links_made_; }

  /// The longest path from each node of a batch to a sink, its own weight and the sink's included; edges to earlier
  /// tasks play no part. `weights`: length n, >= 0, or empty: all 1. `out`: length n. Sums stop at the largest number.
  /// Throws as check() does, without knowledge of earlier tasks, and std::invalid_argument for other lengths.
  static void bottom_levels(std::size_t n, std::span<const std::int64_t> indptr, std::span<const std::int64_t> indices,
                            std::span<const std::int64_t> weights, std::span<std::int64_t> out) {
    if (out.size() != n || (!weights.empty() && weights.size() != n)) {
      throw std::invalid_argument("bottom levels of " + std::to_string(n) + " nodes were asked for with " +
                                  std::to_string(weights.size()) + " weights and room for " +
                                  std::to_string(out.size()) + "; give one of each a node, or no weights");
    }
    Batch batch(kMaxNodes, 0, n, indptr, indices);  // any earlier task will do; ids are positions
    std::fill(out.begin(), out.end(), 0);
    const auto raise = [&](std::size_t k) {  // k's successors are final: so is k; its predecessors hear of it
      constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
      const std::int64_t weight = weights.empty() ? 1 : weights[k];
      out[k] = out[k] > kMost - weight ? kMost : out[k] + weight;
      if (indptr.empty()) return;
      for (auto e = static_cast<std::size_t>(indptr[k]); e < static_cast<std::size_t>(indptr[k + 1]); ++e) {
        if (!batch_graph::is_local(indices[e])) continue;
        std::int64_t& before = out[batch_graph::local(indices[e])];
        before = std::max(before, out[k]);
      }
    };
    if (batch.found.in_order) {
      for (std::size_t k = n; k-- > 0;) raise(k);
      return;
    }
    batch.sort_rows();  // refuses a cycle
    std::vector<std::uint32_t> left(n);
    const std::vector<std::uint32_t> order = batch_graph::order(n, indptr, indices, batch.row_end, batch.first_id,
                                                                batch.rows, left);
    std::for_each(order.rbegin(), order.rend(), raise);
  }

 private:
  static constexpr std::uint32_t kClosed = std::uint32_t{1} << 31;
  static constexpr std::size_t kMaxLinks = kClosed - 1;  // a head is a link's number + 1, and 0 for none

  struct alignas(16) Node {
    atomic<std::uint32_t> unmet{0};
    atomic<std::uint32_t> head{0};  // first of the links to later batches, and the closed bit
    std::uint32_t row_begin = 0;         // into edges_; these two are written once, by grow()
    std::uint32_t row_count = 0;
  };
  static_assert(sizeof(Node) == 16, "four nodes a cache line, and none on two");

  struct Link {
    TaskId successor{};
    std::uint32_t next = 0;
  };
  static_assert(sizeof(Link) == 8);

  // A batch on its way in: the user's rows, turned round.
  struct Batch {
    Batch(std::size_t known, std::size_t first_id_, std::size_t n_, std::span<const std::int64_t> indptr_,
          std::span<const std::int64_t> indices_)
        : first_id(static_cast<std::uint32_t>(first_id_)),
          n(n_),
          indptr(indptr_),
          indices(indices_),
          row_end(indices_.empty() ? 0 : n_),
          found(batch_graph::summarise(n, known, indptr, indices, row_end)) {}
    // Sorts the local edges into rows by predecessor, and throws CycleError when they have a cycle.
    void sort_rows() {
      if (found.local_edges == 0 || !rows.empty()) return;
      rows = detail::PageArray<TaskId>(found.local_edges);
      batch_graph::successor_rows(n, indptr, indices, row_end, first_id, rows);
      if (!found.in_order) batch_graph::refuse_cycle(n, indptr, indices, row_end, first_id, rows);
    }

    std::uint32_t first_id;  // of the batch's first node
    std::size_t n;
    std::span<const std::int64_t> indptr, indices;
    std::vector<std::uint32_t> row_end;
    detail::PageArray<TaskId> rows;
    batch_graph::Summary found;
  };

  // Atomic read-modify-writes wait for the cache one after another; asked for beforehand, lines come side by side.
  void prefetch_successors(std::span<const TaskId> tasks) const {
    for (const TaskId task : tasks) prefetch(&nodes_[index(task)]);
    for (const TaskId task : tasks) {
      const Node& node = nodes_[index(task)];
      if (node.row_count > 0) prefetch(&edges_[node.row_begin]);
    }
    for (const TaskId task : tasks) {
      const Node& node = nodes_[index(task)];
      edges_.for_runs(node.row_begin, node.row_count, [&](const TaskId* successor, std::size_t count) {
        for (std::size_t k = 0; k < count; ++k) prefetch(&nodes_[index(successor[k])]);
      });
    }
  }

  void require_room(std::size_t n, const batch_graph::Summary& found) const {
    if (n > kMaxNodes - size() || found.local_edges > kMaxEdges - row_edges_.load(std::memory_order_relaxed) ||
        found.earlier_edges > kMaxLinks - (links_made_ - free_links_)) {  // relaxed: grower's own
      throw std::length_error("a batch of " + std::to_string(n) + " tasks and " +
                              std::to_string(found.local_edges + found.earlier_edges) + " edges was added to " +
                              std::to_string(size()) + " tasks; a run holds at most " + std::to_string(kMaxNodes) +
                              " tasks, as many edges inside batches and " + std::to_string(kMaxLinks) +
                              " edges from earlier tasks; start a new run");
    }
  }

  // All that can fail in grow(): tables, and room for the answer.
  void make_room(std::size_t n, const Batch& batch, std::vector<TaskId>& ready) {
    if (ready.capacity() - ready.size() < n) {
      std::size_t most = 0;
      if (batch.indptr.empty()) {
        most = n;
      } else {
        for (std::size_t k = 0; k < n; ++k) most += has_local(batch, k) ? 0 : 1;
      }
      const std::size_t needed = ready.size() + most;
      if (needed > ready.capacity()) ready.reserve(std::max(needed, 2 * ready.capacity()));
    }
    if (batch.found.earlier_edges > 0) held_.reserve(std::min(n, batch.found.earlier_edges));
    nodes_.grow(size() + n);
    edges_.grow_unwritten(row_edges_.load(std::memory_order_relaxed) + batch.rows.size());  // relaxed: the grower's own
    reserve_links(batch.found.earlier_edges);
  }

  static bool has_local(const Batch& batch, std::size_t k) noexcept {
    for (auto e = static_cast<std::size_t>(batch.indptr[k]); e < static_cast<std::size_t>(batch.indptr[k + 1]); ++e) {
      if (batch_graph::is_local(batch.indices[e])) return true;
    }
    return false;
  }

  // Plain and relaxed stores: the nodes are published afterwards, see grow().
  void write_nodes(std::size_t first, std::size_t n, Batch& batch) {
    const std::size_t base = row_edges_.load(std::memory_order_relaxed);
    std::size_t copied = 0;
    edges_.for_runs(base, batch.rows.size(), [&](TaskId* run, std::size_t count) {
      constexpr std::size_t kPiece = detail::kHugePage / sizeof(TaskId);
      for (std::size_t at = 0; at < count; at += kPiece) {  // the table's copy grows as the batch's goes
        const std::size_t piece = std::min(kPiece, count - at);
        std::copy_n(batch.rows.data() + copied, piece, run + at);
        copied += piece;
        batch.rows.discard_before(copied);
      }
    });
    row_edges_.store(base + batch.rows.size(), std::memory_order_relaxed);
    if (batch.indptr.empty()) return;  // new nodes are all zeros already
    std::size_t k = 0;
    std::uint32_t begin = 0;
    nodes_.for_runs(first, n, [&](Node* run, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i, ++k) {
        run[i].unmet.store(static_cast<std::uint32_t>(batch.indptr[k + 1] - batch.indptr[k]),
                           std::memory_order_relaxed);
        if (batch.rows.empty()) continue;
        const std::uint32_t end = batch.row_end[k];
        run[i].row_begin = static_cast<std::uint32_t>(base) + begin;
        run[i].row_count = end - begin;
        begin = end;
      }
    });
  }

  // Links the edges from earlier tasks and says who is ready. A node with such edges is held by one unmet more, until
  // all of the batch is linked; so none is freed by half of its edges.
  void link_earlier(std::size_t first, std::size_t n, const Batch& batch, std::vector<TaskId>& ready) {
    const auto id = [&](std::size_t k) { return TaskId{static_cast<std::uint32_t>(first + k)}; };
    held_.clear();
    if (batch.found.earlier_edges > 0) {
      for (std::size_t k = 0; k < n; ++k) {
        std::uint32_t met = 0, earlier = 0;
        for (auto e = static_cast<std::size_t>(batch.indptr[k]); e < static_cast<std::size_t>(batch.indptr[k + 1]);
             ++e) {
          const std::int64_t before = batch.indices[e];
          if (batch_graph::is_local(before)) continue;
          // relaxed: published by the release in link(); until then no other thread knows this node.
          if (earlier++ == 0) nodes_[first + k].unmet.fetch_add(1, std::memory_order_relaxed);
          met += link(TaskId{static_cast<std::uint32_t>(before)}, id(k)) ? 0 : 1;
        }
        if (earlier > 0) held_.push_back({static_cast<std::uint32_t>(k), met + 1});
      }
    }
    auto held = held_.begin();
    for (std::size_t k = 0; k < n; ++k) {
      atomic<std::uint32_t>& unmet = nodes_[first + k].unmet;
      if (held != held_.end() && held->node == k) {
        // acq_rel: as in satisfy(); this call stands for the predecessors that had completed, whose closed bits it
        // has acquired.
        if (unmet.fetch_sub(held->met, std::memory_order_acq_rel) == held->met) ready.push_back(id(k));
        ++held;
      } else if (batch.indptr.empty() || batch.indptr[k] == batch.indptr[k + 1]) {
        ready.push_back(id(k));
      }
    }
  }

  void reserve_links(std::size_t count) {
    if (count <= free_links_) return;
    count -= free_links_;
    if (count > kMaxLinks - links_made_) {
      throw std::length_error("a run holds at most " + std::to_string(kMaxLinks) +
                              " edges from earlier tasks; start a new run");
    }
    links_.grow(links_made_ + count);
  }

  // Puts an edge into `before`'s list; false when it is closed. Precondition: reserve_links().
  bool link(TaskId before, TaskId after) {
    if (is_retired(before)) return false;
    atomic<std::uint32_t>& head = nodes_[index(before)].head;
    const std::size_t at = free_link_ != 0 ? free_link_ - 1 : links_made_;
    Link& made = links_[at];
    const std::uint32_t next_free = free_link_ != 0 ? made.next : 0;
    made.successor = after;
    // acquire, here and on failure: pairs with the release in close(): a closed predecessor's doings become visible.
    std::uint32_t next = head.load(std::memory_order_acquire);
    do {
      if ((next & kClosed) != 0) {
        made.next = next_free;
        return false;
      }
      made.next = next;
      // release: publishes the link and the node it leads to, to the acquire in close() and successors(). With
      // relaxed a completion could follow the link to an unwritten node. The links behind it stay published: this
      // exchange continues their release sequences.
    } while (!head.compare_exchange_weak(next, static_cast<std::uint32_t>(at) + 1, std::memory_order_release,
                                         std::memory_order_acquire));
    if (free_link_ != 0) {
      free_link_ = next_free;
      --free_links_;
    } else {
      ++links_made_;
    }
    link_count_.store(link_count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // as row_edges_
    return true;
  }

  [[nodiscard]] bool is_retired(TaskId task) const {
    const std::size_t block = blocks::of(task);
    return block < retired_.size() && retired_[block];
  }

  // Rows lie one behind another, in no order of release. A stretch of edges goes when all of it has been released.
  void release_row(std::size_t begin, std::size_t count) {
    while (count > 0) {
      const std::size_t stretch = (begin + blocks::kShift) / kEdges;
      const std::size_t here = std::min(count, (stretch + 1) * kEdges - blocks::kShift - begin);
      if (released_edges_.size() <= stretch) released_edges_.resize(stretch + 1);
      released_edges_[stretch] += static_cast<std::uint32_t>(here);
      if (released_edges_[stretch] == kEdges) edges_.forget(stretch * kEdges - blocks::kShift, kEdges);
      begin += here;
      count -= here;
    }
  }

  template <class F>
  void visit_links(std::uint32_t head, F&& visit) const {
    for (std::uint32_t at = head & ~kClosed; at != 0;) {
      const Link link = links_[at - 1];
      at = link.next;
      visit(link.successor);
    }
  }

  struct Held {
    std::uint32_t node, met;
  };

  static constexpr std::size_t kEdges = std::size_t{1} << 14;  // edges; 64 KiB, whole pages wherever pages are that small
  static_assert(blocks::kShift == 1U << 10, "nodes and edges lie where blocks.hpp says");

  ChunkedTable<Node, 10, Atom> nodes_;
  ChunkedTable<TaskId, 10, Atom> edges_;
  ChunkedTable<Link, 10, Atom> links_;
  std::vector<Held> held_;  // scratch of grow()
  // The grower's own:
  std::size_t links_made_ = 0;
  std::uint32_t free_link_ = 0;  // the first of those that released nodes had, by its number + 1
  std::size_t free_links_ = 0;
  std::vector<std::uint32_t> released_edges_;  // of each stretch of edges_
  std::vector<bool> retired_;                  // blocks
  atomic<std::size_t> row_edges_{0};
  atomic<std::size_t> link_count_{0};
  atomic<std::size_t> count_{0};
};

using Readiness = BasicReadiness<>;

}  // namespace penstock

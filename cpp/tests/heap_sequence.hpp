// One sequence of heap operations, drawn from Choices, given to two heaps over one ticket table and to plain containers.
//
// A std::set answers for everything; a std::priority_queue besides, as long as nothing but push and pop was asked for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <queue>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "choices.hpp"
#include "penstock/priority_heap.hpp"

namespace penstock::test {

template <class Heap>
class HeapSequence {
 public:
  explicit HeapSequence(Choices& choices) : choices_(choices) {}

  /// Throws std::logic_error at the first difference.
  void run() {
    const bool plain = choices_.one_in(3);  // pushes and pops only, to the first heap
    while (choices_.more()) plain ? step_plain() : step();
    for (std::size_t h = 0; h < 2; ++h) {
      while (pop(h)) {
      }
      require(heaps_[h].size() == 0, "the size of a drained heap");
    }
  }

 private:
  struct Order {
    bool operator()(const HeapEntry& a, const HeapEntry& b) const {
      return std::tuple(a.rank.value, a.tie) < std::tuple(b.rank.value, b.tie);
    }
  };
  struct Later {
    bool operator()(const HeapEntry& a, const HeapEntry& b) const { return Order()(b, a); }
  };
  static constexpr std::uint32_t kTasks = 120;  // beyond the first chunk of tickets

  static void require(bool same, const char* what) {
    if (!same) throw std::logic_error(std::string("heap and oracle differ in ") + what);
  }
  [[nodiscard]] std::optional<HeapEntry> queued(std::size_t h, std::uint32_t task) const {
    for (const HeapEntry& e : sets_[h]) {
      if (index(e.task) == task) return e;
    }
    return std::nullopt;
  }
  HeapEntry an_entry(std::uint32_t task) {
    static constexpr std::array kRanks{0.0, -0.0, 1.0, 1.5, -1.0, 1e300, -1e300, 5e-324};
    const double rank = choices_.one_in(4) ? kRanks[choices_.below(kRanks.size())] : choices_.below(6);
    return {TaskId{task}, Rank{rank}, tie_++};
  }
  std::vector<HeapEntry> free_entries(std::uint32_t most) {
    std::vector<HeapEntry> out;
    std::set<std::uint32_t> chosen;
    for (std::uint32_t n = 1 + choices_.below(most); n > 0; --n) {
      const std::uint32_t task = choices_.below(kTasks);
      if (!queued(0, task) && !queued(1, task) && chosen.insert(task).second) out.push_back(an_entry(task));
    }
    return out;
  }

  void push(std::size_t h, std::span<const HeapEntry> entries) {
    entries.size() == 1 ? heaps_[h].push(entries.front()) : heaps_[h].push(entries);
    sets_[h].insert(entries.begin(), entries.end());
    for (const HeapEntry& e : entries) queue_.push(e);
  }
  void push_wrong(std::size_t h) {  // one that is queued already, somewhere: then none is pushed
    std::vector<HeapEntry> entries = free_entries(3);
    const std::size_t from = choices_.below(2);
    if (sets_[from].empty()) return;
    entries.push_back(an_entry(index(sets_[from].begin()->task)));
    bool refused = false;
    try {
      entries.size() == 1 ? heaps_[h].push(entries.front()) : heaps_[h].push(std::span<const HeapEntry>(entries));
    } catch (const std::logic_error&) {
      refused = true;
    }
    require(refused, "the refusal of a task that is queued");
  }
  bool pop(std::size_t h) {
    const std::optional<HeapEntry> got = heaps_[h].pop();
    require(got.has_value() == !sets_[h].empty(), "whether there is something to pop");
    if (!got) return false;
    require(same(*got, *sets_[h].begin()), "what is popped");
    sets_[h].erase(sets_[h].begin());
    return true;
  }
  // Zeros of both signs are one rank, and come back as +0.
  static bool same(const HeapEntry& a, const HeapEntry& b) { return a.task == b.task && a.rank.value == b.rank.value && a.tie == b.tie; }

  void step_plain() {
    if (choices_.below(5) < 3) {
      const std::vector<HeapEntry> entries = free_entries(choices_.one_in(4) ? 20 : 1);
      if (!entries.empty()) push(0, entries);
    } else {
      const std::optional<HeapEntry> got = heaps_[0].pop();
      require(got.has_value() == !queue_.empty(), "whether there is something to pop");
      if (got) {
        require(same(*got, queue_.top()), "what is popped");
        queue_.pop();
        sets_[0].erase(sets_[0].begin());
      }
    }
    check(0);
  }

  void step() {
    const std::size_t h = choices_.one_in(5) ? 1 : 0;
    Heap& heap = heaps_[h];
    auto& set = sets_[h];
    const std::uint32_t task = choices_.below(kTasks);
    switch (choices_.below(10)) {
      case 0:
      case 1:
      case 2: {
        const std::vector<HeapEntry> entries = free_entries(1);
        if (!entries.empty()) push(h, entries);
        break;
      }
      case 3: {
        const std::vector<HeapEntry> entries = free_entries(30);
        push(h, entries);  // perhaps of none
        break;
      }
      case 4: push_wrong(h); break;
      case 5: (void)pop(h); break;
      case 6: {
        std::vector<HeapEntry> out(choices_.below(12));
        std::optional<HeapKey> before;
        if (choices_.one_in(2)) before = HeapKey{Rank{static_cast<double>(choices_.below(6))}, choices_.below(200)};
        const std::size_t got = heap.pop(out, before);
        for (std::size_t k = 0; k < got; ++k) {
          require(!set.empty() && same(out[k], *set.begin()), "a batch that is popped");
          require(!before || Order()(out[k], {TaskId{0}, before->rank, before->tie}), "the bound of a batch");
          set.erase(set.begin());
        }
        const bool more = got < out.size() && !set.empty() && (!before || Order()(*set.begin(), {TaskId{0}, before->rank, before->tie}));
        require(!more, "how much a batch pops");
        break;
      }
      case 7: {
        const std::optional<HeapEntry> there = queued(h, task);
        require(heap.cancel(TaskId{task}) == there.has_value(), "whether a cancel finds its task");
        if (there) set.erase(*there);
        break;
      }
      case 8: {
        const std::optional<HeapEntry> there = queued(h, task);
        const HeapEntry changed = an_entry(task);
        require(heap.rerank(changed) == there.has_value(), "whether a rerank finds its task");
        if (there) {
          set.erase(*there);
          set.insert(changed);
        }
        break;
      }
      default: {
        const std::optional<HeapEntry> seen = heap.peek();
        require(seen.has_value() == !set.empty() && (!seen || same(*seen, *set.begin())), "what is peeked at");
      }
    }
    check(h);
  }
  void check(std::size_t h) {
    require(heaps_[h].size() == sets_[h].size(), "the size");
    const std::string broken = heaps_[h].check();
    if (!broken.empty()) throw std::logic_error(broken);
  }

  Choices& choices_;
  typename Heap::Tickets tickets_;
  std::array<Heap, 2> heaps_{Heap(tickets_), Heap(tickets_)};
  std::array<std::set<HeapEntry, Order>, 2> sets_;
  std::priority_queue<HeapEntry, std::vector<HeapEntry>, Later> queue_;
  std::uint64_t tie_ = 0;
};

inline constexpr HeapLimits kTinyHeap{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .window = 2, .slack = 2, .inbox_items = 2};

/// Both with tiny blocks, which reach every path in a few operations, and with the shipped ones.
inline void run_heap_sequence(Choices& choices) {
  if (choices.one_in(3)) {
    HeapSequence<PriorityHeap>(choices).run();
  } else {
    HeapSequence<BasicPriorityHeap<StdAtom, kTinyHeap>>(choices).run();
  }
}

}  // namespace penstock::test

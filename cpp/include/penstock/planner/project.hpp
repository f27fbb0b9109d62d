// Project: what a planner knows of the tasks, checked and in the order and the widths that its loops want.
//
// Resource-constrained project scheduling in its plain form: n tasks with durations, each taking fixed amounts of some
// resources while it runs, none interrupted, some after others; the makespan is to be small.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "penstock/types.hpp"

namespace penstock::planner {

/// Asked often by everything that may take long; true: return with the best so far. The core reads no clock itself.
using ShouldStop = std::function<bool()>;

/// A problem as the caller has it. All rows refer to tasks by position, 0 .. durations.size() - 1.
struct Problem {
  std::span<const Instant> durations;     // ns, >= 0
  std::span<const Amount> demands;        // tasks x resources, row by row, >= 0
  std::span<const Amount> capacity;       // one for each resource; kUnlimited: does not bind
  std::span<const std::int64_t> indptr;   // tasks + 1 row starts into `indices`; empty: no dependencies
  std::span<const std::int64_t> indices;  // positions of predecessors, also after the task's own
  std::span<const Instant> release;       // earliest starts, ns, >= 0; empty: all 0
};

/// Rows of numbers: row k is `items[begin[k] .. begin[k + 1])`.
struct Rows {
  std::vector<std::uint32_t> begin, items;
  [[nodiscard]] std::span<const std::uint32_t> operator[](std::size_t k) const noexcept {
    return {items.data() + begin[k], items.data() + begin[k + 1]};
  }
};

/// Where a resource stands in the packed words of a profile.
struct Field {
  std::size_t resource;  // number in the problem
  Amount unit;           // amounts are counted in multiples of it: their greatest common divisor
  unsigned word, shift, bits;  // the amount's bits; one guard bit lies above them
};

struct Project {
  std::size_t n = 0;
  std::vector<Instant> duration, release;  // release: empty, or of length n
  Rows before, after;                      // direct predecessors and successors, as given
  std::vector<std::uint32_t> order;        // topological; by position where that is one
  std::vector<std::uint32_t> place;        // the inverse of `order`
  std::vector<Instant> head;               // earliest start by dependencies and releases alone
  std::vector<Instant> tail;               // longest chain behind a task's end
  Instant critical_path = 0;
  std::vector<Field> fields;               // of the resources that can bind at all
  std::size_t words = 0;                   // packed words of a demand
  std::vector<std::uint64_t> demand;       // n x words
  std::vector<std::uint64_t> capacity, guard;  // words each
  std::vector<double> share;               // n x fields: amount over capacity, 0..1
  std::vector<std::uint32_t> shape;        // tasks of equal demand have one number, from 0
  std::size_t shapes = 0;

  [[nodiscard]] const std::uint64_t* demand_of(std::size_t task) const noexcept { return &demand[task * words]; }
};

/// Checks a problem and prepares it. Returns false when it was told to stop; `project` is then of no use.
/// Throws std::invalid_argument, which names the task, for lengths that disagree, negative numbers, a demand above the
/// capacity, or durations whose sum is beyond 2^62 ns; CycleError (positions) for a cycle.
bool prepare(const Problem& problem, Project& project, const ShouldStop& should_stop);

/// The longest chain of durations from each task's start to the end, in `levels`, by dependencies alone: one pass over
/// the edges. Returns false when it was told to stop. Throws as `prepare` does for rows and durations, and for a cycle.
bool bottom_levels(std::span<const Instant> durations, std::span<const std::int64_t> indptr,
                   std::span<const std::int64_t> indices, std::span<Instant> levels, const ShouldStop& should_stop);

/// The project with time reversed: predecessors are successors, and what ends first starts last. Releases are left out.
Project reversed(const Project& project);

}  // namespace penstock::planner

// Planner: a good order of tasks, and start times, within a budget, from durations that are known or estimated.
//
// What it is: priority rules, then a genetic algorithm whose every child is justified (hybrid of Hartmann's activity
// lists with the peak crossover and double justification of Valls, Ballestin and Quintanilla, A hybrid genetic
// algorithm for the RCPSP, EJOR 185 (2008) 495-508), stopped as soon as a lower bound is met. Any moment is a good one to
// stop: the best so far is kept whole, and the first schedule is that of plain dispatch.
//
// When not to use it: for a decision at run time; the scheduler's ranking makes those. A plan gives it ranks.
//
// Purity: it reads no clock, starts no thread and draws no number but from its seed. The same problem, seed and number
// of iterations give the same plan, as long as `should_stop` does not cut it short.
#pragma once

#include <cstdint>
#include <vector>

#include "penstock/planner/project.hpp"

namespace penstock::planner {

struct Options {
  std::uint64_t seed = 0;
  std::uint64_t iterations = 0;  // schedules to make at most; 0: no limit but should_stop
  bool greedy = false;           // only schedules that greedy dispatch makes of their own order: nothing that is ready and
                                 // fits ever waits. They can be longer than others, but need no one to hold tasks back
};

struct Plan {
  bool complete = false;             // `start` is a schedule; else it was told to stop before there was one
  std::vector<Instant> start;        // ns, by position
  Instant makespan = 0;
  std::vector<std::uint32_t> order;  // by start, then topologically
  Instant lower_bound = 0;           // no schedule is shorter
  std::uint64_t schedules = 0;       // made on the way
};

/// Throws as `prepare` does. More than 50,000 tasks are not planned: `complete` is false, and `bottom_levels` is the
/// order to go by.
Plan plan(const Problem& problem, const Options& options, const ShouldStop& should_stop);

enum class Scheme : std::uint8_t { parallel = 0, serial = 1 };

/// One pass: the schedule that a scheme makes of ranks, the smaller first, by position among equals. `serial` starts the
/// smallest rank among those whose predecessors are placed. Throws as `prepare` does, and std::invalid_argument unless
/// there is one finite rank for each task.
Plan dispatch(const Problem& problem, std::span<const double> ranks, Scheme scheme, const ShouldStop& should_stop);

/// What no schedule can beat: the critical path, the work of each resource, and both together: what must come before and
/// after a set of tasks, plus that set's work on one resource.
Instant lower_bound(const Project& project, const ShouldStop& should_stop);

}  // namespace penstock::planner

// How a scheduler's values look to Python; shared by the files that bind it.
#pragma once

#include <optional>
#include <vector>

#include "binding.hpp"
#include "door.hpp"

namespace penstock::bindings {

using Now = std::optional<Instant>;  // None: the instant of the call
using Ids = std::vector<std::uint32_t>;
using DoorClass = py::class_<Door, std::shared_ptr<Door>>;

inline Instant or_clock(const Now& now) { return now ? *now : clock_now(); }

inline Ids plain(const std::vector<TaskId>& ids) {
  Ids out;
  out.reserve(ids.size());
  for (const TaskId id : ids) out.push_back(index(id));
  return out;
}

inline std::vector<TaskId> typed(const Ids& ids) {
  std::vector<TaskId> out;
  out.reserve(ids.size());
  for (const std::uint32_t id : ids) out.push_back(TaskId{id});
  return out;
}

inline Demand demand_of(const std::vector<Amount>& amounts) {
  if (amounts.size() > static_cast<std::size_t>(kMaxResources)) {
    throw py::value_error("a demand has " + std::to_string(amounts.size()) + " amounts; at most " +
                          std::to_string(kMaxResources));
  }
  Demand demand;
  std::copy(amounts.begin(), amounts.end(), demand.amounts.begin());
  return demand;
}

inline Lane lane_of(int lane) {
  if (lane < 0 || lane > 2) {
    throw py::value_error("lane " + std::to_string(lane) + " is unknown; 0 threads, 1 processes, 2 commands");
  }
  return static_cast<Lane>(lane);
}

inline State state_of(int state) {
  if (state < 0 || state >= kStates) throw py::value_error("state " + std::to_string(state) + " is unknown; 0 to " + std::to_string(kStates - 1));
  return static_cast<State>(state);
}

void bind_scheduler_settings(DoorClass& c);
void bind_scheduler_reading(DoorClass& c);

}  // namespace penstock::bindings

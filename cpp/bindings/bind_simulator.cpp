#include <pybind11/functional.h>

#include "binding.hpp"
#include "interpreter.hpp"
#include "column.hpp"
#include "penstock/simulator.hpp"
#include "scheduler_values.hpp"

namespace penstock::bindings {
namespace {

template <class T>
py::bytes packed(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

py::tuple play(Door& door, std::size_t count, const py::object& duration, const py::object& shape,
               const py::object& priority, const py::object& indptr, const py::object& indices,
               const py::object& expected, const py::object& deadline, const py::object& arrival,
               const py::object& failures, const py::object& retries, double failed_share, Instant retry_wait,
               const std::vector<std::tuple<Instant, int, Amount>>& capacity, const py::object& place,
               const std::function<void(Instant)>& told) {
  const Column<std::uint32_t> shapes(shape, "shape"), fails(failures, "failures"), again(retries, "retries"),
      places(place, "place");
  const Column<double> priorities(priority, "priority");
  const Column<std::int64_t> durations(duration, "duration"), starts(indptr, "indptr"),
      predecessors(indices, "indices"), expecteds(expected, "expected"), deadlines(deadline, "deadline"),
      arrivals(arrival, "arrival");
  Submission batch;
  batch.count = count;
  batch.shape = {reinterpret_cast<const ShapeId*>(shapes.values().data()), shapes.values().size()};
  batch.priority = priorities.values();
  batch.indptr = starts.values();
  batch.indices = predecessors.values();
  batch.expected = expecteds.values();
  batch.deadline = deadlines.values();
  batch.place = places.values();
  std::vector<CapacityChange> changes;
  for (const auto& [at, resource, amount] : capacity) changes.push_back({at, resource, amount});
  const World world{durations.values(), arrivals.values(), fails.values(), again.values(), failed_share, retry_wait, changes};
  Outcome out;
  {
    const WithoutGil release;
    out = simulate(door.core(), batch, world, told);
  }
  door.changed();
  return py::make_tuple(packed(out.started), packed(out.finished), packed(out.attempts), out.makespan, out.stuck);
}

}  // namespace

void bind_simulator(py::module_& m) {
  m.def("simulate", &play, py::arg("scheduler"), py::arg("count"), py::kw_only(), py::arg("duration"),
        py::arg("shape") = py::none(), py::arg("priority") = py::none(), py::arg("indptr") = py::none(),
        py::arg("indices") = py::none(), py::arg("expected") = py::none(), py::arg("deadline") = py::none(),
        py::arg("arrival") = py::none(), py::arg("failures") = py::none(), py::arg("retries") = py::none(),
        py::arg("failed_share") = 1.0, py::arg("retry_wait") = 0,
        py::arg("capacity") = std::vector<std::tuple<Instant, int, Amount>>{}, py::arg("place") = py::none(), py::arg("told") = nullptr);
}

}  // namespace penstock::bindings

#include <mutex>

#include "binding.hpp"
#include "interpreter.hpp"
#include "column.hpp"
#include "penstock/readiness.hpp"
#include "scheduler_values.hpp"

namespace penstock::bindings {
namespace {

/// The core leaves it to its caller that one thread grows the graph at a time, and growing is done without the GIL.
struct Graph : Readiness {
  std::mutex growing;
};

py::tuple grow(Graph& r, std::size_t count, const py::object& indptr, const py::object& indices) {
  const Column<std::int64_t> starts(indptr, "indptr"), predecessors(indices, "indices");
  std::vector<TaskId> ready;
  TaskId first{};
  {
    const WithoutGil release;
    const std::scoped_lock lock(r.growing);
    first = r.grow(count, starts.values(), predecessors.values(), ready);
  }
  return py::make_tuple(index(first), plain(ready));
}

Ids complete(Graph& r, const Ids& tasks) {
  Ids freed;
  for (const std::uint32_t task : tasks) {
    if (task >= r.size()) {
      throw py::index_error("task " + std::to_string(task) + " is unknown; there are " + std::to_string(r.size()));
    }
    r.complete(TaskId{task}, [&](TaskId t) { freed.push_back(index(t)); });
  }
  return freed;
}

/// Completes everything in topological order, without a Python object a task; returns how many there were.
std::size_t drain(Graph& r, const Ids& ready) {
  const WithoutGil release;
  std::vector<TaskId> wave, next;
  for (const std::uint32_t t : ready) wave.push_back(TaskId{t});
  std::size_t done = 0;
  while (!wave.empty()) {
    next.clear();
    r.complete(std::span<const TaskId>(wave), [&](TaskId t) { next.push_back(t); });
    done += wave.size();
    wave.swap(next);
  }
  return done;
}

py::bytes bottom_levels(std::size_t count, const py::object& indptr, const py::object& indices, const py::object& weights) {
  const Column<std::int64_t> starts(indptr, "indptr"), predecessors(indices, "indices"), given(weights, "weights");
  std::vector<std::int64_t> levels(count);
  Readiness::bottom_levels(count, starts.values(), predecessors.values(), given.values(), levels);
  return {reinterpret_cast<const char*>(levels.data()), levels.size() * sizeof(std::int64_t)};
}

}  // namespace

void bind_readiness(py::module_& m) {
  static py::exception<CycleError> cycle_error(m, "CycleError", PyExc_ValueError);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const CycleError& error) {
      py::set_error(cycle_error, py::cast(plain(error.cycle())));
    }
  });
  py::class_<Graph>(m, "Readiness")
      .def(py::init<>())
      .def("grow", &grow, py::arg("count"), py::arg("indptr") = py::none(), py::arg("indices") = py::none())
      .def("complete", &complete, py::arg("tasks"))
      .def("drain", &drain, py::arg("ready"))
      .def("unmet", [](const Graph& r, std::uint32_t t) { return r.unmet(TaskId{t}); }, py::arg("task"))
      .def("edges", [](const Graph& r) { return r.edges(); })
      .def("__len__", [](const Graph& r) { return r.size(); });
  m.def("bottom_levels", &bottom_levels, py::arg("count"), py::arg("indptr"), py::arg("indices"),
        py::arg("weights") = py::none());
}

}  // namespace penstock::bindings
